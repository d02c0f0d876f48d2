"""Figures: how fast things are, each beside a limit or a peer that was measured in the same run.

Belongs here: what is measured, and the tables. Does not: whether it is right (tests).
"""
