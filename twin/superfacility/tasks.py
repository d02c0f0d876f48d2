"""Tasks: what the API does after it has answered, and where its result is asked for.

Belongs here: ids, states and results of tasks, their delay and their failures on request.
Does not: the work (app). It is done before the first answer; a delay only keeps the result back.
"""

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from twin.scheduler import Clock

KEPT = 5_000


class Tasks:
    """The API's tasks, the latest 5,000. Safe to use from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tasks: dict[str, tuple[datetime, str, str]] = {}
        self._last_id = 1000
        self._failing = 0
        self.delay_s = 0.0
        """How long a task stays ``new``."""

    def fail_next(self, times: int) -> None:
        """Let the next tasks fail without doing anything."""
        with self._lock:
            self._failing += times

    def reset(self) -> None:
        """No delay and no failures."""
        with self._lock:
            self._failing = 0
            self.delay_s = 0.0

    def run(self, work: Callable[[], dict[str, Any]]) -> str:
        """Do the work; the task's id. Whatever the work refuses is in its document, under ``status`` and ``error``."""
        with self._lock:
            self._last_id += 1
            task_id = str(self._last_id)
            failing = self._failing > 0
            self._failing -= failing
        status, result = ("failed", {"error": "Task failed"}) if failing else ("completed", work())
        ready = self._clock() + timedelta(seconds=self.delay_s)
        with self._lock:
            self._tasks[task_id] = (ready, status, json.dumps(result))
            while len(self._tasks) > KEPT:
                del self._tasks[next(iter(self._tasks))]
        return task_id

    def document(self, task_id: str) -> dict[str, Any] | None:
        """The task as the API shows it, None for an id that it does not know."""
        with self._lock:
            known = self._tasks.get(task_id)
        if known is None:
            return None
        ready, status, result = known
        if self._clock() < ready:
            return {"id": task_id, "status": "new", "result": None}
        return {"id": task_id, "status": status, "result": result}

    def documents(self) -> list[dict[str, Any]]:
        """Every task, oldest first."""
        with self._lock:
            known = list(self._tasks)
        return [document for task_id in known if (document := self.document(task_id)) is not None]
