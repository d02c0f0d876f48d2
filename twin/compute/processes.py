"""The process of a task: started, looked for, and killed with everything that it has started.

Belongs here: its environment, and the files in its folder.
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

from twin.scheduler.processes import SYSTEM_PATH, processes

_NO_SESSION = -1
"""A task's processes are found by their TMPDIR alone, which all of them carry."""


def start(home: Path, task: Mapping[str, Any], function: str) -> None:
    """Run a task in a process of its own, as on a node of the endpoint."""
    (home / "work.json").write_text(json.dumps({"function": function, "payload": task["payload"]}))
    environment = {
        "PATH": SYSTEM_PATH,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TMPDIR": str(home),
        "GC_TASK_UUID": task["task_id"],
        "GC_TASK_SANDBOX_DIR": str(home / "sandbox"),
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


def result_of(home: Path) -> dict[str, str] | None:
    """What the worker has written at its end."""
    try:
        found: dict[str, str] = json.loads((home / "result.json").read_text())
    except FileNotFoundError:
        return None
    return found


def runs(home: Path) -> bool:
    """Whether the task's worker is there, or was started so lately that it has not said so yet."""
    try:
        worker = psutil.Process(int((home / "started").read_text()))
        return worker.status() != psutil.STATUS_ZOMBIE and worker.environ().get("TMPDIR") == str(home)
    except FileNotFoundError:
        return True
    except psutil.Error:
        return False


def kill(home: Path) -> None:
    """End every process of the task; what one of them starts meanwhile too."""
    while left := processes(_NO_SESSION, str(home)):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=1)


def write_whole(path: Path, text: str) -> None:
    """Write a file that others read meanwhile: it is there whole, or as it was."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
