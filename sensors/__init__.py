"""What starts runs: new scans, and the routers of the facilities.

Belongs here: sensors, and beside each the pure function that decides.
Does not: what a run does (als_assets). Jobs, partitions and asset keys come in as arguments.
"""
