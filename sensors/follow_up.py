"""What an earlier tick left undone: an arrival that is recorded, and whose run nobody ever requested.

Belongs here: an arrival as the event log has it, and which of them must be looked after. Pure.
Does not: reading the event log (event_log), or what is done about it (new_scans, routing).

Dagster's daemon writes a tick's events, then its partitions, then its runs, and the cursor last: a tick can die between
any two. And on PostgreSQL an event's id is given before it can be seen, so that a cursor can step over it. So a second
cursor follows the first at a distance, and looks at each arrival once more when it is old enough for its run to exist.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile

from beamlines.policy import Arrival


@dataclass(frozen=True, slots=True)
class Arrived:
    """An arrival as the event log has it."""

    storage_id: int
    key: str
    arrival: Arrival
    recorded: float
    """Seconds since 1970."""
    handed_on_by: str | None = None
    """The facility that it was meant for, where that one handed it on."""


def new_keys(items: Sequence[Arrived]) -> set[str]:
    """The scans among them that are to be routed."""
    return {item.key for item in items if item.arrival is Arrival.NEW}


def old_enough(recorded: Sequence[Arrived], now: float, grace_s: float) -> list[Arrived]:
    """Those, in the order of the log, up to the first that is younger than ``grace_s``."""
    return [*takewhile(lambda item: now - item.recorded >= grace_s, recorded)]


def overlooked(recorded: Sequence[Arrived], begun: Collection[str], room: int) -> tuple[list[Arrived], int | None]:
    """Which new arrivals were never begun, at most ``room``; and the storage id up to which this is settled.

    Each arrival is judged once: a run that failed, or that a person deleted, is not requested again.
    """
    found: list[Arrived] = []
    settled: int | None = None
    for item in recorded:
        if item.arrival is Arrival.NEW and item.key not in begun:
            if len(found) >= room:
                break
            found.append(item)
        settled = item.storage_id
    return found, settled
