"""What may happen to a scan: pure decisions, each with a named reason.

Belongs here: who may leave the site, which facility a new scan is routed to.
Does not: enforcing them (resources and sensors do, each by itself), or remembering them (Dagster and the ledger).
"""

import unicodedata
from enum import StrEnum
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field, field_validator

from beamlines.decisions import Decision, Reason
from beamlines.places import Place
from beamlines.scans import ScanId
from beamlines.standing import Standing, may_be_touched


class Arrival(StrEnum):
    """How a scan came to be known. Only a new one is routed."""

    NEW = "new"
    ADOPTED = "adopted"
    REPAIR = "repair"


class ExportDefault(StrEnum):
    """What holds for a scan of which no rule and nobody says anything."""

    UNRESTRICTED = "unrestricted"
    RESTRICTED = "restricted"


class ExportControl(BaseModel):
    """Which scans must stay on site.

    Folder patterns are those of shells, on the folder below ``raw/``; case does not matter, for proposals neither.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: ExportDefault = ExportDefault.RESTRICTED
    """Stated by the deployment; where nothing states it, nothing leaves."""
    restricted_folders: tuple[str, ...] = ()
    restricted_proposals: tuple[str, ...] = ()
    """Proposals, such as ``BLS-00564``, of the folder's name or of the file itself."""
    sidecar: str = Field(default=".export-control", pattern=r"^\.[A-Za-z0-9._-]+$")
    """A file beside the scan, called like the scan's file and this after it, restricts it, whatever is in it."""

    @field_validator("restricted_folders")
    @classmethod
    def _can_match(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if not pattern or pattern.startswith("/") or pattern.endswith("/"):
                raise ValueError(f"{pattern!r} would match no folder: it is a path below raw/, without '/' at its ends")
        return patterns

    def may_be_at(self, scan: ScanId, place: Place, standing: Standing) -> Decision:
        """Whether a copy or a product of ``scan`` may lie at ``place``, or be worked on there."""
        if not place.off_site:
            return Decision.yes(Reason.ON_SITE, f"{place.name} is on site")
        restriction = self.restriction(scan, standing)
        if restriction is None:
            return Decision.yes(Reason.UNRESTRICTED, f"no rule keeps it from {place.name}")
        reason, why = restriction
        return Decision.no(reason, f"{why}, so it is export controlled: it may not go to {place.name}")

    def restriction(self, scan: ScanId, standing: Standing) -> tuple[Reason, str] | None:
        """Why a scan must stay on site, in words; None where it may leave.

        The configuration's rules hold whatever people say of one scan. What was said of it (at its announcement, by a
        sidecar, by its own file, by an operator) holds until an operator lifts it.
        """
        return (
            self._by_folder(scan)
            or self._by_proposal(scan, standing)
            or self._by_word(standing)
            or (None if standing.lifted else self._by_default())
        )

    def restricts(self, proposal: str) -> bool:
        """Whether a rule names this proposal."""
        return _folded(proposal) in {_folded(restricted) for restricted in self.restricted_proposals}

    def _by_folder(self, scan: ScanId) -> tuple[Reason, str] | None:
        folder = _folded(scan.folder)
        for pattern in self.restricted_folders:
            wanted = _folded(pattern)
            if fnmatchcase(folder, wanted) or fnmatchcase(folder, f"{wanted}/*"):
                return Reason.RESTRICTED_FOLDER, f"its folder matches {pattern!r}"
        return None

    def _by_proposal(self, scan: ScanId, standing: Standing) -> tuple[Reason, str] | None:
        if not self.restricted_proposals:
            return None
        known = [proposal for proposal in (scan.describe().proposal, standing.proposal) if proposal]
        for proposal in known:
            if self.restricts(proposal):
                return Reason.RESTRICTED_PROPOSAL, f"its proposal is {proposal}"
        if not known and not standing.lifted:
            return (
                Reason.PROPOSAL_UNKNOWN,
                "its proposal cannot be told, and some proposals are restricted",
            )
        return None

    def _by_word(self, standing: Standing) -> tuple[Reason, str] | None:
        return None if standing.restricted is None else (standing.restricted, _SAID_BY[standing.restricted])

    def _by_default(self) -> tuple[Reason, str] | None:
        if self.default is ExportDefault.UNRESTRICTED:
            return None
        return (
            Reason.RESTRICTED_BY_DEFAULT,
            "nothing says that it may leave, and the default is restricted",
        )


_SAID_BY = {
    Reason.RESTRICTED_WHEN_ANNOUNCED: "its announcement said so",
    Reason.RESTRICTED_BY_SIDECAR: "a sidecar lay beside it",
    Reason.RESTRICTED_BY_OPERATOR: "an operator said so",
}
"""By whom a single scan can be restricted."""


def _folded(text: str) -> str:
    # The same letter can be typed as one character or as two: a rule must hold for both.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def route(arrival: Arrival, facility: str, preference: tuple[str, ...]) -> Decision:
    """Whether a facility's branch is to take a scan that has just arrived."""
    if arrival is not Arrival.NEW:
        return Decision.no(Reason.NOT_NEW, f"it was {arrival}: backfill the branch if it is wanted")
    if facility != preference[0]:
        return Decision.no(Reason.NOT_PREFERRED, f"{preference[0]} takes new arrivals; backfill the branch if wanted")
    return Decision.yes(Reason.PREFERRED, f"{facility} takes new arrivals")


def send_on(standing: Standing, facility: str) -> Decision:
    """Whether an ingested scan goes through a facility's branch by itself. A person may send it all the same."""
    if facility in standing.withheld_from:
        return Decision.no(Reason.WITHHELD, f"it was announced as not to be sent to {facility}: backfill it if wanted")
    touched = may_be_touched(standing)
    if not touched.allowed:
        return touched
    if standing.aborted is not None:
        return Decision.no(Reason.ABORTED, f"{standing.aborted}: backfill the branch if it is wanted all the same")
    return Decision.yes(Reason.PREFERRED, f"{facility} takes it")
