"""Workers of the twin's own: a process of this machine for every task, killed with everything that it has started.

Belongs here: its environment, the files in its folder, and what a configuration is refused with.
Does not: what a task goes through (service), or what it runs (worker).
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from twin.compute.workers import Outcome, words_of_loss
from twin.scheduler.processes import SYSTEM_PATH, processes

_NO_SESSION = -1
"""A task's processes are found by their TMPDIR alone, which all of them carry."""
_NOT_STARTED = """\
Unable to start user endpoint process for als [exit code: 73; (ValidationError) Additional properties are not allowed \
({0!r} was unexpected)

Failed validating 'additionalProperties' in schema:
    {{'type': 'object', 'additionalProperties': False}}

On instance:
    {1!r}]"""

_LOST = "parsl.executors.high_throughput.errors.WorkerLost: Task failure due to loss of worker 0 on host localhost"


class LocalWorkers:
    """Workers that need no broker."""

    def __init__(self, folder: Path, endpoints: Mapping[str, frozenset[str]]) -> None:
        """``endpoints``: by id, what each takes as user_endpoint_config."""
        self._folder = folder
        self._endpoints = endpoints

    def knows(self, endpoint: str) -> bool:
        return endpoint in self._endpoints

    def is_online(self, endpoint: str) -> bool:  # noqa: ARG002 - it is, unless the twin's owner says otherwise
        return True

    def begin(self, task: Mapping[str, Any], function: str) -> None:
        home = self._home(task)
        unknown = sorted(set(task["config"]) - self._endpoints[task["endpoint"]])
        if unknown:
            # The endpoint starts one of the user's own by a template; what its schema refuses is a failed task.
            write_whole(
                home / "result.json", json.dumps({"exception": _NOT_STARTED.format(unknown[0], task["config"])})
            )
            return
        asked = {name: task[name] for name in ("endpoint", "payload", "result_serializers")}
        (home / "work.json").write_text(json.dumps({**asked, "function": function}))
        environment = {
            "PATH": SYSTEM_PATH,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "TMPDIR": str(home),
            "GC_TASK_UUID": task["task_id"],
        }
        with (home / "worker.log").open("ab") as log:
            # Forked once more: nobody here has to wait for it, and it outlives a restart of the twin.
            subprocess.run(
                ["setsid", "--fork", sys.executable, "-m", "twin.compute.worker", str(home)],  # noqa: S607
                check=True,
                cwd=Path(__file__).parents[2],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def outcome(self, task: Mapping[str, Any]) -> Outcome | None:
        home = self._home(task)
        still_runs = _runs(home)  # first: one that ends between the two questions has left its result by the second
        try:
            found: dict[str, Any] = json.loads((home / "result.json").read_text())
        except FileNotFoundError:
            return None if still_runs else {"exception": words_of_loss(_LOST)}
        return found

    def kill(self, task: Mapping[str, Any]) -> None:
        # What one of them starts meanwhile too.
        while left := processes(_NO_SESSION, str(self._home(task))):
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=1)

    def _home(self, task: Mapping[str, Any]) -> Path:
        return self._folder / str(task["task_id"])


def _runs(home: Path) -> bool:
    """Whether the task's worker is there, or was started so lately that it has not said so yet."""
    try:
        worker = psutil.Process(int((home / "started").read_text()))
        return worker.status() != psutil.STATUS_ZOMBIE and worker.environ().get("TMPDIR") == str(home)
    except FileNotFoundError:
        return True
    except psutil.Error:
        return False


def write_whole(path: Path, text: str) -> None:
    """Write a file that others read meanwhile: it is there whole, or as it was."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
