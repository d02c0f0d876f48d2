"""Who an entry of the catalogue is: the same scan, or reconstruction, has the same pid whoever asks, and whenever.

Belongs here: pids, and what entries are called here. Does not: what an entry says.
"""

import uuid

from beamlines.scans import PartitionKey, ScanId

_NAMESPACE = uuid.UUID("6a0e6f0c-5d6b-5e0a-9c7e-8320a1500832")
"""Ours alone. Changed, every scan would get a second entry beside its first."""


PLACE = "scicat"
RAW_ENTRY = f"{PLACE}/raw"
"""The entry of a scan, named as copies are: ``<place>/<what>``."""


def reconstruction_entry(facility: str) -> str:
    """The entry of what a facility has made of a scan."""
    return f"{PLACE}/{facility}_reconstruction"


def raw_pid(prefix: str, beamline: str, scan: ScanId) -> str:
    """The pid of a scan: ``<prefix>/<UUID>``."""
    return _pid(prefix, f"{beamline}/{scan.key}")


def derived_pid(prefix: str, beamline: str, key: PartitionKey, facility: str) -> str:
    """The pid of a reconstruction, by its facility and label."""
    # No key holds a '#', so that no scan and no label can be called so that two entries are one.
    return _pid(prefix, f"{beamline}/{key}#{facility}")


def _pid(prefix: str, name: str) -> str:
    return f"{prefix.rstrip('/')}/{uuid.uuid5(_NAMESPACE, name)}"
