"""What a look at a running system has found, and who must act where it is wrong.

Belongs here: Finding, and making one out of an error. Does not: any look (doctor, cutover).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from beamlines.places import Place
from resources.errors import PlatformError
from resources.responsible import who_must_act
from resources.transfer import Transfer


class Verdict(StrEnum):
    """How a look ended."""

    FINE = "fine"
    WARNING = "warning"
    """It works, and will not for long, or not for everybody."""
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One look: where, at what, and what was found; of anything but FINE also who must act, and how."""

    where: str
    what: str
    verdict: Verdict
    seen: str
    who: str = ""
    remedy: str = ""


def fault(where: str, what: str, error: PlatformError, who: str) -> Finding:
    """The finding of an error."""
    return Finding(where, what, Verdict.FAULT, f"{error.seen}: {error.meaning}", who, error.remedy)


def fault_between(what: str, error: PlatformError, places: Sequence[Place], transfer: Transfer) -> Finding:
    """The finding of an error that Globus has met at the last of ``places``."""
    return fault(places[-1].name, what, error, who_must_act(error, places, transfer.stat))
