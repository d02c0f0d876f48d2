"""Where things are in the files of beamlines: one module a layout.

Belongs here: which datasets and attributes a layout has, their units, and how it is recognised by what is in the file.
Does not: reading pixels (tomography.storage), or what makes a scan unusable (tomography.scan).
"""
