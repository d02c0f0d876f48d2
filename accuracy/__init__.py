"""Proof that slices and pyramids are right: measured on phantoms whose truth is known, beside other programs.

Belongs here: what is measured, its limits, the report with pictures. Does not: how fast it is (benchmarks), or tests.
"""
