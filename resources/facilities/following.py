"""What a job's log says while the job runs: some lines at a time, none of them twice.

Belongs here: which lines are news, how often one looks, and how much of a log is shown at all.
Does not: fetching logs (batch), or what they tell once the job has ended (evidence).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from resources.errors import ServiceRefusedError, ServiceUnavailableError
from resources.facilities.job import FileTooLargeError

FOLLOWED_BYTES = 1024**2
"""A worker that waits shall stay small; a longer log is judged at the end all the same."""
LINES_A_LOOK = 10
LINES_A_JOB = 200
"""Dagster's event log is no place for logs: it is read for the UI again and again, and kept for years."""
LONGEST_LINE = 300


@dataclass(slots=True)
class Following:
    """One job's logs, as far as they were told."""

    read: Callable[[str], str]
    """The text of a log, at most FOLLOWED_BYTES. Raises FileNotFoundError, and FileTooLargeError beyond."""
    every: timedelta
    """How often one looks, at most."""
    told: int = 0
    looked: datetime | None = None
    seen: dict[str, int] = field(default_factory=dict)
    """By log: how many of its lines are known."""

    def news(self, logs: Sequence[str], now: datetime) -> tuple[str, ...]:
        """What is new since the last look, where it is time for another.

        A log that is not there yet, or cannot be read now, has no news: that is no failure of the job.
        """
        if self.looked is None:
            self.looked = now  # what ends before the first look is told at its end
        if self.told >= LINES_A_JOB or now - self.looked < self.every:
            return ()
        self.looked = now
        return tuple(line for log in logs for line in self._of(log))

    def _of(self, log: str) -> list[str]:
        try:
            # What comes after the last line feed is a line that is being written.
            lines = self.read(log).rpartition("\n")[0].splitlines()
        except (FileNotFoundError, FileTooLargeError, ServiceRefusedError, ServiceUnavailableError):
            return []
        first_time, known = log not in self.seen, self.seen.get(log, 0)
        self.seen[log] = len(lines)
        # Shorter than it was: the job was begun again, and its log with it.
        new = lines[known:] if len(lines) >= known else lines
        shown = [line[:LONGEST_LINE] for line in new if line.strip()][-LINES_A_LOOK:]
        if not shown:
            if first_time:
                del self.seen[log]
            return []
        self.told += len(shown)
        left_out = len(new) - len(shown)
        return [
            *([f"({log})"] if first_time else []),
            *([f"({left_out} lines before)"] if left_out else []),
            *shown,
            *([f"(no more is shown here of {log})"] if self.told >= LINES_A_JOB else []),
        ]
