"""Copies and deletes as remote work: what is submitted to Globus, and what a task's state means.

Belongs here: tasks, the errands of copying and deleting, AlreadyThere, and reading a task's document.
Does not: whether something may be copied or deleted (transfer), or the order of claim, submit and poll (remote).

A submit is repeatable: the submission id is stored before it, and the same id again answers with the same task. The
look-up by label comes first all the same: while the service is down it is what waits for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from beamlines.places import Location
from resources.clock import Clock
from resources.copies import Item
from resources.globus import Globus, NotFoundError, Paths
from resources.waiting import JobState, RemoteStatus, typical
from resources.work import CLIENT, Record

NEEDS_A_PERSON = frozenset(
    {"FILE_NOT_FOUND", "PERMISSION_DENIED", "QUOTA_EXCEEDED", "IS_A_DIRECTORY", "NOT_A_DIRECTORY"}
)
"""Faults that Globus tries again until the deadline although trying again does not help."""
FAULTS_TO_GIVE_UP = 3
POLLS_TO_GIVE_UP = 10
KEPT = (
    "task_id",
    "label",
    "status",
    "request_time",
    "completion_time",
    "files",
    "files_transferred",
    "files_skipped",
    "bytes_transferred",
    "bytes_checksummed",
    "effective_bytes_per_second",
    "faults",
    "subtasks_failed",
    "subtasks_skipped_errors",
    "nice_status",
    "fatal_error",
)
"""What of a task's document is kept as evidence; the service itself forgets the details after 30 days."""


class Errand(Protocol):
    """What a task is to do: the part in which copies and deletes differ."""

    def start(self, label: str, submission_id: str) -> str:
        """Submit it; the id of the task."""

    def why_not_whole(self, task: Mapping[str, Any]) -> str | None:
        """What is missing although the task succeeded: that word alone says nothing about files left out."""

    def expected(self, before: Sequence[Mapping[str, Any]]) -> timedelta | None:
        """How long it takes, by the evidence of others that succeeded; None where that does not tell."""

    def describe(self) -> str:
        """What it is, for messages."""


@dataclass(slots=True)
class GlobusTask:
    """An errand as remote work: one task, followed from poll to poll."""

    globus: Globus
    errand: Errand
    permit: Callable[[], None]
    """Raises NotAllowedError where, at this moment, nothing may be sent."""
    _hopeless_polls: int = 0

    @property
    def shared(self) -> Globus:
        return self.globus

    def prepare(self, _name: str) -> dict[str, Any]:
        return {"submission_id": self.globus.new_submission_id(), CLIENT: self.globus.client_id}

    def find(self, name: str, _intent: dict[str, Any]) -> str | None:
        return self.globus.find_task(name)

    def submit(self, name: str, intent: dict[str, Any]) -> str:
        return self.errand.start(name, intent["submission_id"])

    def cancel(self, handle: str) -> None:
        self.globus.cancel(handle)

    def describe(self) -> str:
        return self.errand.describe()

    def status(self, handle: str, seen: Mapping[str, Any] | None = None) -> RemoteStatus:
        """The task's state. A task that can only be mended by a person has failed, and must be cancelled."""
        task = self.globus.task(handle) if seen is None else seen
        if task["status"] == "ACTIVE" and self._is_hopeless(task):
            return _given_up(task)
        return _status(task, self.errand.why_not_whole)

    def expected(self, before: Sequence[Record]) -> timedelta | None:
        return self.errand.expected([record.evidence or {} for record in before])

    def _is_hopeless(self, task: Mapping[str, Any]) -> bool:
        if task.get("nice_status") not in NEEDS_A_PERSON:
            self._hopeless_polls = 0
            return False
        self._hopeless_polls += 1
        # The count of faults holds those of other kinds too, so it does not decide at first sight.
        many_faults = self._hopeless_polls > 1 and int(task.get("faults") or 0) >= FAULTS_TO_GIVE_UP
        return many_faults or self._hopeless_polls >= POLLS_TO_GIVE_UP


