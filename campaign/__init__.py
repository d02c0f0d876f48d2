"""The fault campaign: everything that can go wrong outside, on purpose, and what must hold afterwards.

Belongs here: the plan of cases, what is injected, one case's course, the judgement, the report.
Does not: what is judged (the platform), or the outside world itself (twin).
"""
