"""One task of Globus Transfer: its counters, its events, and how it ends.

Belongs here: the state that a task document shows. Does not: doing the work (copying, deleting) or the queue (engine).
"""

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from twin.globus.documents import DeleteDocument, TransferDocument
from twin.globus.storage import timestamp

FIRST_DEADLINE = timedelta(hours=24)
DEADLINE_AFTER_PROGRESS = timedelta(hours=72)


class Kind(StrEnum):
    TRANSFER = "TRANSFER"
    DELETE = "DELETE"


class StoppedError(Exception):
    """The task was cancelled or has expired: nothing may be written any more."""


@dataclass
class Work:
    """One path of a task. ``source`` is None in a delete."""

    source: str | None
    target: str
    item: int
    """Index of the submitted item that it comes from."""
    done: bool = False


@dataclass
class Counters:
    """What the task document counts."""

    files: int = 0
    directories: int = 0
    files_skipped: int = 0
    files_transferred: int = 0
    bytes_transferred: int = 0
    bytes_checksummed: int = 0
    faults: int = 0
    subtasks_succeeded: int = 0
    subtasks_failed: int = 0
    subtasks_expired: int = 0
    subtasks_canceled: int = 0
    subtasks_skipped_errors: int = 0


@dataclass
class Task:
    """A submitted transfer or delete. Changed by one worker at a time; read and ended from any thread."""

    document: TransferDocument | DeleteDocument
    owner: str
    requested: datetime
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "ACTIVE"
    nice_status: str | None = "Queued"
    nice_description: str | None = "Queued"
    completed: datetime | None = None
    fatal_error: dict[str, str] | None = None
    deadline: datetime = field(init=False)
    counters: Counters = field(default_factory=Counters)
    work: list[Work] | None = None
    """What the items turned out to be; None until a worker has looked."""
    events: list[dict[str, Any]] = field(default_factory=list)
    successes: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    on_end: Callable[["Task"], None] | None = field(default=None, repr=False)
    """Told once, when the task has ended."""
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    ended: threading.Event = field(default_factory=threading.Event, repr=False)

    def __post_init__(self) -> None:
        self.deadline = self.document.deadline or self.requested + FIRST_DEADLINE

    @property
    def kind(self) -> Kind:
        return Kind.TRANSFER if isinstance(self.document, TransferDocument) else Kind.DELETE

    def must_go_on(self, now: datetime) -> None:
        """Raises StoppedError when the task has ended, or ends here because its deadline has passed."""
        self.expire_if_due(now)
        if self.ended.is_set():
            raise StoppedError(self.id)

    def expire_if_due(self, now: datetime) -> None:
        if now >= self.deadline:
            self.end("FAILED", now, fatal=("EXPIRED", "The task did not complete before its deadline"))

    def worked_on(self, now: datetime) -> None:
        with self.lock:
            if self.nice_status == "Queued":
                self.nice_status, self.nice_description = "OK", "OK"
                self.event(now, "STARTED", "started")

    def progressed(self, now: datetime) -> None:
        """A piece of work was completed: deadlines that nobody set move on."""
        with self.lock:
            self.counters.subtasks_succeeded += 1
            if self.document.deadline is None and self.kind is Kind.TRANSFER:
                self.deadline = now + DEADLINE_AFTER_PROGRESS

    def fault(self, now: datetime, code: str, description: str, details: str) -> None:
        """Something went wrong that is tried again; the task stays ACTIVE and says so."""
        with self.lock:
            if self.status == "ACTIVE":
                self.counters.faults += 1
                self.nice_status, self.nice_description = code, description
                self.event(now, code, description, details=details, is_error=True)

    def event(self, now: datetime, code: str, description: str, *, details: str = "", is_error: bool = False) -> None:
        document = {
            "DATA_TYPE": "event",
            "code": code,
            "description": description,
            "details": details,
            "is_error": is_error,
            "time": timestamp(now),
        }
        with self.lock:
            self.events.insert(0, document)

    def end(self, status: str, now: datetime, *, fatal: tuple[str, str] | None = None) -> None:
        """End the task once; whatever comes later changes nothing."""
        with self.lock:
            if self.status != "ACTIVE":
                return
            self.status, self.completed = status, now
            self.nice_status = self.nice_description = None
            code, description = fatal or ("SUCCEEDED", "succeeded")
            self.event(now, code, description, is_error=fatal is not None)
            if fatal is not None:
                self.fatal_error = {"code": code, "description": description}
                self._count_unfinished(code)
            self.ended.set()
            if self.on_end is not None:
                self.on_end(self)

    def _count_unfinished(self, code: str) -> None:
        left = self._left()
        if code == "CANCELED":
            self.counters.subtasks_canceled = left
        elif code == "EXPIRED":
            self.counters.subtasks_expired = left
        else:
            self.counters.subtasks_failed = left

    def _left(self) -> int:
        return sum(not piece.done for piece in self.work or ())

    def task_document(self, now: datetime) -> dict[str, Any]:
        """The task as the service shows it."""
        with self.lock:
            active = self.status == "ACTIVE"
            ended = self.completed or now
            elapsed_s = max((ended - self.requested).total_seconds(), 1e-3)
            left = self._left() if active else 0
            return {
                "DATA_TYPE": "task",
                "task_id": self.id,
                "type": self.kind.value,
                "status": self.status,
                "nice_status": self.nice_status,
                "nice_status_short_description": self.nice_description,
                "nice_status_details": self.events[0]["details"] if active and self._is_faulty() else None,
                "nice_status_expires_in": -1 if active else None,
                "is_ok": not self._is_faulty() if active else None,
                "is_paused": False,
                "fatal_error": self.fatal_error,
                "label": self.document.label,
                "owner_id": self.owner,
                "username": f"u_{self.owner.replace('-', '')}",
                "command": "API 0.10",
                "request_time": _iso(self.requested),
                "completion_time": None if self.completed is None else _iso(self.completed),
                "deadline": _iso(self.deadline),
                "history_deleted": False,
                "canceled_by_admin": None,
                "canceled_by_admin_message": None,
                "effective_bytes_per_second": int(self.counters.bytes_transferred / elapsed_s),
                **vars(self.counters),
                "symlinks": 0,
                "subtasks_total": len(self.work or ()),
                "subtasks_pending": left,
                "subtasks_retrying": left if active and self._is_faulty() else 0,
                **self._submitted(),
            }

    def _is_faulty(self) -> bool:
        return self.nice_status not in ("OK", "Queued", None)

    def _submitted(self) -> dict[str, Any]:
        document = self.document
        if isinstance(document, DeleteDocument):
            return {"source_endpoint_id": document.endpoint, "destination_endpoint_id": None}
        options = document.model_dump(
            mode="json",
            include={
                "sync_level",
                "verify_checksum",
                "preserve_timestamp",
                "encrypt_data",
                "skip_source_errors",
                "fail_on_quota_errors",
                "delete_destination_extra",
                "filter_rules",
            },
        )
        return {
            "source_endpoint_id": document.source_endpoint,
            "destination_endpoint_id": document.destination_endpoint,
            "recursive_symlinks": "ignore",
            **options,
        }


def _iso(moment: datetime) -> str:
    return moment.replace(microsecond=0).isoformat()
