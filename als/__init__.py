"""The command line ``als``: thin over the same code that Dagster runs.

Belongs here: commands, starting and ending the demonstration, and what a terminal shows.
Does not: decisions about scans, copies or jobs.
"""
