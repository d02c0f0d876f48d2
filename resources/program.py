"""A program of `tomography` run on this machine, beside data that is mounted here.

Belongs here: starting it, its progress, its one message when it fails, and ending it with its caller.
Does not: jobs at facilities (resources.facilities), or what the program computes.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from resources.errors import WorkFailedError

INTERPRETER = Path(sys.executable)
"""It has the programs installed, as this one does."""

_UMASK = 0o002
"""Results are for the group: folders 2775, files 664."""


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """What the program said last, on its JSON channel."""

    result: dict[str, Any]


def run_program(
    arguments: Sequence[str], *, limit: timedelta, progress: Callable[[dict[str, Any]], None]
) -> ProgramResult:
    """Run ``python -m tomography ARGUMENTS --json`` to its end.

    ``progress`` is called with every progress event; when it raises, or this thread is interrupted, the program is
    ended too. Raises WorkFailedError with the program's own message.
    """
    command = [str(INTERPRETER), "-m", "tomography", *arguments, "--json"]
    with (
        # A file, not a pipe: a program that says much there would wait for a reader who waits for its progress.
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            ["timeout", "--kill-after=10", f"{limit.total_seconds():.3f}", *command],  # noqa: S607
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            umask=_UMASK,
        ) as process,
    ):
        try:
            last = _follow(process, progress)
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
        errors.seek(0)
        message = errors.read().decode("utf-8", "backslashreplace").strip()
    if code != 0 or last is None:
        raise WorkFailedError(
            seen=f"tomography {arguments[0]} ended with exit code {code}: {message[-2000:] or 'no message'}",
            meaning=_MEANING.get(code, "the program failed, its product was not made"),
            remedy="look at the scan itself, then materialize this again",
        )
    return ProgramResult(last)


_MEANING = {
    2: "the program found the scan unusable, and wrote nothing",
    124: "it took longer than it was given",
}


def _follow(process: "subprocess.Popen[str]", progress: Callable[[dict[str, Any]], None]) -> dict[str, Any] | None:
    last: dict[str, Any] | None = None
    for line in process.stdout or ():
        event = json.loads(line)
        if event.get("event") == "result":
            last = event
        else:
            progress(event)
    return last
