"""Everything of ours that goes on elsewhere: what services show, joined with what the ledger has.

Belongs here: that join, what is an orphan, and ending what a person names.
Does not: how work is ended (resources.ending), or what is shown of it (als.remote).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from resources.ending import Ending
from resources.errors import PlatformError
from resources.facilities.service import JobSeen
from resources.owner import Owner
from resources.remote import TERMINAL
from resources.waiting import APPEARS_WITHIN
from resources.work import Record

DETAIL = "canceled by a person"
GONE = "its service does not know it any more: closed by a person"
LOOKS_BACK = timedelta(days=2)
"""Jobs that ended so lately are asked for too: one whose row is in flight has a state then."""


@dataclass(frozen=True, slots=True)
class There:
    """A piece of work as its service shows it."""

    name: str
    remote_id: str
    state: str
    since: datetime | None
    ended: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of work that goes on at a service, or that goes on by the ledger."""

    name: str
    """As the outside world knows it."""
    service: str
    """A facility, or Globus as one of our clients sees it (resources.identities)."""
    there: There | None
    """None where the service does not show it, or was not asked."""
    asked: bool
    """Whether the service has answered."""
    record: Record | None
    """None where the ledger has never heard of it."""
    death: str | None = None
    """Why the worker at it is dead; None where that lives, may live, or is unknown."""
    is_new: bool = False
    """Its row has changed a moment ago: what its service does not show yet may still come."""

    @property
    def is_orphan(self) -> bool:
        """It goes on at its service, and no record that is in flight knows it: nobody will ever ask after it."""
        if self.there is None or self.there.ended:
            return False
        known = self.record is not None and self.record.in_flight and self.record.handle in (None, self.there.remote_id)
        return not known

    @property
    def is_lost(self) -> bool:
        """The ledger has it in flight, nobody has asked after it lately, and its service does not know it."""
        unknown = self.asked and self.there is None and not self.is_new
        return unknown and self.record is not None and self.record.handle is not None


@dataclass(slots=True)
class Everything:
    """What was found, and what could not be asked."""

    pieces: list[Piece] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def named(self, names: Iterable[str]) -> list[Piece]:
        """The pieces of these names or remote ids. Raises ValueError for one that is not there."""
        known = {piece.name: piece for piece in self.pieces}
        known |= {piece.there.remote_id: piece for piece in self.pieces if piece.there is not None}
        if unknown := [name for name in names if name not in known]:
            raise ValueError(
                f"nothing of ours is called {', '.join(map(repr, unknown))}: als remote list shows what is"
            )
        return list({piece.name: piece for piece in (known[name] for name in names)}.values())


def look(ending: Ending) -> Everything:
    """Look at every service; one that does not answer stops nothing."""
    ledger, now = ending.ledger, ending.clock.now()
    prefix = f"als-{ledger.database.installation}-"
    flying = {record.name: record for record in ledger.in_flight()}
    found, here = Everything(), Owner.this_process("als remote")
    since = min([now - LOOKS_BACK, *(record.created for record in flying.values())])
    services: Mapping[str, Callable[[], list[There]]] = {
        **{name: partial(_tasks, ending, name, prefix, flying.values()) for name in ending.globus.by_service()},
        **{name: partial(_jobs, ending, name, prefix, since) for name in ending.facilities},
    }
    for service, ask in services.items():
        try:
            seen, asked = ask(), True
        except PlatformError as error:
            found.problems.append(f"{service}: {error}")
            seen, asked = [], False
        for record in flying.values():
            if _service(ending, record) == service:
                there = _of(record, seen)
                seen = [one for one in seen if one is not there]
                found.pieces.append(_piece(record.name, service, there, asked, record, here, now))
        # What is left is an orphan, also a second job of the same name.
        for there in (one for one in seen if not one.ended):
            record_of = flying.get(there.name) or _by_name(ending, there.name, prefix)
            found.pieces.append(_piece(there.name, service, there, asked, record_of, here, now))
    unheard = [record for record in flying.values() if _service(ending, record) not in services]
    found.problems += [f"{record.said} is at {record.facility}, which is not configured any more" for record in unheard]
    return found


def _service(ending: Ending, record: Record) -> str:
    return record.facility or ending.globus.service_of(record)


def _of(record: Record, seen: Sequence[There]) -> There | None:
    """What a service shows of a row: what has its handle, or, before that is stored, what has its name."""
    wanted = [one for one in seen if one.name == record.name and record.handle in (None, one.remote_id)]
    return min(wanted, key=lambda one: one.ended, default=None)


def _piece(
    name: str, service: str, there: There | None, asked: bool, record: Record | None, here: Owner, now: datetime
) -> Piece:
    piece = Piece(name, service, there, asked, record)
    if record is None or not record.in_flight:
        return piece
    death = record.owner.death(seen_from=here, heartbeat=record.heartbeat, now=now)
    return replace(piece, death=death, is_new=now - record.updated < APPEARS_WITHIN)


def cancel(ending: Ending, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, str | None]]:
    """End each, at its service and in the ledger; yield each with why it could not be ended, or None."""
    for piece in pieces:
        try:
            _cancel(ending, piece)
        except (PlatformError, LookupError) as error:
            yield piece, str(error)
        else:
            yield piece, None


def _cancel(ending: Ending, piece: Piece) -> None:
    if piece.is_orphan and piece.there is not None:
        as_one = ending.globus.by_service().get(piece.service)
        stop = ending.facilities[piece.service].cancel if as_one is None else as_one.cancel
        stop(piece.there.remote_id)
    elif piece.record is not None and piece.is_lost:
        ending.close(piece.record, GONE)
    elif piece.record is not None:
        ending.end(piece.record, DETAIL)


def _jobs(ending: Ending, facility: str, prefix: str, since: datetime) -> list[There]:
    return [_job(seen) for seen in ending.facilities[facility].jobs(prefix, since=since)]


def _job(seen: JobSeen) -> There:
    return There(seen.name, seen.job_id, seen.words, seen.started or seen.submitted, seen.job_state in TERMINAL)


def _tasks(ending: Ending, service: str, prefix: str, flying: Iterable[Record]) -> list[There]:
    globus = ending.globus.by_service()[service]
    found = [_task(task) for task in globus.unended_tasks(prefix)]
    known = {there.remote_id for there in found}
    for record in flying:
        mine = _service(ending, record) == service
        if mine and record.handle is not None and record.handle not in known:
            try:
                found.append(_task(globus.task(record.handle)))
            except LookupError:
                continue  # it is shown as what Globus does not know
    return found


def _task(task: Mapping[str, Any]) -> There:
    began = task.get("request_time")
    since = datetime.fromisoformat(str(began)).astimezone(UTC) if began else None
    state, why = str(task["status"]), task.get("nice_status")
    said = state if not why or why in ("OK", "Queued") else f"{state}, {why}"
    return There(str(task.get("label")), str(task["task_id"]), said, since, state in ("SUCCEEDED", "FAILED"))


def _by_name(ending: Ending, name: str, prefix: str) -> Record | None:
    """The attempt that a name stands for: what is not in flight any more in the ledger may go on elsewhere."""
    key, _, attempt = name.removeprefix(prefix).rpartition("-")
    try:
        return ending.ledger.get(key, int(attempt))
    except (LookupError, ValueError):
        return None
