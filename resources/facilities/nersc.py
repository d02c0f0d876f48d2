"""NERSC's jobs: Slurm through the Superfacility API.

Belongs here: asking Slurm's two tables for jobs, and submitting to it, over that API.
Does not: HTTP and credentials (superfacility), Slurm's texts (slurm), what a job's end means (batch).
"""

from datetime import datetime, timedelta

from resources.facilities.job import JobSpec
from resources.facilities.service import FacilityState, JobSeen
from resources.facilities.slurm import (
    MAY_COME_BACK,
    SlurmRow,
    format_time,
    log_paths,
    parse_row,
    render_script,
    slurm_of,
)
from resources.facilities.superfacility import Superfacility
from resources.remote import TERMINAL

KEY_LIVES = timedelta(days=2)
"""Of a client that may submit jobs."""
CLOCKS_MAY_DIFFER = timedelta(hours=1)


class NerscJobs:
    """A JobService over one session with the API."""

    def __init__(self, api: Superfacility) -> None:
        self._api = api

    def submit(self, job: JobSpec, name: str) -> str:
        return self._api.submit(render_script(job, name))

    def find(self, name: str, *, since: datetime) -> str | None:
        # Accounting shows a job that has ended, the queue one that accounting has not heard of yet.
        after = format_time(since - CLOCKS_MAY_DIFFER)
        rows = self._rows(accounting=True, name=name, starttime=after) or self._rows(accounting=False, name=name)
        ids = [row.job_id for row in rows if row.name == name]
        return min(ids, key=lambda job_id: (len(job_id), job_id), default=None)

    def job(self, job_id: str) -> JobSeen:
        recorded = self._rows(accounting=True, jobid=job_id)
        if not recorded or recorded[0].state in MAY_COME_BACK:
            queued = self._rows(accounting=False, jobid=job_id)
            if queued and (not recorded or queued[0].job_state not in TERMINAL):
                return queued[0].seen
        if not recorded:
            raise LookupError(f"Job not found: {job_id}")
        return recorded[0].seen

    def jobs(self, prefix: str, *, since: datetime) -> list[JobSeen]:
        recorded = self._rows(accounting=True, starttime=format_time(since - CLOCKS_MAY_DIFFER))
        queued = self._rows(accounting=False)
        rows = {row.job_id: row for row in (*queued, *recorded)}
        # A job that was queued again is shown by accounting as it ended before.
        rows |= {row.job_id: row for row in queued if rows[row.job_id].state in MAY_COME_BACK}
        return [row.seen for row in rows.values() if row.name.startswith(prefix)]

    def cancel(self, job_id: str) -> None:
        self._api.cancel(job_id)

    def log_paths(self, job: JobSpec, seen: JobSeen) -> tuple[str, str]:
        return log_paths(slurm_of(job), seen.name, seen.job_id)

    def state(self) -> FacilityState:
        return self._api.state()

    def credentials_until(self) -> datetime | None:
        return self._api.key_made_at() + KEY_LIVES

    def close(self) -> None:
        self._api.close()

    def _rows(self, *, accounting: bool, **options: str) -> list[SlurmRow]:
        rows = [parse_row(row) for row in self._api.jobs(accounting=accounting, **options)]
        # What the service does with an option is its affair: only what was asked for is taken.
        wanted = options.get("jobid")
        return [row for row in rows if wanted is None or row.job_id == wanted]
