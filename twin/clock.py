"""The time inside the twin: the true one, moved forward on request.

Belongs here: the clock that tokens, deadlines, time limits and the log of requests are measured with.
Does not: how long a transfer or a job takes, and files' own times: those are the machine's.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass
class SettableClock:
    """Callable: the time now, aware and in UTC. ``ahead`` may be raised from any thread; time never goes back."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead
