"""What may happen to a scan: pure decisions, each with a named reason.

Belongs here: Decision, who may leave the site, which facility a new scan is routed to.
Does not: enforcing them (resources and sensors do, each by itself), or remembering them (Dagster and the ledger).
"""

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Self

from pydantic import BaseModel, ConfigDict, field_validator

from beamlines.places import Place
from beamlines.scans import ScanId


class Reason(StrEnum):
    """Every reason that a decision can have; stored with evidence, so a word here is never renamed."""

    ON_SITE = "on-site"
    UNRESTRICTED = "unrestricted"
    RESTRICTED_FOLDER = "restricted-folder"
    PREFERRED = "preferred-facility"
    NOT_PREFERRED = "another-facility-is-preferred"
    NOT_NEW = "not-a-new-arrival"
    SWITCHED_OFF = "skipped-by-operator"
    WAITING_FOR_RAW = "waiting-for-the-raw-copy"


@dataclass(frozen=True, slots=True)
class Decision:
    """Yes or no, why, and in words what that means for this scan. Deliberately not usable as a bare bool."""

    allowed: bool
    reason: Reason
    detail: str

    @classmethod
    def yes(cls, reason: Reason, detail: str) -> Self:
        return cls(True, reason, detail)

    @classmethod
    def no(cls, reason: Reason, detail: str) -> Self:
        return cls(False, reason, detail)

    def __bool__(self) -> bool:
        raise TypeError("a Decision has a reason: ask for .allowed, and pass the reason on")

    def __str__(self) -> str:
        return f"{'yes' if self.allowed else 'no'} ({self.reason}): {self.detail}"


class Arrival(StrEnum):
    """How a scan came to be known. Only a new one is routed."""

    NEW = "new"
    ADOPTED = "adopted"
    REPAIR = "repair"


class ExportControl(BaseModel):
    """Which scans must stay on site. Patterns are those of shells, on the folder below ``raw/``, case-insensitive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    restricted_folders: tuple[str, ...] = ()

    @field_validator("restricted_folders")
    @classmethod
    def _can_match(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if not pattern or pattern.startswith("/") or pattern.endswith("/"):
                raise ValueError(f"{pattern!r} would match no folder: it is a path below raw/, without '/' at its ends")
        return patterns

    def may_be_at(self, scan: ScanId, place: Place) -> Decision:
        """Whether a copy or a product of ``scan`` may lie at ``place``, or be worked on there."""
        if not place.off_site:
            return Decision.yes(Reason.ON_SITE, f"{place.name} is on site")
        folder = _folded(scan.folder)
        for pattern in self.restricted_folders:
            wanted = _folded(pattern)
            if fnmatchcase(folder, wanted) or fnmatchcase(folder, f"{wanted}/*"):
                return Decision.no(
                    Reason.RESTRICTED_FOLDER,
                    f"its folder matches {pattern!r}, which is export controlled: it may not go to {place.name}",
                )
        return Decision.yes(Reason.UNRESTRICTED, f"no rule keeps it from {place.name}")


def _folded(text: str) -> str:
    # The same letter can be typed as one character or as two: a rule must hold for both.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def route(arrival: Arrival, facility: str, preference: tuple[str, ...]) -> Decision:
    """Whether a facility's branch starts for a scan that has just been ingested."""
    if arrival is not Arrival.NEW:
        return Decision.no(Reason.NOT_NEW, f"it was {arrival}: backfill the branch if it is wanted")
    if facility != preference[0]:
        return Decision.no(Reason.NOT_PREFERRED, f"{preference[0]} takes new arrivals; backfill the branch if wanted")
    return Decision.yes(Reason.PREFERRED, f"{facility} takes new arrivals")
