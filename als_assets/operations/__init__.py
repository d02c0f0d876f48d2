"""Jobs about the platform rather than one scan's data: taking announcements in, adopting what is there, flight checks.

Belongs here: what such a job does, in Dagster's terms and without it where a command does the same.
Does not: copies and products (the factories beside this folder), or when a job is started (sensors).
"""
