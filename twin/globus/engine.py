"""The part of Globus Transfer that works on tasks: the queue, its limits, retries, deadlines.

Belongs here: which task is worked on when, and how it ends. Does not: HTTP (transfer), or the work (copying, deleting).

Rules as docs.globus.org/api/transfer/task_behavior states them: three transfers and three deletes of a user are worked
on at a time, and a user has 100 tasks at most that have not ended; a task that backs off from a fault makes way for the
next one; a task ends at its deadline.
"""

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product

from twin.globus.conditions import ConditionsBoard
from twin.globus.copying import Copier, FatalError
from twin.globus.deleting import Deleter
from twin.globus.documents import DeleteDocument, TransferDocument
from twin.globus.journal import Journal
from twin.globus.storage import Storage
from twin.globus.task import Kind, StoppedError, Task

WORKED_ON_AT_ONCE = 3
PENDING_AT_MOST = 100
LONGEST_NAP_S = 0.2
CANCEL_PATIENCE_S = 5.0


class UnknownSubmissionError(LookupError):
    """A submission id that was never issued."""


class TooManyPendingError(Exception):
    """The user has as many tasks as the service takes."""


class IdenticalTransferError(Exception):
    """A transfer of the same paths between the same collections has not ended yet."""


@dataclass
class _Queued:
    task: Task
    not_before: float
    """On the monotonic clock."""


@dataclass
class Engine:
    """Tasks of the twin's clients, each of which has limits of its own. Safe to use from any thread."""

    storage: Storage
    board: ConditionsBoard
    clock: Callable[[], datetime]
    journal: Journal
    clients: Collection[str]
    monotonic: Callable[[], float] = time.monotonic
    _tasks: dict[str, Task] = field(default_factory=dict)
    _submissions: dict[str, Task | None] = field(default_factory=dict)
    """Every id that was issued, with its task once there is one."""
    _queues: dict[tuple[str, Kind], list[_Queued]] = field(default_factory=lambda: defaultdict(list))
    """By owner and kind."""
    _at_work: set[str] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closing: bool = False
    _workers: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Go on with what the journal says has not ended, and start the workers; ``close`` ends them."""
        with self._changed:
            self._submissions = self.journal.read()
            for task in filter(None, self._submissions.values()):
                self._tasks[task.id] = task
                if task.status == "ACTIVE":
                    self._enqueue(task)
            owners = {*self.clients, *(task.owner for task in self._tasks.values())}
        for owner, kind, number in product(owners, Kind, range(WORKED_ON_AT_ONCE)):
            name = f"globus-{owner}-{kind.lower()}-{number}"
            worker = threading.Thread(target=self._work, args=(owner, kind), name=name)
            worker.start()
            self._workers.append(worker)

    def close(self) -> None:
        """Stop working, as if the service went down: nothing is written afterwards."""
        with self._changed:
            self._closing = True
            for task in self._tasks.values():
                task.ended.set()
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()
        self._workers.clear()

    def issue_submission_id(self) -> str:
        identifier = str(uuid.uuid4())
        with self._changed:
            self.journal.issued(identifier)
            self._submissions[identifier] = None
        return identifier

    def submit(self, owner: str, document: TransferDocument | DeleteDocument) -> tuple[Task, bool]:
        """The task of a submission, and whether it is there already: one id never makes two.

        Raises UnknownSubmissionError, TooManyPendingError or IdenticalTransferError.
        """
        with self._changed:
            if document.submission_id not in self._submissions:
                raise UnknownSubmissionError(document.submission_id)
            known = self._submissions[document.submission_id]
            if known is not None:
                return known, True
            self._must_take(owner, document)
            task = Task(document, owner, self.clock())
            self.journal.accepted(task)
            self._tasks[task.id] = task
            self._submissions[document.submission_id] = task
            self._enqueue(task)
            return task, False

    def tasks(self) -> list[Task]:
        """Every task, the newest first."""
        with self._changed:
            tasks = list(reversed(self._tasks.values()))
        self._expire(tasks)
        return tasks

    def find(self, identifier: str) -> Task | None:
        with self._changed:
            task = self._tasks.get(identifier)
        if task is not None:
            self._expire([task])
        return task

    def cancel(self, task: Task) -> bool:
        """End a task; False where it had ended already. Returns when its worker has let go of it."""
        if task.status != "ACTIVE":
            return False
        task.end("FAILED", self.clock(), fatal=("CANCELED", "canceled"))
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: task.id not in self._at_work, timeout=CANCEL_PATIENCE_S)
        return task.fatal_error is not None and task.fatal_error["code"] == "CANCELED"

    def _enqueue(self, task: Task) -> None:
        task.on_end = self.journal.ended
        self._queues[task.owner, task.kind].append(_Queued(task, self.monotonic() + self.board.now.start_delay_s))
        self._changed.notify_all()

    def _must_take(self, owner: str, document: TransferDocument | DeleteDocument) -> None:
        active = [task for task in self._tasks.values() if task.owner == owner and task.status == "ACTIVE"]
        self._expire(active)
        active = [task for task in active if task.status == "ACTIVE"]
        if len(active) >= PENDING_AT_MOST:
            raise TooManyPendingError(f"{len(active)} tasks are pending")
        if isinstance(document, TransferDocument) and any(_is_identical(task.document, document) for task in active):
            raise IdenticalTransferError("A transfer with identical paths has not yet completed")

    def _expire(self, tasks: list[Task]) -> None:
        now = self.clock()
        for task in tasks:
            task.expire_if_due(now)

    def _work(self, owner: str, kind: Kind) -> None:
        copier, deleter = (part(self.storage, self.board, self.clock) for part in (Copier, Deleter))
        while (task := self._next(owner, kind)) is not None:
            try:
                (copier.run if kind is Kind.TRANSFER else deleter.run)(task)
                if all(work.done for work in task.work or ()):
                    task.end("SUCCEEDED", self.clock())
            except StoppedError:
                continue  # it has ended already: by a person, or at its deadline
            except FatalError as error:
                task.end("FAILED", self.clock(), fatal=(error.code, str(error)))
            finally:
                self._let_go(task)

    def _let_go(self, task: Task) -> None:
        with self._changed:
            self._at_work.discard(task.id)
            if task.status == "ACTIVE":
                self._queues[task.owner, task.kind].append(
                    _Queued(task, self.monotonic() + self.board.now.retry_delay_s)
                )
            self._changed.notify_all()

    def _next(self, owner: str, kind: Kind) -> Task | None:
        """The next task to work on; None when the engine closes."""
        with self._changed:
            while not self._closing:
                queue = self._queues[owner, kind]
                self._expire([queued.task for queued in queue])
                queue[:] = [queued for queued in queue if queued.task.status == "ACTIVE"]
                ready = next((queued for queued in queue if queued.not_before <= self.monotonic()), None)
                if ready is not None:
                    queue.remove(ready)
                    self._at_work.add(ready.task.id)
                    ready.task.worked_on(self.clock())
                    return ready.task
                # Never longer than a nap: deadlines are on a clock that may be changed from outside meanwhile.
                naps = [queued.not_before - self.monotonic() for queued in queue]
                self._changed.wait(max(0.0, min(LONGEST_NAP_S, *naps)) if naps else None)
        return None


def _is_identical(one: TransferDocument | DeleteDocument, other: TransferDocument) -> bool:
    return (
        isinstance(one, TransferDocument)
        and (one.source_endpoint, one.destination_endpoint) == (other.source_endpoint, other.destination_endpoint)
        and one.paths == other.paths
    )
