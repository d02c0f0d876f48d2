"""The standing of a scan: what has been recorded about it and decided by people, apart from its copies.

Belongs here: Standing, and the decisions that rest on it alone.
Does not: keeping it (resources.standings), export control's rules (policy), or which copies there are (Dagster).
"""

from dataclasses import dataclass
from datetime import datetime

from beamlines.decisions import Decision, Reason


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A raw file as its machine shows it: size in bytes, and its time in whole seconds (Globus gives no finer one)."""

    size_bytes: int
    modified: datetime

    def __str__(self) -> str:
        return f"{self.size_bytes} bytes of {self.modified.isoformat()}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one scan. The empty one is that of a scan of which nothing was ever recorded."""

    file: SeenFile | None = None
    """The file that was taken for complete on the acquisition machine."""
    proposal: str | None = None
    """The proposal that the file itself names."""
    restricted: Reason | None = None
    """Why it is export controlled, apart from the rules of the configuration; it stays until an operator lifts it."""
    lifted: bool = False
    """An operator has said, after any earlier restriction, that it is not export controlled."""
    withheld_from: frozenset[str] = frozenset()
    """Facilities that it is not sent to by itself; a person may send it."""
    changed: str | None = None
    """How its file has changed since it was taken for complete: a person must decide."""
    aborted: str | None = None
    """What is missing in it."""


def may_be_touched(standing: Standing) -> Decision:
    """Whether anything of a scan may be copied or deleted, wherever."""
    if standing.changed is not None:
        return Decision.no(Reason.CHANGED, f"its file has changed since it was taken for complete: {standing.changed}")
    return Decision.yes(Reason.UNCHANGED, "its file is the one that was taken for complete")
