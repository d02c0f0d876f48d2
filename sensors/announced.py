"""Announced scans: the acquisition program has said that they are finished, so that nobody waits for them to be quiet.

Belongs here: which announcements have become arrivals, which wait, which are given up. Pure, given a way to look.
Does not: the inbox itself (resources.announcements), or Dagster (new_scans).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from beamlines.announcements import Announced
from beamlines.scans import ScanId
from sensors.arrivals import Complete
from sensors.folders import LookFailedError

HEARD_A_TICK = 50
GIVE_UP_AFTER = timedelta(minutes=10)
"""An announced file that is not there for so long was misnamed; should it come after all, the listings find it."""
_LONGEST = timedelta(seconds=15)
_FAILURES_A_TICK = 3

LookAt = Callable[[ScanId], "Complete | None"]
"""Look at one file; None where there is none, or an empty one. Raises LookFailedError where that cannot be told."""


class Inbox(Protocol):
    """Where announcements wait."""

    def open(self, *, after: int, limit: int) -> Sequence[Announced]:
        """The next ones; after the last one those from the beginning."""

    def settle(self, ids: Sequence[int]) -> None:
        """Their scans have arrived."""

    def expire(self, announced: Announced, why: str) -> None:
        """Give one up."""


@dataclass(slots=True)
class Heard:
    """The outcome of one tick."""

    after: int
    """The id of the announcement that was looked at last."""
    complete: list[Complete] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    """Of scans that had arrived before."""
    given_up: list[Announced] = field(default_factory=list)
    waiting: int = 0
    """Those whose file is not there yet."""
    failed: list[str] = field(default_factory=list)


def hear(
    announced: Sequence[Announced],
    arrived: Collection[str],
    look_at: LookAt,
    clock: Callable[[], datetime],
    after: int,
) -> Heard:
    """Look at each announced file, in order, for as long as a tick allows; ``arrived`` are those that are known."""
    heard, began = Heard(after), clock()
    for item in announced:
        if clock() - began > _LONGEST or len(heard.failed) >= _FAILURES_A_TICK:
            break
        heard.after = item.id
        if item.scan in arrived:
            heard.settled.append(item.id)
            continue
        try:
            found = look_at(ScanId.from_key(item.scan))
        except LookFailedError as error:
            heard.failed.append(str(error))
            continue
        if found is not None:
            heard.complete.append(found)
        elif clock() - item.at > GIVE_UP_AFTER:
            heard.given_up.append(item)
        else:
            heard.waiting += 1
    return heard
