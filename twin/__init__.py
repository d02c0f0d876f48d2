"""A runnable copy of the outside world: Globus and NERSC's Superfacility API over real HTTP, on local directories.

Belongs here: what a service enforces and answers, what goes wrong in it on request, and the simulated beamline.
Does not: anything that production code imports. The twin is driven through the services' own client libraries.
"""
