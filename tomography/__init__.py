"""The programs that run beside the data: read a scan, reconstruct it, build its pyramid, show a preview.

Belongs here: what happens between a Data Exchange file and its products, as a library and as ``python -m tomography``.
Does not: where products live, who starts the programs, how files travel. Nothing here imports another room.

Importing this package imports nothing else: ``tomography.settings`` must stay cheap for those who only describe a run.
"""

__version__ = "0.1.0"
