"""Lost raw files and dark ones that may be the same: renamed, or moved, by somebody.

Belongs here: comparing them by checksum where the place is mounted here. Elsewhere only their sizes are compared: no
job is started for it. Does not: moving anything back, or looking at other places.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from beamlines.places import Location, Place
from beamlines.reconciliation import Finding, same_size
from resources.proof import hash_file
from resources.recorded import Recorded

MOST_READ = 20
"""So many dark files are read in one night: scans of one measurement have one size, and may be a terabyte together."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A lost raw file, and a dark one that may be it."""

    lost: Finding
    dark: Finding
    said: str
    """How sure that is, in words."""


def pairs(findings: Iterable[Finding], place: Place, recorded: Recorded) -> list[Pair]:
    """Lost and dark files of the same size, without those that were read and are other files."""
    candidates = list(same_size(findings))
    known = _checksums({pair[0].expected.partition for pair in candidates if pair[0].expected}, recorded)
    read: dict[str, str | None] = {}
    found = []
    for lost, dark in candidates:
        sha256 = known.get(lost.expected.partition) if lost.expected else None
        if sha256 is not None and dark.path not in read and len(read) < MOST_READ:
            read[dark.path] = _read(place, dark.path)
        seen = read.get(dark.path)
        if sha256 is None or seen is None:
            found.append(Pair(lost, dark, "perhaps the same: same size"))
        elif seen == sha256:
            found.append(Pair(lost, dark, f"the same: SHA-256 {sha256[:12]}..."))
    return found


def _checksums(partitions: Iterable[str], recorded: Recorded) -> dict[str, str]:
    """What is recorded of any raw copy of these scans: all have the same."""
    records = (copy for copies in recorded.of_scans({*partitions}) for copy in copies)
    return {copy.scan: copy.sha256 for copy in records if copy.sha256 is not None and copy.partition == copy.scan}


def _read(place: Place, path: str) -> str | None:
    """The SHA-256 of a file; None where it cannot be read from here."""
    if place.mount is None:
        return None
    try:
        return hash_file(Location(place, PurePosixPath(path)).here).sha256
    except OSError:
        return None
