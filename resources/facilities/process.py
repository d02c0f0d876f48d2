"""This machine as a facility: jobs are processes, with the states that jobs have everywhere.

Belongs here: starting one that outlives its caller, and telling from files and the process table how it stands.
Does not: what its end means (batch), or programs that a step runs and waits for itself (resources.program).

What is known of a job lies in the folder of its logs, under its name:

| file | what |
|---|---|
| `<name>.sh` | what it runs |
| `<name>.lock` | held for as long as any process of the job lives: the kernel lets go of it, however that ends |
| `<name>.started` | appears once and for all: a second start under this name ends at once; its session's id |
| `<name>.out`, `<name>.err` | what it says |
| `<name>.cancel` | that its end was asked for |
| `<name>.exit` | its exit code; appears whole, at the end |
"""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import psutil

from resources.errors import ServiceRefusedError
from resources.facilities.job import FileTooLargeError, JobSpec
from resources.facilities.service import Content, Entry, FacilityState, Health, JobSeen, read_each
from resources.remote import JobState

TIMED_OUT = 124
"""As `timeout` says."""
_SUPERVISOR = """
exec 9>>"$1.lock"
flock --nonblock 9 || exit
[[ ! -e "$1.started" ]] || exit
echo $$ >"$1.started"
timeout --kill-after=30 "$2" bash "$1.sh" >"$1.out" 2>"$1.err" </dev/null
code=$?
echo "$code" >"$1.exit.partial" && mv -- "$1.exit.partial" "$1.exit"
"""


class ProcessJobs:
    """A JobService whose job ids are the jobs' names."""

    def __init__(self, logs: PurePosixPath) -> None:
        self._logs = Path(logs)

    def submit(self, job: JobSpec, name: str) -> str:
        self._logs.mkdir(parents=True, exist_ok=True)
        partial, script = self._path(name, ".sh.partial"), self._path(name, ".sh")
        if not script.exists():
            partial.write_bytes(os.fsencode(job.body))
            partial.replace(script)
        words = ("als-job", str(self._logs / name), f"{job.resources.time_limit.total_seconds():.0f}")
        # Detached: it goes on whatever becomes of this process, which need not wait for it, and its end is on disk.
        subprocess.run(
            ["setsid", "--fork", "bash", "-c", _SUPERVISOR, *words],  # noqa: S607
            check=True,
            cwd=self._logs,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return name

    def find(self, name: str, *, since: datetime) -> str | None:  # noqa: ARG002
        return name if self._path(name, ".started").exists() else None

    def job(self, job_id: str) -> JobSeen:
        started = self._time(job_id, ".started")
        if started is None:
            raise LookupError(f"no process has started under the name {job_id}")
        lives = self._lives(job_id)  # looked at first: what has ended by then has left its exit code
        ended = self._time(job_id, ".exit")
        state, words, code = self._end(job_id) if ended else (JobState.ACTIVE, "running", None)
        if not lives and ended is None:
            state, words = JobState.FAILED, "gone: its processes ended without a word"
        submitted = self._time(job_id, ".sh")
        return JobSeen(
            job_id=job_id,
            name=job_id,
            state=words,
            job_state=state,
            words=words,
            exit_code=code,
            submitted=submitted,
            started=started,
            ended=ended,
            interrupted=not lives and ended is None,
        )

    def jobs(self, prefix: str, *, since: datetime) -> list[JobSeen]:
        names = sorted(path.stem for path in self._logs.glob("*.started"))
        seen = [self.job(name) for name in names if name.startswith(prefix)]
        return [job for job in seen if job.job_state is JobState.ACTIVE or (job.submitted or since) >= since]

    def cancel(self, job_id: str) -> None:
        if not self._lives(job_id):
            return
        self._path(job_id, ".cancel").touch()
        leader = int(self._path(job_id, ".started").read_text())
        for pid in processes_of(leader):
            if pid != leader:  # it is to write down how that ended
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)

    def log_paths(self, job: JobSpec, seen: JobSeen) -> tuple[str, str]:
        return f"{job.resources.logs}/{seen.name}.out", f"{job.resources.logs}/{seen.name}.err"

    def state(self) -> FacilityState:
        return FacilityState(Health.ACTIVE)

    def credentials_until(self) -> datetime | None:
        return None

    def close(self) -> None:
        """Nothing is open; what was started goes on."""

    def _end(self, name: str) -> tuple[JobState, str, int]:
        code = int(self._path(name, ".exit").read_text())
        if code == 0:
            return JobState.COMPLETED, "completed", code
        if self._path(name, ".cancel").exists():
            return JobState.CANCELED, "canceled", code
        words = "failed, it ran longer than it may" if code == TIMED_OUT else f"failed, exit code {code}"
        return JobState.FAILED, words, code

    def _lives(self, name: str) -> bool:
        with self._path(name, ".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _time(self, name: str, suffix: str) -> datetime | None:
        try:
            return datetime.fromtimestamp(self._path(name, suffix).stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    def _path(self, name: str, suffix: str) -> Path:
        return self._logs / f"{name}{suffix}"


class LocalFiles:
    """Files of this machine."""

    look_every = timedelta(seconds=10)

    def list(self, path: str) -> list[Entry]:
        try:
            if not Path(path).is_dir():
                return [Entry(Path(path).name, Path(path).stat().st_size, is_folder=False)]
            return [Entry(entry.name, entry.stat().st_size, entry.is_dir()) for entry in os.scandir(path)]
        except PermissionError as error:
            raise _unreadable(path, error) from error

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        try:
            size = Path(path).stat().st_size
            if size > limit_bytes:
                raise FileTooLargeError(f"{path!r} has {size} bytes, more than {limit_bytes}")
            return Path(path).read_bytes()
        except PermissionError as error:
            raise _unreadable(path, error) from error

    def read_all(self, paths: Sequence[str], *, limit_bytes: int) -> Mapping[str, Content]:
        return read_each(self, paths, limit_bytes=limit_bytes)


def processes_of(leader: int) -> list[int]:
    """The ids of all processes of a job: it has a session of its own, which nothing that it starts leaves."""
    found = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError):
            if os.getsid(pid) == leader:
                found.append(pid)
    return found


def _unreadable(path: str, error: OSError) -> ServiceRefusedError:
    return ServiceRefusedError(
        seen=f"{path!r} cannot be read on this machine ({error.strerror})",
        meaning="the account that runs Dagster may not",
        remedy="look at its mode and owner",
    )
