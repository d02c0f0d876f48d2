"""How a scan's time divides: transfer, queue, job, and our own overhead; and how long the like has taken before.

Belongs here: what is said of a materialization's seconds and by which names, and the arithmetic of it. Pure.
Does not: writing it (als_assets.evidence), reading it, or showing it (als).
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

REMOTE_BEGAN = "remote_began"
REMOTE_ENDED = "remote_ended"
"""Between these two times the outside world worked for us: the rest of a scan's time is our own."""
SECONDS, TRANSFER_SECONDS, QUEUE_SECONDS, JOB_SECONDS = "seconds", "transfer_seconds", "queue_seconds", "job_seconds"
COPIED_FROM, REUSED = "copied_from", "this_run"
"""The place that a copy came from; and a word where nothing was made, as it had been made before."""
FEWEST = 5
"""Fewer scans tell nothing of how long the next one takes."""
SIMILAR = 1.5
"""Scans are similar whose raw files differ by less than this factor."""


@dataclass(frozen=True, slots=True)
class Split:
    """Seconds of one stage, or of the whole scan."""

    total_s: float
    transfer_s: float
    queue_s: float
    job_s: float

    @property
    def ours_s(self) -> float:
        """What is neither transfer nor queue nor job."""
        return max(0.0, self.total_s - self.transfer_s - self.queue_s - self.job_s)

    @property
    def parts(self) -> Mapping[str, float]:
        """The four parts, by the words that tables and metrics have for them."""
        return {"ours": self.ours_s, "transfer": self.transfer_s, "queue": self.queue_s, "job": self.job_s}


def split_of(said: Mapping[str, Any]) -> Split | None:
    """How one materialization's seconds divide; None where it says nothing of its time.

    A program that ran on this machine counts as a job.
    """
    if SECONDS not in said:
        return None
    transfer, queue, job = (float(said.get(name, 0)) for name in (TRANSFER_SECONDS, QUEUE_SECONDS, JOB_SECONDS))
    if not (transfer or queue or job) and "globus_task" not in said and REMOTE_BEGAN in said:
        job = float(said[REMOTE_ENDED]) - float(said[REMOTE_BEGAN])
    return Split(float(said[SECONDS]), transfer, queue, job)


def splits_of(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Split]:
    """The stages of one scan that say something of their time, in their order; each by what its newest record says."""
    found = ((name, split_of(said)) for name, said in stages.items())
    return {name: split for name, split in found if split is not None}


def overhead_s(began: float, ended: float, outside: Iterable[tuple[float, float]]) -> float:
    """Seconds between two times in which nothing outside worked for us; overlapping intervals count once."""
    covered, reached = 0.0, began
    for start, end in sorted(outside):
        start, end = max(start, reached), min(end, ended)
        if end > start:
            covered += end - start
            reached = end
    return (ended - began) - covered


def outside_of(stages: Iterable[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """The intervals in which the outside world, or a program, was at work, in seconds since 1970."""
    return [(float(said[REMOTE_BEGAN]), float(said[REMOTE_ENDED])) for said in stages if REMOTE_BEGAN in said]


@dataclass(frozen=True, slots=True)
class Expected:
    """How long a stage takes, by what the last similar scans took."""

    median_s: float
    most_s: float
    """The 90th percentile."""
    scans: int
    """How many it rests on."""


def expected(took_s: Sequence[float]) -> Expected | None:
    """What similar scans say; None where they are too few to say anything."""
    if len(took_s) < FEWEST:
        return None
    most = statistics.quantiles(took_s, n=10, method="inclusive")[-1]
    return Expected(statistics.median(took_s), most, len(took_s))
