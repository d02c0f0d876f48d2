"""Reconciliation: every place held against the graph, night by night. Nothing is deleted, moved or repaired by it.

Belongs here: what is recorded of a place, what lies there, and what is said of the difference.
Does not: comparing the two (beamlines.reconciliation, pure), schedules (sensors.retention), or the command
(als.reconciliation).
"""
