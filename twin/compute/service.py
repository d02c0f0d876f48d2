"""Functions and tasks: submitted, handed to an endpoint's workers, and remembered over a restart.

Belongs here: what a task goes through, and the documents that tell it.
Does not: HTTP (app), or where a task runs (workers).
"""

import json
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from twin.compute.conditions import ComputeConditions, ComputeFault
from twin.compute.processes import write_whole
from twin.compute.workers import Workers, words_of_loss

PAYLOAD_LIMIT_BYTES = 10 * 1024**2
_TICK_S = 0.05


class ComputeError(Exception):
    """A request that the service refuses."""

    def __init__(self, status: int, code: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code


class Compute:
    """The service before an endpoint's workers. ``start`` it, and ``close`` it."""

    def __init__(self, folder: Path, workers: Workers, clock: Callable[[], datetime]) -> None:
        self._folder = folder
        self._workers = workers
        self._clock = clock
        self._lock = threading.RLock()
        self._faults: list[tuple[ComputeFault, int]] = []
        self._functions: dict[str, str] = {}
        self._tasks: dict[str, dict[str, Any]] = {}
        self.conditions = ComputeConditions()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="twin-compute")

    def start(self) -> None:
        (self._folder / "tasks").mkdir(parents=True, exist_ok=True)
        functions = self._folder / "functions.json"
        self._functions = json.loads(functions.read_text()) if functions.exists() else {}
        for file in (self._folder / "tasks").glob("*/task.json"):
            task = json.loads(file.read_text())
            self._tasks[task["task_id"]] = task
        self._thread.start()

    def close(self) -> None:
        """End every task's processes."""
        self._stop.set()
        self._thread.join()
        for task in self._tasks.values():
            if "began" in task and "completion_t" not in task:
                self._workers.kill(task)

    # -- what clients ask ----------------------------------------------------------------------------------------

    def register_function(self, document: Mapping[str, Any]) -> str:
        if not isinstance(document.get("function_code"), str) or not isinstance(document.get("function_name"), str):
            raise ComputeError(422, 5, "function_code and function_name must be given")
        with self._lock:
            identifier = str(uuid.uuid4())
            self._functions[identifier] = document["function_code"]
            write_whole(self._folder / "functions.json", json.dumps(self._functions))
        return identifier

    def submit(self, endpoint: str, document: Mapping[str, Any]) -> dict[str, Any]:
        self._must_know(endpoint)
        wanted = document.get("tasks")
        if not isinstance(wanted, dict) or not wanted:
            raise ComputeError(422, 5, "tasks must be an object of payloads by function")
        for function, payloads in wanted.items():
            if function not in self._functions:
                raise ComputeError(404, 16, f"Function {function} could not be resolved")
            if any(len(payload.encode()) > PAYLOAD_LIMIT_BYTES for payload in payloads):
                raise ComputeError(413, 27, f"Payload is larger than {PAYLOAD_LIMIT_BYTES} bytes")
        group = document.get("task_group_id") if self.conditions.takes_group_ids else None
        group = str(group or uuid.uuid4())
        asked = {
            "group": group,
            "endpoint": endpoint,
            "config": document.get("user_endpoint_config") or {},
            "result_serializers": document.get("result_serializers") or [],
        }
        with self._lock:
            made = {
                function: [self._make({**asked, "function": function, "payload": payload}) for payload in payloads]
                for function, payloads in wanted.items()
            }
        return {"request_id": str(uuid.uuid4()), "task_group_id": group, "endpoint_id": endpoint, "tasks": made}

    def task(self, task_id: str) -> dict[str, Any]:
        with self._lock:
            task = self._tasks.get(task_id)
            if task is None:
                raise ComputeError(404, 18, f"Task {task_id} not found")
            shown = ("task_id", "status", "result", "exception", "completion_t", "details")
            return {name: task[name] for name in shown if name in task}

    def group(self, group: str) -> dict[str, Any]:
        with self._lock:
            tasks = [{"id": task["task_id"]} for task in self._tasks.values() if task["group"] == group]
        if not tasks:
            raise ComputeError(404, 20, f"Task group {group} not found")
        return {"taskgroup_id": group, "tasks": tasks}

    def endpoint_status(self, endpoint: str) -> dict[str, Any]:
        self._must_know(endpoint)
        return {"status": "online" if self._is_online(endpoint) else "offline", "details": {}}

    # -- what the twin's owner sets ------------------------------------------------------------------------------

    def inject(self, fault: ComputeFault) -> None:
        with self._lock:
            self._faults.append((fault, fault.times))

    def faults(self) -> list[ComputeFault]:
        with self._lock:
            return [fault.model_copy(update={"times": left}) for fault, left in self._faults]

    def reset(self) -> None:
        """No faults, online, fast; tasks stay."""
        with self._lock:
            self._faults.clear()
            self.conditions = ComputeConditions()

    def forget(self, task_id: str) -> None:
        """The service knows the task no more; its processes go on."""
        with self._lock:
            del self._tasks[task_id]

    def lose(self, task_id: str) -> None:
        """The node of a task is gone, and nobody tells the service."""
        with self._lock:
            self._workers.kill(self._tasks[task_id])
            self._tasks[task_id]["lost"] = True

    def tasks(self, match: str = "") -> list[dict[str, Any]]:
        """Every task that was ever made whose payload contains ``match``, in order."""
        with self._lock:
            return [dict(task) for task in self._tasks.values() if match in task["payload"]]

    # -- tasks ---------------------------------------------------------------------------------------------------

    def _make(self, asked: Mapping[str, Any]) -> str:
        fault = self._take(asked["payload"])
        task = {
            "task_id": str(uuid.uuid4()),
            **asked,
            "status": "pending",
            "made": self._clock().isoformat(),
            "fault": None if fault is None else fault.model_dump(),
        }
        task_id: str = task["task_id"]
        if fault is None or fault.kind != "vanish":
            self._tasks[task_id] = task
            self._keep(task)
        return task_id

    def _take(self, payload: str) -> ComputeFault | None:
        for index, (fault, left) in enumerate(self._faults):
            if fault.match in payload:
                if left == 1:
                    del self._faults[index]
                else:
                    self._faults[index] = (fault, left - 1)
                return fault
        return None

    def _run(self) -> None:
        while not self._stop.wait(_TICK_S):
            with self._lock:
                for task in self._tasks.values():
                    self._advance(task)

    def _advance(self, task: dict[str, Any]) -> None:
        if "completion_t" in task:
            return
        fault = ComputeFault(**task["fault"]) if task["fault"] else None
        if "began" in task:
            self._look_at(task, fault)
        elif self._is_online(task["endpoint"]):
            self._begin(task, fault)

    def _begin(self, task: dict[str, Any], fault: ComputeFault | None) -> None:
        waited = self._clock() - datetime.fromisoformat(task["made"])
        if fault is not None and fault.kind == "exception":
            self._end(task, exception=words_of_loss("WorkerLost: Task failure due to loss of worker"))
            return
        if waited >= timedelta(seconds=self.conditions.queue_delay_s):
            self._workers.begin(task, self._functions[task["function"]])
            task["began"] = self._clock().isoformat()
        elif task["status"] != "pending":
            return
        # Nothing better is known before its end: endpoints do not tell that a task has begun.
        self._become(task, "waiting-for-nodes")

    def _look_at(self, task: dict[str, Any], fault: ComputeFault | None) -> None:
        ran = self._clock() - datetime.fromisoformat(task["began"])
        if "lost" in task:
            return
        if fault is not None and fault.kind == "lose_node" and ran >= timedelta(seconds=fault.after_s):
            self.lose(task["task_id"])
            return
        outcome = self._workers.outcome(task)
        if outcome is not None:
            self._end(task, **({} if fault is not None and fault.kind == "abandon" else outcome))

    def _end(self, task: dict[str, Any], **outcome: Any) -> None:
        task.update(outcome, completion_t=str(self._clock().timestamp()))
        self._become(task, "failed" if "exception" in outcome else "success")

    def _become(self, task: dict[str, Any], status: str) -> None:
        task["status"] = status
        self._keep(task)

    def _keep(self, task: Mapping[str, Any]) -> None:
        home = self._home(task["task_id"])
        home.mkdir(parents=True, exist_ok=True)
        write_whole(home / "task.json", json.dumps(task))

    def _home(self, task_id: str) -> Path:
        return self._folder / "tasks" / task_id

    def _is_online(self, endpoint: str) -> bool:
        return self.conditions.online and self._workers.is_online(endpoint)

    def _must_know(self, endpoint: str) -> None:
        if not self._workers.knows(endpoint):
            raise ComputeError(404, 17, f"Endpoint {endpoint} could not be resolved")
