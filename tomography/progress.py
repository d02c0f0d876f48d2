"""How a program says how far it is.

Belongs here: the bar for people and the JSON lines for programs.
Does not: the words of the result (tomography.cli).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 1.0


class Reporter(Protocol):
    """Told of every piece of work that is done, possibly very often."""

    def progress(self, stage: str, done: int, total: int, unit: str) -> None:
        """``done`` of ``total`` units of a stage are finished."""

    def note(self, text: str) -> None:
        """Something that a person should know now, not in the end."""

    def close(self) -> None:
        """No more will come."""


class JsonReporter:
    """JSON lines, at most one a second."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._last = float("-inf")

    def progress(self, stage: str, done: int, total: int, unit: str) -> None:
        """Write a line, unless the last one is too fresh."""
        if self._clock() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = self._clock()
            self.event({"event": "progress", "stage": stage, "done": done, "total": total, "unit": unit})

    def note(self, text: str) -> None:
        """Write it as a line of its own."""
        self.event({"event": "note", "text": text})

    def event(self, event: dict[str, Any]) -> None:
        """Write any line."""
        self._stream.write(json.dumps(event, sort_keys=True) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing is held back."""


class BarReporter:
    """A progress bar on a terminal; silent elsewhere, so that logs stay readable."""

    def __init__(self, stream: TextIO) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
            disable=not stream.isatty(),
        )
        self._tasks: dict[str, Any] = {}
        self._bar.start()

    def progress(self, stage: str, done: int, total: int, unit: str) -> None:
        """Move the bar of a stage."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(f"{stage} ({unit})", total=total)
        self._bar.update(self._tasks[stage], completed=done, total=total)

    def note(self, text: str) -> None:
        """Write it above the bar."""
        self._bar.console.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bar.stop()
