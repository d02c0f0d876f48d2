"""A program as a process of its own: how long it took, on the wall and on the processor, and its peak of memory.

Belongs here: one run, medians, the load of the machine. Does not: any program or limit.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from resources.settings import PROJECT


@dataclass(frozen=True)
class Took:
    """``cpu_s`` is user and system over all threads, and changes less on a busy machine than ``wall_s``."""

    wall_s: float
    cpu_s: float
    peak_gb: float


def measured(command: Sequence[str], watch: Callable[[], None] | None = None) -> tuple[Took, str]:
    """Run a command in the project's folder; what it took and what it said.

    ``watch`` is called every hundredth of a second meanwhile. Raises RuntimeError where the command failed.
    """
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as complaints,
        tempfile.NamedTemporaryFile() as used,
    ):
        child = [sys.executable, "-m", "benchmarks.child", used.name, *command]
        with subprocess.Popen(child, cwd=PROJECT, stdout=out, stderr=complaints) as process:
            while watch and process.poll() is None:
                watch()
                time.sleep(0.01)
        for stream in (out, complaints):
            stream.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {complaints.read()[-1000:]}")
        return Took(**json.loads(Path(used.name).read_text())), out.read()


def median(taken: Sequence[Took]) -> Took:
    """Each figure's own median."""
    return Took(
        statistics.median(one.wall_s for one in taken),
        statistics.median(one.cpu_s for one in taken),
        statistics.median(one.peak_gb for one in taken),
    )


def load() -> str:
    """How busy the machine is, for whoever compares figures."""
    return f"the load of the machine is {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
