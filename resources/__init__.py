"""Clients of the outside world, each behind a small contract, and the ledger that remembers what they started.

Belongs here: Globus Transfer, facilities, proof of copies, the ledger, settings and secrets.
Does not: which copies exist or when they are made (als_assets, sensors). SDKs are imported inside the methods that use
them: together they cost half a second and 35 MB in every process.
"""
