"""Remote work, carried through once: claim, intent, look up, submit, poll, end.

Belongs here: the order of those steps for every service, what a poll means, deadlines, re-attaching.
Does not: any one service's calls (transfer, facilities), or Dagster (als_assets hands in a pulse).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from resources import ends
from resources.clock import Clock
from resources.errors import (
    EpochLostError,
    LedgerUnavailableError,
    NotAllowedError,
    PlatformError,
    ServiceUnavailableError,
)
from resources.owner import Owner
from resources.seam import Pulse as Pulse
from resources.seam import RemoteWork as RemoteWork
from resources.seam import Shared as Shared
from resources.waiting import RECENT, UNKNOWN_GRACE, next_interval
from resources.waiting import TERMINAL as TERMINAL
from resources.waiting import JobState as JobState
from resources.waiting import Patience as Patience
from resources.waiting import RemoteStatus as RemoteStatus
from resources.work import AlreadyDone, Claimed, Record, WorkKey, WorkState

if TYPE_CHECKING:
    from resources.ledger import Ledger  # its database library costs every importer 0.3 s


NEVER_SENT = {"handle": None, "bytes_transferred": 0}
"""What the ledger keeps of work that was refused before its submit."""


@dataclass(slots=True)
class Attempt:
    """One piece of work in this worker's hands, between begin and its end."""

    work: RemoteWork
    key: WorkKey
    patience: Patience
    record: Record
    owned: bool
    resumed: bool
    missing_since: datetime | None = None
    unknown_since: datetime | None = None
    status: RemoteStatus | None = None
    """The newest that its service has said."""
    before: Sequence[Record] | None = None
    """Earlier successes of its kind, once they were looked up."""
    outcome: Record | PlatformError | None = None
    reused: bool = False
    """It had succeeded before, its result is there, and nothing was started."""

    @property
    def said(self) -> str:
        """What it is, and how its service knows it."""
        return f"{self.work.describe()} [{self.record.handle or 'not submitted yet'}]"


