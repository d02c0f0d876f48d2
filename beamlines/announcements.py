"""The end-of-scan signal: what the acquisition program says of a scan that it has finished writing.

Belongs here: the message, and which scan it is about.
Does not: taking it in (resources.announcements), or what follows from it (sensors).
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, Field

from beamlines.config import Beamline
from beamlines.places import Store
from beamlines.scans import ScanId


class InvalidAnnouncementError(ValueError):
    """An announcement of something that is no scan of this beamline."""


@dataclass(frozen=True, slots=True)
class Announced:
    """An announcement that was taken in and waits."""

    id: int
    scan: str
    """The scan's key."""
    at: datetime


class Announcement(BaseModel):
    """One finished scan. The old acquisition program gives the same three things."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="The file, as the acquisition machine names it: /global/raw/..., or /raw/...")
    export_control: bool = Field(
        default=False, description="The scan must stay on site. Only an operator can lift that afterwards."
    )
    send_to_nersc: bool = Field(
        default=True, description="Whether the scan goes to NERSC by itself. A person can send it there later."
    )

    @property
    def withheld_from(self) -> frozenset[str]:
        """The facilities that it is not sent to by itself."""
        return frozenset() if self.send_to_nersc else frozenset({"nersc"})

    def scan(self, beamline: Beamline) -> ScanId:
        """The scan that is meant. Raises InvalidAnnouncementError."""
        place = beamline.places[beamline.scans.place]
        raw = place.stores[Store.RAW]
        path = PurePosixPath(self.path)
        for root in (beamline.scans.announced_below / raw, place.collection_root / raw, raw):
            # Not Path.relative_to, which knows nothing of '..' and would take "raw/../x" for a path below raw.
            below = self.path.removeprefix(f"{root}/")
            if below != self.path:
                break
        else:
            raise InvalidAnnouncementError(
                f"{self.path!r} does not lie below {beamline.scans.announced_below / raw}, "
                f"where {place.name} keeps scans{_hint(path)}"
            )
        why = beamline.why_not_a_scan(below)
        if why is not None:
            raise InvalidAnnouncementError(f"{self.path!r} is no scan: {why}")
        return ScanId(below)


def _hint(path: PurePosixPath) -> str:
    return "" if path.is_absolute() else ": give the whole path, from '/'"
