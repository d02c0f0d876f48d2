"""What is true before anything runs: identities, names, places, routing policy.

Belongs here: pure values and pure functions over them.
Does not: I/O, clocks, dagster, any service's SDK.
"""
