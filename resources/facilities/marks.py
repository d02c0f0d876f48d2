"""The marks that a job of Globus Compute leaves in the folder of the logs, and how it stands by them alone.

Belongs here: what lies there under its name, and what that says (supervise.sh.template makes it).
Does not: the service's own word (compute), or reading the folder (globus_files).

The service forgets results after a while, cannot cancel, and may not know a task of which it lost the answer. So a job
keeps marks in the folder of the logs, under its name, and these decide (docs/decisions/0011-globus-compute.md):

| mark | what |
|---|---|
| `<name>/` | the name is taken: a second execution does nothing |
| `<name>/node.<host>`, `<name>/task.<uuid>` | where, and by which task |
| `<name>/alive` | touched every other second for as long as the job runs |
| `<name>/out`, `<name>/err` | what it says |
| `<name>/exit.<code>`, `<name>/exit.<code>.<how>` | its end: by itself, or `canceled`, by the `limit`, by a `signal` |
| `<name>.stop/` | a folder that whoever cancels it has made: one is made at once, where a file would take a transfer |
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from resources.facilities.service import Entry, JobSeen
from resources.remote import JobState

NO_LOGS, CLAIMED = 77, 78
"""Exit codes of what did not run the job: the folder of the logs cannot be used; the name is taken, or canceled."""
BEAT, SILENT = timedelta(seconds=2), timedelta(minutes=10)
"""A job that has not touched its mark for so long, by the facility's own clock, is gone with its node."""

_CANCELED, _SIGNAL = "canceled", "signal"
_END = {
    _CANCELED: (JobState.CANCELED, "canceled"),
    "limit": (JobState.FAILED, "failed, it ran longer than it may"),
    _SIGNAL: (JobState.FAILED, "failed, it was ended by a signal: its node or its allocation went away"),
}


@dataclass(frozen=True)
class Marks:
    """What lies in a job's folder."""

    entries: tuple[Entry, ...]
    taken: bool

    @cached_property
    def task(self) -> str | None:
        return self._after("task.")

    @cached_property
    def end(self) -> tuple[int | None, str] | None:
        """The job's exit code, where it was begun at all, and how it was ended, where it did not end by itself."""
        told = self._after("exit.")
        if told is None:
            return None
        code, _, how = told.partition(".")
        return (int(code) if code.isdecimal() else None), how

    @cached_property
    def started(self) -> datetime | None:
        return next((entry.modified for entry in self.entries if entry.name.startswith("task.")), None)

    @property
    def nodes(self) -> tuple[str, ...]:
        node = self._after("node.")
        return () if node is None else (node,)

    @cached_property
    def last_sign(self) -> datetime:
        """When anything was written there. Raises LookupError where nothing has been yet."""
        times = [entry.modified for entry in self.entries if entry.modified is not None]
        if not times:
            raise LookupError("its folder is empty: it is about to begin")
        return max(times)

    def is_silent(self, now: datetime) -> bool:
        """Whether a job that has not ended has given no sign for too long. Raises LookupError as ``last_sign``."""
        return self.end is None and now - self.last_sign > SILENT

    def seen(self, job_id: str, name: str, now: datetime) -> JobSeen:
        """How the job stands by its marks alone. When it was submitted they do not tell."""
        if self.end is not None:
            return self._ended(job_id, name, *self.end)
        if self.is_silent(now):
            state, words = "gone", f"gone: it has given no sign since {self.last_sign:%Y-%m-%d %H:%M} UTC"
            return JobSeen(
                job_id, name, state, JobState.FAILED, words, started=self.started, nodes=self.nodes, interrupted=True
            )
        return JobSeen(job_id, name, "running", JobState.ACTIVE, "running", started=self.started, nodes=self.nodes)

    def _ended(self, job_id: str, name: str, code: int | None, how: str) -> JobSeen:
        by_itself = (JobState.FAILED, f"failed, exit code {code}") if code else (JobState.COMPLETED, "completed")
        state, words = _END.get(how, by_itself)
        return JobSeen(
            job_id=job_id,
            name=name,
            state=words,
            job_state=state,
            words=words,
            exit_code=code,
            started=self.started,
            ended=next((entry.modified for entry in self.entries if entry.name.startswith("exit.")), None),
            nodes=self.nodes,
            interrupted=how == _SIGNAL,
        )

    def _after(self, prefix: str) -> str | None:
        return next((entry.name.removeprefix(prefix) for entry in self.entries if entry.name.startswith(prefix)), None)
