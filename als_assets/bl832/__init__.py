"""Beamline 8.3.2: X-ray micro-tomography.

Belongs here: which copies and products its scans have, and the jobs that make them.
Does not: how any one of them is made (the factories beside this folder).
"""
