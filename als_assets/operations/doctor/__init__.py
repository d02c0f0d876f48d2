"""Whether a deployment can do its work.

Belongs here: the looks: at the platform itself (house), at the clients of Globus (clients), at places, at facilities
(machines), at the catalogue.
Does not: showing what they have found (als.findings).
"""
