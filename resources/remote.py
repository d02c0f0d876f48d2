"""Remote work, carried through once: claim, intent, look up, submit, poll, end.

Belongs here: the order of those steps for every service, what a poll means, deadlines, re-attaching.
Does not: any one service's calls (transfer, facilities), or Dagster (als_assets hands in a pulse).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from resources.clock import Clock
from resources.errors import (
    DeadlineExceededError,
    EpochLostError,
    NotAllowedError,
    PlatformError,
    ServiceUnavailableError,
    WorkFailedError,
    WorkInterruptedError,
    WorkLostError,
)
from resources.owner import Owner
from resources.work import AlreadyDone, Claimed, Record, WorkKey, WorkState

if TYPE_CHECKING:
    from resources.ledger import Ledger  # its database library costs every importer 0.3 s


class JobState(StrEnum):
    """The states of PSI/J and of DOE's IRI Facility API, used for transfers too."""

    NEW = "new"
    QUEUED = "queued"
    HELD = "held"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


NEVER_SENT = {"handle": None, "bytes_transferred": 0}
"""What the ledger keeps of work that was refused before its submit."""

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


class RemoteWork(Protocol):
    """One piece of work as one service knows it. Every method may raise ServiceUnavailableError."""

    def prepare(self, name: str, /) -> dict[str, Any]:
        """What must be stored before the submit, so that the work can be found again."""

    def find(self, name: str, intent: dict[str, Any], /) -> str | None:
        """The handle of work that was submitted under this name before; None where the service knows none."""

    def permit(self) -> None:
        """Called just before every submit. Raises NotAllowedError where, at this moment, nothing may be sent."""

    def submit(self, name: str, intent: dict[str, Any], /) -> str:
        """Start it and return the service's handle. ServiceUnavailableError means: perhaps started."""

    def status(self, handle: str, /) -> RemoteStatus:
        """How it stands. Raises LookupError where the service does not know the handle (yet, or any more)."""

    def cancel(self, handle: str, /) -> None:
        """Ask the service to end it; returns when the request was accepted, not when it has ended."""

    def describe(self) -> str:
        """What it is, for messages, without user text where that must not leave the site."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what."""

    first_poll: timedelta
    longest_poll: timedelta
    deadline: timedelta
    """From the submit to the end."""
    appear: timedelta = timedelta(seconds=60)
    """How long a service may take to show work that it has accepted."""


class Pulse(Protocol):
    """Called at every poll with the newest status. It may raise to stop waiting (the run was cancelled)."""

    def __call__(self, record: Record, status: RemoteStatus, /) -> None: ...


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
        """Yield each attempt when it has ended, its outcome a record or a named error; poll the others meanwhile."""
        waiting = list(attempts)
        interval = min((a.patience.first_poll for a in waiting), default=timedelta())
        while waiting:
            for attempt in [*waiting]:
                if attempt.outcome is None:
                    self._poll(attempt, pulse)
                if attempt.outcome is not None:
                    waiting.remove(attempt)
                    yield attempt
            if waiting:
                self._clock.sleep(interval.total_seconds())
                interval = min(interval * 1.5, max(a.patience.longest_poll for a in waiting))

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
        record = attempt.record = self._ledger.beat(attempt.record, self._clock.now())
        handle = record.handle or attempt.work.find(record.name, record.intent or {})
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
        except EpochLostError:
            attempt.owned = False  # somebody has it already, which is what letting go is for

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

    def _await_appearance(self, attempt: Attempt, intent: dict[str, Any]) -> str | None:
        give_up = self._clock.now() + attempt.patience.appear
        while True:
            try:
                handle = attempt.work.find(attempt.record.name, intent)
            except ServiceUnavailableError:
                give_up = self._clock.now() + attempt.patience.appear  # an outage tells nothing
                self._refuse_to_wait_longer(attempt)
                handle = None
            if handle is not None or self._clock.now() >= give_up:
                return handle
            attempt.record = self._ledger.beat(attempt.record, self._clock.now())
            self._clock.sleep(attempt.patience.longest_poll.total_seconds())

    def _poll(self, attempt: Attempt, pulse: Pulse) -> None:
        try:
            if not attempt.owned and not self._attach(attempt):
                pulse(
                    attempt.record,
                    RemoteStatus(JobState.ACTIVE, f"another run is at it ({attempt.record.owner.run_id})"),
                )
                return
            if attempt.outcome is None:
                self._ask(attempt, pulse)
        except PlatformError as error:
            attempt.outcome = error
            self._release(attempt)

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

    def _ask(self, attempt: Attempt, pulse: Pulse) -> None:
        now = self._clock.now()
        attempt.record = self._ledger.beat(attempt.record, now)
        handle = attempt.record.handle
        assert handle is not None  # noqa: S101 - begin and _attach leave no owned attempt without one
        try:
            status = attempt.work.status(handle)
            attempt.missing_since = None
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

    def _missing(self, attempt: Attempt, error: LookupError) -> RemoteStatus:
        now = self._clock.now()
        attempt.missing_since = attempt.missing_since or now
        if now - attempt.missing_since < attempt.patience.appear:
            return RemoteStatus(JobState.QUEUED, "accepted, not shown by the service yet")
        evidence = {"handle": attempt.record.handle, "detail": str(error)}
        attempt.record = self._ledger.finish(attempt.record, WorkState.FAILED, evidence, now)
        raise WorkLostError(
            seen=f"{attempt.work.describe()}: the service no longer knows {attempt.record.handle} ({error})",
            meaning="what became of it cannot be told",
            remedy="run it again: a new attempt is made, and nothing that exists is overwritten",
        )

    def _refuse_to_wait_longer(self, attempt: Attempt) -> None:
        waited = self._clock.now() - attempt.record.created
        if waited <= attempt.patience.deadline:
            return
        handle = attempt.record.handle or "never submitted"
        raise DeadlineExceededError(
            seen=f"{attempt.work.describe()} ({handle}) has not ended after {waited}",
            meaning="it is stuck, or its service is",
            remedy="look at it at the service; a new run attaches to it as long as it has not ended",
        )

    def _conclude(self, attempt: Attempt) -> None:
        record = attempt.record
        if record.state is WorkState.SUCCEEDED:
            attempt.outcome = record
            return
        evidence = record.evidence or {}
        detail = evidence.get("detail", "no detail")
        if evidence.get("interrupted"):
            attempt.outcome = WorkInterruptedError(
                seen=f"{attempt.work.describe()} ended as {record.state} ({record.handle}): {detail}",
                meaning="the service lost it, by no fault of its own",
                remedy="it is tried again by itself; if that goes on, ask the facility",
            )
            return
        attempt.outcome = WorkFailedError(
            seen=f"{attempt.work.describe()} ended as {record.state} ({record.handle}): {detail}",
            meaning="its result was not made, or is not whole",
            remedy="mend what the message names, then run it again: a new attempt is made",
        )


def _evidence(handle: str, status: RemoteStatus) -> dict[str, Any]:
    return {"handle": handle, "detail": status.detail, **status.evidence}
