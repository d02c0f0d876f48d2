"""What the outside world itself has recorded of a scan: transfers, jobs, files. Never what we have recorded.

Belongs here: reading the twin's own records, as values that can be judged.
Does not: judging them (judgement), or the platform's own records of the same.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from twin.globus.documents import TransferDocument
from twin.globus.engine import Engine


@dataclass(frozen=True)
class TaskSeen:
    """One Globus transfer."""

    label: str
    paths: tuple[str, ...]
    """Where its files go."""
    status: str
    requested: datetime
    ended: datetime | None


@dataclass(frozen=True)
class JobSeen:
    """One job in the batch system's own list."""

    name: str
    job_id: str
    state: str
    submitted: datetime
    ended: datetime | None


@dataclass(frozen=True)
class Outside:
    """All that was started outside for one scan."""

    tasks: tuple[TaskSeen, ...]
    jobs: tuple[JobSeen, ...]

    @property
    def running(self) -> list[str]:
        """What has not ended, by its name."""
        tasks = [task.label for task in self.tasks if task.status == "ACTIVE"]
        return tasks + [job.name for job in self.jobs if job.ended is None]


def look(engine: Engine, jobs: Iterable[JobSeen], name: str, jobs_before: frozenset[str]) -> Outside:
    """What was started for the scan called ``name``; of the jobs, those that were not there before it."""
    tasks = []
    for task in engine.tasks():
        if isinstance(task.document, TransferDocument):
            paths = tuple(sorted(item.destination_path for item in task.document.DATA))
            # What only reads a facility's logs and manifests over Globus has no label of the ledger's.
            label = str(task.document.label)
            if any(name in path for path in paths) and label.startswith("als-"):
                tasks.append(TaskSeen(label, paths, task.status, task.requested, task.completed))
    return Outside(tuple(tasks), tuple(job for job in jobs if job.job_id not in jobs_before))


def content(path: Path, name: str) -> dict[str, str]:
    """SHA-256 of every file of a copy by its path inside it; the scan's own name is taken out of both."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)).replace(name, "NAME"): _digest(file, name) for file in files}


def _digest(file: Path, name: str) -> str:
    return hashlib.sha256(file.read_bytes().replace(name.encode(), b"NAME")).hexdigest()
