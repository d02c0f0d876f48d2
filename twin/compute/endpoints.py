"""Workers that are real: endpoints which register, and start one of the user's own for every configuration.

Belongs here: which endpoints there are, what is asked of them, and what they tell, in their own messages.
Does not: the queues between (queues), HTTP (registration), or the endpoint's program (servers).

An endpoint that is registered runs no tasks itself. For a user's configuration it is told to start a user endpoint,
which has an id and queues of its own and runs the tasks.
"""

import json
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any

from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import EPStatusReport, Result, Task

from twin.compute.queues import Queues
from twin.compute.workers import Outcome

MISSED_HEARTBEATS = 2.5
"""An endpoint that has not been heard of for so many of its own periods is offline."""


class Endpoints:
    """Workers behind a message broker. ``start`` it, and ``close`` it."""

    def __init__(self, queues: Queues, identity: str) -> None:
        """``identity``: of the only user there is, to whom the endpoints belong as well."""
        self._queues = queues
        self._identity = identity
        self._lock = threading.Lock()
        self._registered: dict[str, Mapping[str, Any]] = {}
        self._online_until: dict[str, float] = {}
        self._users: dict[tuple[str, str], str] = {}
        self._handed_over: dict[str, str] = {}
        self._outcomes: dict[str, Outcome] = {}

    def start(self) -> None:
        self._queues.start(self._take_result, self._take_heartbeat)

    def close(self) -> None:
        self._queues.close()

    def register(self, endpoint: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Take an endpoint in, once more where it is known; what it needs to connect."""
        with self._lock:
            self._registered[endpoint] = document
        return self._queues.open(endpoint)

    def user_endpoints(self) -> list[str]:
        """Ids of the user endpoints that were asked for."""
        with self._lock:
            return list(self._users.values())

    # -- as Workers ----------------------------------------------------------------------------------------------

    def knows(self, endpoint: str) -> bool:
        return endpoint in self._registered

    def is_online(self, endpoint: str) -> bool:
        return time.monotonic() < self._online_until.get(endpoint, 0)

    def begin(self, task: Mapping[str, Any], function: str) -> None:
        user = self._user_endpoint(task["endpoint"], task["config"])
        with self._lock:
            self._handed_over[task["task_id"]] = user
        # It is told each time: one that runs takes no notice, and one that is about to end is started again.
        self._queues.send_command(task["endpoint"], self._start_command(task, user))
        message = Task(task_id=task["task_id"], task_buffer=function + task["payload"])
        headers = {
            "function_uuid": task["function"],
            "task_uuid": task["task_id"],
            "resource_specification": "null",
            "result_serializers": task["result_serializers"],
        }
        self._queues.send_task(user, messagepack.pack(message), headers)

    def outcome(self, task: Mapping[str, Any]) -> Outcome | None:
        with self._lock:
            return self._outcomes.get(task["task_id"])

    def kill(self, task: Mapping[str, Any]) -> None:
        """Nothing: its processes are the endpoint's, and the service cannot cancel."""

    # -- asking --------------------------------------------------------------------------------------------------

    def _user_endpoint(self, endpoint: str, config: Mapping[str, Any]) -> str:
        key = endpoint, json.dumps(config, sort_keys=True)
        with self._lock:
            return self._users.setdefault(key, str(uuid.uuid4()))

    def _start_command(self, task: Mapping[str, Any], user: str) -> dict[str, Any]:
        endpoint, username = task["endpoint"], f"{self._identity}@clients.auth.globus.org"
        wanted = {
            "name": f"uep.{endpoint}.{user}",
            "user_opts": task["config"],
            "user_runtime": {},
            "amqp_creds": self._queues.open(user),
        }
        return {
            "command": "cmd_start_endpoint",
            "globus_effective_identity": self._identity,
            "globus_username": username,
            "globus_identity_set": [{"sub": self._identity, "username": username}],
            "args": [],
            "kwargs": wanted,
        }

    # -- what they tell ------------------------------------------------------------------------------------------

    def _take_result(self, message: bytes) -> None:
        result = messagepack.unpack(message)
        if not isinstance(result, Result):
            return
        told = {"exception" if result.is_error else "result": result.data}
        if result.details is not None:
            # As JSON: the message has ids in it that are no text.
            told["details"] = json.loads(json.dumps(result.details, default=str))
        with self._lock:
            # One that comes twice was delivered anew after an endpoint's death: the first has been told already.
            self._outcomes.setdefault(str(result.task_id), told)

    def _take_heartbeat(self, message: bytes) -> None:
        report = messagepack.unpack(message)
        if not isinstance(report, EPStatusReport):
            return
        endpoint, state = str(report.endpoint_id), report.global_state
        with self._lock:
            if "error" in state:
                self._fail(endpoint, str(state["error"]))
            else:
                # A period of 0 is the last word before it ends.
                period_s = float(state.get("heartbeat_period", 0))
                self._online_until[endpoint] = time.monotonic() + MISSED_HEARTBEATS * period_s

    def _fail(self, user: str, why: str) -> None:
        """A user endpoint could not be started: so have its tasks failed, and another try has other queues."""
        self._users = {key: known for key, known in self._users.items() if known != user}
        for task, at in self._handed_over.items():
            if at == user:
                self._outcomes.setdefault(task, {"exception": why})
