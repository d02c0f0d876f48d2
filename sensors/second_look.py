"""A second look at what listings show of scans that are known: has a file changed, has a sidecar come?

Belongs here: that comparison. Pure.
Does not: keeping what was seen (resources.standings), or listing (folders).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC

from beamlines.config import Beamline
from beamlines.scans import ScanId
from beamlines.standing import SeenFile, Standing
from sensors.folders import Found


@dataclass(slots=True)
class SecondLook:
    """What a listing shows of scans, by their keys."""

    beside: set[str] = field(default_factory=set)
    """Scans beside which a sidecar lies, known or not."""
    files: dict[str, SeenFile] = field(default_factory=dict)
    """How their files look now."""

    def changed(self, standings: Mapping[str, Standing]) -> dict[str, str]:
        """Those whose file is not the one that was taken for complete, and how; not those of which that is known."""
        return {
            key: f"{self.files[key]}, and not {standing.file}"
            for key, standing in standings.items()
            if key in self.files and standing.file not in (None, self.files[key]) and standing.changed is None
        }

    def restricted(self, standings: Mapping[str, Standing]) -> set[str]:
        """Those that a sidecar restricts, and that are not restricted yet."""
        return {key for key in self.beside if standings.get(key, Standing()).restricted is None}


def look_again(beamline: Beamline, files: Iterable[tuple[str, Found]]) -> SecondLook:
    """Sort what was listed, by path below raw/, into scans and sidecars."""
    look, suffix = SecondLook(), beamline.export_control.sidecar
    for path, entry in files:
        if path.endswith(suffix):
            scan = path.removesuffix(suffix)
            if beamline.why_not_a_scan(scan) is None:
                look.beside.add(ScanId(scan).key)
        elif beamline.why_not_a_scan(path) is None:
            look.files[ScanId(path).key] = SeenFile(entry.size_bytes, entry.modified.astimezone(UTC))
    return look