def _given_up(task: Mapping[str, Any]) -> RemoteStatus:
    reason = f"{task['nice_status']}: {_details(task)}"
    detail = f"{reason} (Globus would have tried again until the deadline; the task was cancelled)"
    evidence = {"nice_status": task["nice_status"], "reason": task["nice_status"]}
    return RemoteStatus(JobState.FAILED, detail, evidence, must_be_cancelled=True)


def _status(task: Mapping[str, Any], why_not_whole: Callable[[Mapping[str, Any]], str | None]) -> RemoteStatus:
    return replace(_judged(task, why_not_whole), started=_time(task.get("request_time")))


def _judged(task: Mapping[str, Any], why_not_whole: Callable[[Mapping[str, Any]], str | None]) -> RemoteStatus:
    evidence = _evidence(task)
    match task["status"]:
        case "SUCCEEDED":
            reason = why_not_whole(task)
            if reason is None:
                return RemoteStatus(JobState.COMPLETED, "SUCCEEDED", evidence)
            return RemoteStatus(JobState.FAILED, f"SUCCEEDED, but {reason}", {**evidence, "reason": "NOT_WHOLE"})
        case "FAILED":
            fatal = task.get("fatal_error") or {}
            code = str(fatal.get("code") or "FAILED")
            state = JobState.CANCELED if code == "CANCELED" else JobState.FAILED
            return RemoteStatus(state, f"{code}: {fatal.get('description')}", {**evidence, "reason": code})
        case "INACTIVE":
            return RemoteStatus(JobState.HELD, "INACTIVE: a collection's credentials have expired", evidence)
        case "ACTIVE" if task.get("is_paused"):
            return RemoteStatus(JobState.HELD, "paused by an administrator of a collection", evidence)
        case "ACTIVE":
            return RemoteStatus(JobState.ACTIVE, _progress(task), evidence)
        case other:
            # Globus documents these four and no other (docs.globus.org/api/transfer/task, "status").
            return RemoteStatus(JobState.UNKNOWN, f"{other} (a state that this program does not know)", evidence)


def _progress(task: Mapping[str, Any]) -> str:
    moved = f"{task.get('files_transferred') or 0} files, {task.get('bytes_transferred') or 0} bytes so far"
    if task.get("nice_status") in (None, "OK", "Queued"):
        return f"{task.get('nice_status') or 'active'}, {moved}"
    return f"{task['nice_status']} ({task.get('faults')} faults), {moved}: {_details(task)}"


def _details(task: Mapping[str, Any]) -> str:
    details = task.get("nice_status_details") or task.get("nice_status_short_description") or "no details"
    return " ".join(str(details).split())[:400]


def _time(text: object) -> datetime | None:
    """A time of the service's; None where it is none, as in a task that has not ended."""
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except ValueError:
        return None


def _evidence(task: Mapping[str, Any]) -> dict[str, Any]:
    return {name: task.get(name) for name in KEPT}


