"""What a Prometheus server is told of the platform.

Belongs here: which metrics there are, counting the event log, looking at what is now, and serving both.
Does not: dashboards and alerts (deploy/), or anything that runs in a run.
"""
