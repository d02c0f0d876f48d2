"""What a service says of remote work, what that means, and how long to wait before it is asked again.

Belongs here: states, statuses, patience, intervals: values and pure functions.
Does not: asking (remote), or any one service's words (globus_tasks, facilities). Why so: docs/decisions/0015.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from resources.work import WorkState

APPEARS_WITHIN = timedelta(minutes=2)
"""How long a service may take, seen from outside of the worker, to show what a row says was submitted."""
UNKNOWN_GRACE = timedelta(minutes=10)
"""How long a state that no table knows is waited out: flags of a moment pass by then, and nobody waits a night for one
that stays."""
RECENT = 20
"""So many successes tell how long the next one takes: a few days of a beamline, so that a change shows soon."""
BACK_OFF = 1.5
NEAR = (0.8, 1.5)
"""The end is near from here to here, in parts of the expected time; outside, asking often would rarely find it."""


class JobState(StrEnum):
    """The states of PSI/J and of DOE's IRI Facility API, used for transfers too; and one for what is none of them."""

    NEW = "new"
    QUEUED = "queued"
    HELD = "held"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    UNKNOWN = "unknown"
    """The service's word is in no table of ours: neither success nor failure, for UNKNOWN_GRACE."""


TERMINAL = {
    JobState.COMPLETED: WorkState.SUCCEEDED,
    JobState.FAILED: WorkState.FAILED,
    JobState.CANCELED: WorkState.CANCELED,
}


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """What a service says of a piece of work, now."""

    state: JobState
    detail: str
    """The service's own word for the state, and why, for people."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """JSON values worth keeping: ids, files, bytes, times, exit codes."""
    started: datetime | None = None
    """Since when it is being worked on, as the service tells; aware, in UTC."""
    lines: tuple[str, ...] = ()
    """What its log says that was not said before."""
    must_be_cancelled: bool = False
    """It failed in our judgement only: at the service it would go on. Its owner cancels it first."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what."""

    first_poll: timedelta
    longest_poll: timedelta
    deadline: timedelta
    """From the submit to the end."""
    appear: timedelta = timedelta(seconds=60)
    """How long a service may take to show work that it has accepted."""


def next_interval(
    last: timedelta, patience: Patience, *, worked: timedelta | None = None, expected: timedelta | None = None
) -> timedelta:
    """How long to wait after an interval of ``last``, which is 0 before the first.

    Intervals grow, but the end is not slept through: where ``expected`` is known of work that has ``worked`` for so
    long, they are the shortest near it, and none before it reaches far into that time.
    """
    grown = min(max(last * BACK_OFF, patience.first_poll), patience.longest_poll)
    if worked is None or expected is None:
        return grown
    begins, ends = (expected * part for part in NEAR)
    if worked < begins:
        return min(grown, max(begins - worked, patience.first_poll))
    return patience.first_poll if worked <= ends else grown


def typical(seconds: Sequence[float]) -> timedelta | None:
    """The median; None where there is nothing to take it of."""
    return timedelta(seconds=statistics.median(seconds)) if seconds else None
