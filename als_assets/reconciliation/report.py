"""What a place has shown when it was held against the graph.

Belongs here: that as values, with counts in words. Does not: finding it out (reconciler), or showing it
(records).
"""

from dataclasses import dataclass, field

from als_assets.reconciliation.renames import Pair
from beamlines.reconciliation import BAD, Finding, Kind
from resources.recorded import Suspect


@dataclass(slots=True)
class Report:
    """What one place has shown."""

    place: str
    findings: list[Finding] = field(default_factory=list)
    """Lost ones first, then changed, then dark."""
    renamed: list[Pair] = field(default_factory=list)
    remains: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """Of each lost or changed copy, by asset and partition: the other copies of it that are recorded."""
    again: list[Suspect] = field(default_factory=list)
    """What a listing has found lost or changed before, and is there now as it was recorded."""
    unreachable: dict[str, str] = field(default_factory=dict)
    """By folder, why it could not be listed: nothing is said of what is recorded below it."""
    unknown: set[str] = field(default_factory=set)
    """Of these folders, stores' own and those below which something is recorded: what nobody may close for long."""
    folders: int = 0
    whole: int = 0
    leftovers: int = 0
    not_judged: int = 0
    """Recorded or written lately, with work in flight, or in a folder that cannot be listed."""

    def of(self, kind: Kind) -> list[Finding]:
        """The findings of one kind."""
        return [finding for finding in self.findings if finding.kind is kind]

    @property
    def bad(self) -> list[Finding]:
        """What a person must look at."""
        return [finding for finding in self.findings if finding.kind in BAD]

    def __str__(self) -> str:
        counts = ", ".join(f"{len(self.of(kind))} {kind}" for kind in Kind)
        more = (
            f"{len(self.unreachable)} folders UNREACHABLE" if self.unreachable else "",
            f"{len(self.renamed)} perhaps renamed" if self.renamed else "",
            f"{self.leftovers} leftovers" if self.leftovers else "",
            f"{self.not_judged} not judged" if self.not_judged else "",
            f"{self.folders} folders listed",
            f"{self.whole} copies as recorded",
        )
        return "; ".join((f"{self.place}: {counts}", *filter(None, more)))
