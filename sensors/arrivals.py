"""Which files on the acquisition machine are new, complete scans: decided from listings, with bounded work a tick.

Belongs here: when a file is complete, and what one tick tells the next. Pure, given a way to look.
Does not: where to look (folders), or Dagster (new_scans).
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Self

from sensors.folders import Found, Look, Round, Trail, join, look_around, parent, with_activity

COMPLETE_A_TICK = 50
PENDING_AT_MOST = 500
"""Ten ticks' supply. What does not fit is not passed over: it is looked at again when there is room."""
_EMPTY_FOR = timedelta(hours=1)
"""An empty file is no scan yet; after so long it is not waited for, and the sweep looks whether it has grown."""


class UnreadableCursorError(ValueError):
    """A cursor that another version wrote, or a person: begin afresh, nothing is found twice."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A file that is not yet known to be complete: how it looked, and since when (on our clock) it has looked so."""

    size_bytes: int
    modified: float
    since: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What one tick tells the next; its size does not grow with the number of scans."""

    pending: Mapping[str, Seen] = field(default_factory=dict)
    """By path below raw/; those first that were not looked at for longest."""
    trail: Trail = field(default_factory=Trail)
    settled: int = 0
    """Storage id of an arrival: every one up to it has its partition, and its ingest was requested."""
    listed: float = 0.0
    """When folders were last listed: announcements are looked at more often."""
    heard: int = 0
    """The id of the announcement that was looked at last."""

    def settled_up_to(self, storage_id: int | None) -> Self:
        """The same, with arrivals settled up to there; None where none was judged."""
        return self if storage_id is None else replace(self, settled=storage_id)

    def to_cursor(self) -> str:
        """As ASCII text: names may hold bytes that are no UTF-8, which JSON escapes and a database would not take."""
        pending = {path: [seen.size_bytes, seen.modified, seen.since] for path, seen in self.pending.items()}
        trail = [self.trail.position, dict(self.trail.watched), self.trail.swept]
        document = {
            "pending": pending,
            "trail": trail,
            "settled": self.settled,
            "listed": self.listed,
            "heard": self.heard,
        }
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def from_cursor(cls, text: str) -> Self:
        """The inverse of ``to_cursor``. Raises UnreadableCursorError."""
        try:
            document = json.loads(text)
            (time, name), watched, swept = document["trail"]
            return cls(
                pending={
                    str(path): Seen(int(size), float(modified), float(since))
                    for path, (size, modified, since) in document["pending"].items()
                },
                trail=Trail(
                    (float(time), str(name)),
                    {str(folder): float(active) for folder, active in watched.items()},
                    None if swept is None else str(swept),
                ),
                settled=int(document["settled"]),
                listed=float(document["listed"]),
                heard=int(document["heard"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnreadableCursorError(f"a cursor that cannot be read ({error!r}): {text[:100]!r}") from error


@dataclass(frozen=True, slots=True)
class Complete:
    """A file that is a complete scan: its path below raw/, its size in bytes and its time."""

    path: str
    size_bytes: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Tick:
    """The outcome of one tick: complete scans, what to remember, and what could not be looked at."""

    complete: tuple[Complete, ...]
    memory: Memory
    failed: Mapping[str, str]
    calls: int
    full: bool
    """More files are being written than are remembered."""
    files: Mapping[str, Found] = field(default_factory=dict)
    """Everything that was listed, by path below raw/."""


def tick(
    memory: Memory,
    look: Look,
    new_of: Callable[[Collection[str]], Collection[str]],
    clock: Callable[[], datetime],
    quiet_time: timedelta,
) -> Tick:
    """Look at the folders where scans may have appeared, and tell which files are complete.

    A file is complete when it is not empty, and size and time were the same in two listings at least ``quiet_time``
    apart. ``new_of`` says which of some paths are scans that are not known yet. Raises LookFailedError where raw/
    itself cannot be listed.
    """
    work, trail = look_around(memory.trail, dict.fromkeys(map(parent, memory.pending)), look, clock)
    if not work.listed[""]:
        return Tick((), memory, work.failed, work.calls, full=False)
    now = clock()
    files = dict(_files(work))
    new = new_of(files.keys())
    judged = _judge(memory.pending, {path: files[path] for path in new}, work, now, quiet_time)
    if judged.full:
        # What was seen and could not be remembered must be seen again.
        trail = replace(trail, position=memory.trail.position, swept=memory.trail.swept)
    watched = with_activity(trail.watched, map(parent, new), now.timestamp())
    trail = replace(trail, watched=watched)
    after = replace(memory, pending=judged.pending, trail=trail, listed=now.timestamp())
    return Tick(tuple(judged.complete), after, work.failed, work.calls, judged.full, files)


def _files(work: Round) -> list[tuple[str, Found]]:
    return [
        (join(folder, entry.name), entry)
        for folder, entries in work.listed.items()
        for entry in entries
        if not entry.is_folder
    ]


@dataclass(slots=True)
class _Judged:
    pending: dict[str, Seen]
    complete: list[Complete] = field(default_factory=list)
    full: bool = False


def _judge(
    pending: Mapping[str, Seen], new: Mapping[str, Found], work: Round, now: datetime, quiet_time: timedelta
) -> _Judged:
    # What lies in a folder that was not looked at, or could not be, is as pending as it was. It comes first, so that
    # its folder is the next to be looked at.
    judged = _Judged({path: seen for path, seen in pending.items() if parent(path) not in work.listed})
    # What waits already keeps its place; of the others the newest come first.
    in_turn = sorted(new, key=lambda path: (path not in pending, -new[path].modified.timestamp()))
    for path in in_turn:
        entry, before = new[path], pending.get(path)
        seen = Seen(entry.size_bytes, entry.modified.timestamp(), now.timestamp())
        if before is not None and (before.size_bytes, before.modified) == (seen.size_bytes, seen.modified):
            unchanged, seen = timedelta(seconds=now.timestamp() - before.since), before
            if entry.size_bytes == 0 and unchanged > _EMPTY_FOR:
                continue
            if entry.size_bytes > 0 and unchanged >= quiet_time and len(judged.complete) < COMPLETE_A_TICK:
                judged.complete.append(Complete(path, entry.size_bytes, entry.modified.astimezone(UTC)))
                continue
        if before is not None or len(judged.pending) < PENDING_AT_MOST:
            judged.pending[path] = seen
        else:
            judged.full = True
    return judged
