"""The asset graph: which copies and products a scan has, what makes each, and what is checked.

Belongs here: assets, their checks and jobs, one folder a beamline, and the one function that composes everything.
Does not: how bytes move and jobs run (resources), or what starts runs (sensors).
"""