class Remote:
    """Carries remote work through for one worker process."""

    def __init__(
        self, ledger: "Ledger", owner: Owner, clock: Clock, *, retry_first: timedelta = timedelta(seconds=30)
    ) -> None:
        """``retry_first``: how long a step waits before it is tried again for the first time."""
        self._ledger = ledger
        self._owner = owner
        self._clock = clock
        self.retry_first = retry_first
        self._begun: list[Attempt] = []

    def begin(
        self,
        work: RemoteWork,
        key: WorkKey,
        patience: Patience,
        *,
        intact: Callable[[Record], bool],
    ) -> Attempt:
        """Start the work, or attach to it where it was started before.

        ``intact`` tells whether the result of an earlier success is still there; where it is, nothing is started.
        """
        claim = self._ledger.claim(key, self._owner, self._clock.now())
        if isinstance(claim, AlreadyDone):
            if intact(claim.record):
                done = claim.record
                return Attempt(work, key, patience, done, owned=False, resumed=True, outcome=done, reused=True)
            claim = self._ledger.claim(key, self._owner, self._clock.now(), redo=True)
        if not isinstance(claim, Claimed):
            return Attempt(work, key, patience, claim.record, owned=False, resumed=True)
        attempt = Attempt(work, key, patience, claim.record, owned=True, resumed=claim.record.epoch > 1)
        self._begun.append(attempt)
        try:
            self._submit_once(attempt)
        except PlatformError:
            self._release(attempt)
            raise
        return attempt

    def finish(self, attempt: Attempt, pulse: Pulse) -> Record:
        """Wait for the end and return its record. Raises WorkFailedError and the other named errors."""
        for ended in self.finish_each([attempt], pulse):
            if isinstance(ended.outcome, PlatformError):
                raise ended.outcome
        assert isinstance(attempt.outcome, Record)  # noqa: S101 - finish_each yields only what has ended
        return attempt.outcome

    def finish_each(self, attempts: Sequence[Attempt], pulse: Pulse) -> Iterator[Attempt]:
        """Yield each attempt when it has ended, its outcome a record or a named error; poll the others meanwhile.

        A service that can tell of several in one answer is asked once a round.
        """
        waiting, interval = list(attempts), timedelta()
        while waiting:
            seen = self._look(waiting)
            for attempt in [*waiting]:
                if attempt.outcome is None:
                    self._poll(attempt, pulse, seen)
                if attempt.outcome is not None:
                    waiting.remove(attempt)
                    yield attempt
            if waiting:
                interval = min(self._interval_after(interval, attempt) for attempt in waiting)
                self._clock.sleep(interval.total_seconds())

    def cancel_open(self) -> list[str]:
        """End what this worker owns, at its service and in the ledger: a person has terminated the run. Says what.

        What cannot be ended now is let go, and the first error is raised when all the rest has been ended.
        """
        ended: list[str] = []
        failures: list[PlatformError] = []
        for attempt in self._open():
            try:
                self._cancel(attempt)
                ended.append(attempt.said)
            except EpochLostError:
                attempt.owned = False  # another worker has it, and goes on with it
            except PlatformError as error:
                failures.append(error)
                self._release(attempt)
        if failures:
            raise failures[0]
        return ended

    def release_open(self) -> list[str]:
        """Let go what this worker owns and has not seen end: the next run attaches to it without waiting. Says what."""
        left = self._open()
        for attempt in left:
            self._release(attempt)
        return [attempt.said for attempt in left]

    def _open(self) -> list[Attempt]:
        return [attempt for attempt in self._begun if attempt.owned and attempt.record.in_flight]

    def _cancel(self, attempt: Attempt) -> None:
        handle = attempt.record.handle or attempt.work.find(attempt.record.name, attempt.record.intent or {})
        record = self._still_ours(attempt)
        state, evidence = WorkState.CANCELED, {"handle": handle, "detail": "canceled by a person"}
        if handle is not None:
            ended = self._ended_already(attempt.work, handle)
            if ended is None:
                attempt.work.cancel(handle)
            else:
                state, evidence = TERMINAL[ended.state], _evidence(handle, ended)
        attempt.record = self._ledger.finish(record, state, evidence, self._clock.now())

    def _ended_already(self, work: RemoteWork, handle: str) -> RemoteStatus | None:
        """How the work has ended by itself: what has succeeded must not be done again because of a late Terminate."""
        try:
            status = work.status(handle)
        except (PlatformError, LookupError):
            return None
        return status if status.state in TERMINAL else None

    def _release(self, attempt: Attempt) -> None:
        if not (attempt.owned and attempt.record.in_flight):
            return
        try:
            attempt.record = self._ledger.release(attempt.record, self._clock.now())
        except (EpochLostError, LedgerUnavailableError):
            # Somebody has it already, which is what letting go is for; or will have it: this worker ends without it.
            attempt.owned = False

    def _still_ours(self, attempt: Attempt) -> Record:
        """Asked before anything is done at a service: whatever was asked before may have taken longer than an owner
        may be silent. Raises EpochLostError."""
        attempt.record = self._ledger.beat(attempt.record, self._clock.now())
        return attempt.record

    # -- steps ---------------------------------------------------------------------------------------------------

    def _submit_once(self, attempt: Attempt) -> None:
        record = attempt.record
        if record.handle is not None:
            return
        if record.intent is None:
            intent = attempt.work.prepare(record.name)
            record = attempt.record = self._ledger.store_intent(record, intent, self._clock.now())
        intent = record.intent or {}
        handle = attempt.work.find(record.name, intent)
        if handle is None and attempt.resumed:
            # The worker before may have died between submit and answer: give the service time to show it.
            handle = self._await_appearance(attempt, intent)
        if handle is None:
            handle = self._submit(attempt, intent)
        attempt.record = self._ledger.store_handle(record, handle, self._clock.now())

    def _submit(self, attempt: Attempt, intent: dict[str, Any]) -> str:
        self._permit(attempt, {} if attempt.resumed else NEVER_SENT)
        try:
            return attempt.work.submit(attempt.record.name, intent)
        except ServiceUnavailableError:
            # The response was lost, the work perhaps not: only a service that knows nothing of it is asked again.
            handle = self._await_appearance(attempt, intent)
            if handle is not None:
                return handle
        self._permit(attempt, {})
        return attempt.work.submit(attempt.record.name, intent)

    def _permit(self, attempt: Attempt, known: dict[str, Any]) -> None:
        try:
            attempt.work.permit()
        except NotAllowedError as error:
            evidence = {**known, "detail": error.meaning}
            attempt.record = self._ledger.finish(attempt.record, WorkState.FAILED, evidence, self._clock.now())
            raise
        self._still_ours(attempt)

    def _await_appearance(self, attempt: Attempt, intent: dict[str, Any]) -> str | None:
        give_up, pause = self._clock.now() + attempt.patience.appear, attempt.patience.first_poll
        while True:
            try:
                handle = attempt.work.find(attempt.record.name, intent)
            except ServiceUnavailableError:
                give_up = self._clock.now() + attempt.patience.appear  # an outage tells nothing
                self._refuse_to_wait_longer(attempt)
                handle = None
            if handle is not None or self._clock.now() >= give_up:
                return handle
            self._still_ours(attempt)
            self._clock.sleep(pause.total_seconds())
            pause = next_interval(pause, attempt.patience)

    # -- polls ---------------------------------------------------------------------------------------------------

    def _look(self, waiting: Sequence[Attempt]) -> dict[tuple[Shared, str], Any]:
        """What services say that were asked about several pieces of work at once; the error of one that did not."""
        together: dict[Shared, list[str]] = {}
        for attempt in waiting:
            handle, shared = attempt.record.handle, attempt.work.shared
            if attempt.owned and attempt.outcome is None and handle is not None and shared is not None:
                together.setdefault(shared, []).append(handle)
        seen: dict[tuple[Shared, str], Any] = {}
        for shared, handles in together.items():
            if len(handles) > 1:
                try:
                    said: Mapping[str, Any] = shared.look(handles)
                except PlatformError as error:
                    said = dict.fromkeys(handles, error)
                seen |= {(shared, handle): document for handle, document in said.items()}
        return seen

    def _interval_after(self, last: timedelta, attempt: Attempt) -> timedelta:
        status = attempt.status
        if status is None or status.started is None:
            return next_interval(last, attempt.patience)
        if attempt.before is None:
            try:
                attempt.before = self._ledger.successes(attempt.key.asset, RECENT)
            except LedgerUnavailableError:
                return next_interval(last, attempt.patience)
        worked = self._clock.now() - status.started
        return next_interval(last, attempt.patience, worked=worked, expected=attempt.work.expected(attempt.before))

    def _poll(self, attempt: Attempt, pulse: Pulse, seen: Mapping[tuple[Shared, str], Any]) -> None:
        try:
            self._advance(attempt, pulse, seen)
        except LedgerUnavailableError as error:
            attempt.outcome = self._wait_for_the_ledger(attempt, pulse, error)
        except PlatformError as error:
            attempt.outcome = error
        if isinstance(attempt.outcome, PlatformError):
            self._release(attempt)

    def _advance(self, attempt: Attempt, pulse: Pulse, seen: Mapping[tuple[Shared, str], Any]) -> None:
        if not attempt.owned and not self._attach(attempt):
            other = f"another run is at it ({attempt.record.owner.run_id})"
            pulse(attempt.record, RemoteStatus(JobState.ACTIVE, other))
        elif attempt.outcome is None:
            self._ask(attempt, pulse, seen)

    def _wait_for_the_ledger(
        self, attempt: Attempt, pulse: Pulse, error: LedgerUnavailableError
    ) -> PlatformError | None:
        """Nothing is done to the work meanwhile; what could not be recorded now is seen again at the next poll."""
        if attempt.owned and attempt.record.handle is None:
            return error  # in the middle of a submit: a new run looks for it
        pulse(attempt.record, RemoteStatus(JobState.ACTIVE, f"state unknown: {error.seen}"))
        try:
            self._refuse_to_wait_longer(attempt)
        except PlatformError as overdue:
            return overdue
        return None

    def _attach(self, attempt: Attempt) -> bool:
        """Follow another worker's attempt; True once there is something to do: it has ended, or is ours now."""
        attempt.record = self._ledger.get(attempt.record.key, attempt.record.attempt)
        if not attempt.record.in_flight:
            self._conclude(attempt)
            return True
        taken = self._ledger.take_over(attempt.record, self._owner, self._clock.now())
        if taken is None:
            return False
        attempt.record, attempt.owned, attempt.resumed = taken, True, True
        self._begun.append(attempt)
        self._submit_once(attempt)
        return True

    def _ask(self, attempt: Attempt, pulse: Pulse, seen: Mapping[tuple[Shared, str], Any]) -> None:
        handle = self._still_ours(attempt).handle
        assert handle is not None  # noqa: S101 - begin and _attach leave no owned attempt without one
        shared = attempt.work.shared
        try:
            status = self._status(attempt, handle, None if shared is None else seen.get((shared, handle)))
            attempt.missing_since = None
            attempt.status = status
        except ServiceUnavailableError as error:
            status = RemoteStatus(JobState.ACTIVE, f"state unknown: {error.seen}")
        except LookupError as error:
            status = self._missing(attempt, error)
        pulse(attempt.record, status)
        if status.state in TERMINAL:
            evidence = _evidence(handle, status)
            attempt.record = self._ledger.finish(attempt.record, TERMINAL[status.state], evidence, self._clock.now())
            self._conclude(attempt)
        else:
            self._refuse_to_wait_longer(attempt)

    def _status(self, attempt: Attempt, handle: str, seen: Any) -> RemoteStatus:
        if isinstance(seen, PlatformError):
            raise seen
        status = attempt.work.status(handle, seen)
        if not status.must_be_cancelled:
            return status
        self._still_ours(attempt)
        attempt.work.cancel(handle)
        ended = attempt.work.status(handle)
        if ended.state is JobState.COMPLETED:  # in the very moment before
            return ended
        return replace(status, evidence={**ended.evidence, **status.evidence})

    def _missing(self, attempt: Attempt, error: LookupError) -> RemoteStatus:
        now = self._clock.now()
        attempt.missing_since = attempt.missing_since or now
        if now - attempt.missing_since < attempt.patience.appear:
            return RemoteStatus(JobState.QUEUED, "accepted, not shown by the service yet")
        evidence = {"handle": attempt.record.handle, "detail": str(error)}
        attempt.record = self._ledger.finish(attempt.record, WorkState.FAILED, evidence, now)
        raise ends.lost(attempt.work.describe(), attempt.record, error)

    def _refuse_to_wait_longer(self, attempt: Attempt) -> None:
        now = self._clock.now()
        waited = now - attempt.record.created
        if waited > attempt.patience.deadline:
            raise ends.overdue(attempt.work.describe(), attempt.record, waited)
        if attempt.status is None or attempt.status.state is not JobState.UNKNOWN:
            attempt.unknown_since = None
            return
        attempt.unknown_since = attempt.unknown_since or now
        if now - attempt.unknown_since >= UNKNOWN_GRACE:
            word = attempt.status.detail
            raise ends.unknown(attempt.work.describe(), attempt.record, word, now - attempt.unknown_since)

    def _conclude(self, attempt: Attempt) -> None:
        record = attempt.record
        done = record.state is WorkState.SUCCEEDED
        attempt.outcome = record if done else ends.why_not_done(attempt.work.describe(), record)


def _evidence(handle: str, status: RemoteStatus) -> dict[str, Any]:
    return {"handle": handle, "detail": status.detail, **status.evidence}
