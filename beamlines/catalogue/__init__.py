"""What the catalogue is told of scans and of what is made of them. Pure.

Belongs here: who an entry is (identity), what texts of people become (cleaning), what an entry says (entries), how the
file of a beamline's scan is read (a module an ingester, and their names in ingesters), and the rules of a beamline.
Does not: SciCat's own fields and requests (resources.catalogue).
"""
