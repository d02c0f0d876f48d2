"""The catalogue in the graph: an entry a scan, and one a reconstruction, as assets of their own job.

Belongs here: those assets, their check, and what an entry is put together of.
Does not: how an entry is kept there once (resources.catalogue), or when it is made (sensors.catalogue).
"""
