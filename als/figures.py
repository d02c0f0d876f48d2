"""How a scan's time divides: transfer, queue, job, and our own overhead.

Belongs here: the arithmetic of intervals. Pure.
Does not: reading events (follow), or printing (screen).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from als_assets.evidence import REMOTE_BEGAN, REMOTE_ENDED


@dataclass(frozen=True, slots=True)
class Split:
    """Seconds of one asset, or of the whole scan."""

    total_s: float
    transfer_s: float
    queue_s: float
    job_s: float

    @property
    def ours_s(self) -> float:
        """What is neither transfer nor queue nor job."""
        return max(0.0, self.total_s - self.transfer_s - self.queue_s - self.job_s)


def split_of_asset(metadata: Mapping[str, Any]) -> Split:
    """How one materialization's seconds divide; a program that ran on this machine counts as a job."""
    transfer, queue = float(metadata.get("transfer_seconds", 0)), float(metadata.get("queue_seconds", 0))
    job = float(metadata.get("job_seconds", 0))
    if not (transfer or queue or job) and "globus_task" not in metadata and REMOTE_BEGAN in metadata:
        job = float(metadata[REMOTE_ENDED]) - float(metadata[REMOTE_BEGAN])
    return Split(float(metadata.get("seconds", 0)), transfer, queue, job)


def overhead_s(began: float, ended: float, outside: Iterable[tuple[float, float]]) -> float:
    """Seconds between two times in which nothing outside worked for us; overlapping intervals count once."""
    covered, reached = 0.0, began
    for start, end in sorted(outside):
        start, end = max(start, reached), min(end, ended)
        if end > start:
            covered += end - start
            reached = end
    return (ended - began) - covered


def outside_of(metadatas: Iterable[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """The intervals in which the outside world, or a program, was at work, in seconds since 1970."""
    return [(float(m[REMOTE_BEGAN]), float(m[REMOTE_ENDED])) for m in metadatas if REMOTE_BEGAN in m]
