"""What Globus Transfer remembers over a restart of the twin: submission ids, tasks, and how they ended.

Belongs here: one file of JSON lines, written as things happen and read once at the start.
Does not: how a task that had not ended is gone on with (engine).
"""

import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from twin.globus.documents import DeleteDocument, TransferDocument
from twin.globus.task import Counters, Task, Work


class Issued(BaseModel):
    """A submission id was given out."""

    what: Literal["issued"] = "issued"
    submission_id: str


class Accepted(BaseModel):
    """A submission became a task."""

    what: Literal["accepted"] = "accepted"
    task_id: str
    owner: str
    requested: datetime
    document: TransferDocument | DeleteDocument


class Ended(BaseModel):
    """A task ended."""

    what: Literal["ended"] = "ended"
    task_id: str
    status: str
    completed: datetime
    deadline: datetime
    fatal_error: dict[str, str] | None
    counters: Counters
    work: list[Work]
    events: list[dict[str, Any]]
    successes: list[dict[str, Any]]
    skipped: list[dict[str, Any]]


class _Line(BaseModel):
    entry: Issued | Accepted | Ended


@dataclass
class Journal:
    """The file; safe to write to from any thread."""

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> dict[str, Task | None]:
        """Every submission id that was issued, with its task where it has one; the tasks in their order."""
        self._drop_torn_line()
        submissions: dict[str, Task | None] = {}
        tasks: dict[str, Task] = {}
        content = self.path.read_text() if self.path.exists() else ""
        # Not splitlines: names may hold line separators that JSON does not escape.
        for line in filter(None, content.split("\n")):
            entry = _Line.model_validate_json(line).entry
            if isinstance(entry, Issued):
                submissions[entry.submission_id] = None
            elif isinstance(entry, Accepted):
                task = Task(entry.document, entry.owner, entry.requested, id=entry.task_id)
                submissions.pop(entry.document.submission_id, None)
                submissions[entry.document.submission_id] = tasks[task.id] = task
            else:
                _end(tasks[entry.task_id], entry)
        return submissions

    def issued(self, submission_id: str) -> None:
        self._write(Issued(submission_id=submission_id))

    def accepted(self, task: Task) -> None:
        entry = Accepted(task_id=task.id, owner=task.owner, requested=task.requested, document=task.document)
        self._write(entry)

    def ended(self, task: Task) -> None:
        assert task.completed is not None  # noqa: S101
        self._write(
            Ended(
                task_id=task.id,
                status=task.status,
                completed=task.completed,
                deadline=task.deadline,
                fatal_error=task.fatal_error,
                counters=task.counters,
                work=task.work or [],
                events=task.events,
                successes=task.successes,
                skipped=task.skipped,
            )
        )

    def _write(self, entry: Issued | Accepted | Ended) -> None:
        with self._lock, self.path.open("a") as file:
            file.write(_Line(entry=entry).model_dump_json() + "\n")

    def _drop_torn_line(self) -> None:
        # A twin that was killed may have left half a line; what it says never was answered to anybody.
        if self.path.exists():
            content = self.path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole != len(content):
                with self.path.open("r+b") as file:
                    file.truncate(whole)


def _end(task: Task, entry: Ended) -> None:
    task.status, task.completed, task.fatal_error = entry.status, entry.completed, entry.fatal_error
    task.nice_status = task.nice_description = None
    task.deadline = entry.deadline
    task.counters, task.work = entry.counters, entry.work
    task.events, task.successes, task.skipped = entry.events, entry.successes, entry.skipped
    task.ended.set()