@dataclass(frozen=True, slots=True)
class GlobusCopy:
    """Files from one place to another."""

    globus: Globus
    clock: Clock
    items: Sequence[Item]
    deadline: timedelta
    skip_equal: bool
    """Leave what equals its source: only where the destination is known to be right, or cannot be known better."""

    def start(self, label: str, submission_id: str) -> str:
        return self.globus.submit_transfer(
            self.items[0].source.place.collection,
            self.items[0].destination.place.collection,
            [Paths(i.source.on_collection, i.destination.on_collection, i.sha256) for i in self.items],
            skip_equal=self.skip_equal,
            label=label,
            submission_id=submission_id,
            deadline=self.clock.now() + self.deadline,
        )

    def expected(self, before: Sequence[Mapping[str, Any]]) -> timedelta | None:
        sizes = [item.bytes for item in self.items]
        if None in sizes:
            return None
        rate = typical([seconds / moved for seconds, moved in map(_took, before) if seconds is not None and moved])
        return None if rate is None else rate * sum(size or 0 for size in sizes)

    def describe(self) -> str:
        source, destination = self.items[0].source.place.name, self.items[0].destination.place.name
        return f"the copy of {len(self.items)} file(s) from {source} to {destination}"

    def why_not_whole(self, task: Mapping[str, Any]) -> str | None:
        if task.get("subtasks_skipped_errors") or task.get("subtasks_failed"):
            return f"{task['subtasks_skipped_errors']} files were left out and {task['subtasks_failed']} failed"
        skipped = int(task.get("files_skipped") or 0)
        arrived = int(task.get("files_transferred") or 0) + skipped
        if arrived != len(self.items):
            return f"{arrived} of {len(self.items)} files arrived"
        sizes = [item.bytes for item in self.items]
        moved, expected = int(task.get("bytes_transferred") or 0), sum(size or 0 for size in sizes)
        # What was tried again or skipped is counted twice or not at all: only a clean transfer must add up.
        if None in sizes or skipped or task.get("faults") or moved == expected:
            return None
        return f"{moved} bytes arrived where {expected} were expected: the source has changed"


def _took(evidence: Mapping[str, Any]) -> tuple[float | None, int]:
    """Seconds from request to end, and the bytes that were moved meanwhile."""
    began, ended = _time(evidence.get("request_time")), _time(evidence.get("completion_time"))
    seconds = None if began is None or ended is None else (ended - began) / timedelta(seconds=1)
    return seconds, int(evidence.get("bytes_transferred") or 0)


@dataclass(frozen=True, slots=True)
class GlobusDelete:
    """One file or folder, deleted where it still is."""

    globus: Globus
    clock: Clock
    location: Location
    recursive: bool
    deadline: timedelta

    def start(self, label: str, submission_id: str) -> str:
        return self.globus.submit_delete(
            self.location.place.collection,
            self.location.on_collection,
            recursive=self.recursive,
            label=label,
            submission_id=submission_id,
            deadline=self.clock.now() + self.deadline,
        )

    def expected(self, before: Sequence[Mapping[str, Any]]) -> timedelta | None:
        return typical([seconds for seconds, _ in map(_took, before) if seconds is not None])

    def describe(self) -> str:
        return f"the deletion of a {'folder' if self.recursive else 'file'} at {self.location.place.name}"

    def why_not_whole(self, _task: Mapping[str, Any]) -> str | None:
        try:
            self.globus.stat(self.location.place.collection, self.location.on_collection)
        except NotFoundError:
            return None
        return f"something still lies at {self.location.place.name}"


@dataclass(frozen=True, slots=True)
class AlreadyThere:
    """A copy that was found at its destination, read again and equal: nothing is sent, but it is recorded."""

    clock: Clock
    files: int
    bytes: int
    shared: None = None

    def prepare(self, _name: str) -> dict[str, Any]:
        return {"adopted": True}

    def find(self, _name: str, _intent: dict[str, Any]) -> str | None:
        return "already-there"

    def permit(self) -> None:
        """Nothing is sent."""

    def submit(self, _name: str, _intent: dict[str, Any]) -> str:
        return "already-there"

    def expected(self, _before: Sequence[Record]) -> None:
        """It has ended when it is first asked."""

    def status(self, _handle: str, _seen: Any = None) -> RemoteStatus:
        now = self.clock.now().isoformat()
        evidence = {"request_time": now, "completion_time": now, "adopted_files": self.files, "bytes": self.bytes}
        return RemoteStatus(JobState.COMPLETED, "read again at the destination and found equal", evidence)

    def cancel(self, handle: str) -> None:
        """Nothing to end."""

    def describe(self) -> str:
        return f"{self.files} file(s) that were there already"
