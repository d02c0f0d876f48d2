"""A batch system on this machine: queue, start, watch, end; each job a session of local processes.

Belongs here: the life of a job, from PENDING to a final state, faults on the way included, and its record on disk.
Does not: what a script asks for (scheduler.script), processes (scheduler.processes), tables (scheduler.tables).
"""

import json
import logging
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from twin.scheduler import Clock, Cluster, JobFault, JobQuery, JobRecord, JobState, Pace, Row, SlurmError
from twin.scheduler import processes as local
from twin.scheduler.processes import CannotStartError, JobProcess
from twin.scheduler.script import SUBMISSION_FAILED, read_request
from twin.scheduler.tables import sacct_row, squeue_row

logger = logging.getLogger(__name__)

TICK_S = 0.05
CLOSING_S = 10.0
FIRST_JOB_ID = 41_000_001
FIRST_NODE = 4001
CONTROLLER_DOWN = "Unable to contact slurm controller (connect failure)"


@dataclass(frozen=True)
class _Outcome:
    state: JobState
    exit_code: int = 0
    signal: int = 0
    cancelled_by: int | None = None
    requeue: bool = False


# What a fault does to a job; ``exit`` takes its code from the fault, ``vanish`` and ``hang`` end nothing.
_OUTCOMES = {
    "exit": _Outcome(JobState.FAILED),
    "node_fail": _Outcome(JobState.NODE_FAIL, exit_code=1),
    "preempt": _Outcome(JobState.PREEMPTED),
    "timeout": _Outcome(JobState.TIMEOUT),
    "out_of_memory": _Outcome(JobState.OUT_OF_MEMORY, signal=125),
    "boot_fail": _Outcome(JobState.BOOT_FAIL),
    "deadline": _Outcome(JobState.DEADLINE),
}
_BEFORE_START = ("boot_fail", "deadline")
_NOTES = {
    JobState.CANCELLED: "CANCELLED AT {time}",
    JobState.TIMEOUT: "CANCELLED AT {time} DUE TO TIME LIMIT",
    JobState.PREEMPTED: "CANCELLED AT {time} DUE TO PREEMPTION",
    JobState.NODE_FAIL: "CANCELLED AT {time} DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS",
}


@dataclass
class _Live:
    """What is known of a job beyond its record while it has not ended."""

    fault: JobFault | None = None
    process: JobProcess | None = None
    outcome: _Outcome | None = None
    kill_at: float = 0
    """Monotonic time: the grace between two signals is real time, whatever the twin's clock does."""
    configured_at: datetime | None = None


class LocalScheduler:
    """Runs batch scripts as local processes. Safe to use from any thread; ``close`` ends everything.

    Args:
        state_dir: records, scripts, TMPDIRs and the last job id; a later scheduler on it goes on where this one ended.
        home: the user's home, where relative paths of a script begin.
        images: container images that ``podman-hpc`` knows: reference to Python executable.
        clock: times of records and limits; may be set forward by whoever owns it.
        kill_wait_s: real seconds between SIGTERM and SIGKILL (Slurm's KillWait, 30 by default there).
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        home: Path,
        images: Mapping[str, Path],
        clock: Clock,
        cluster: Cluster | None = None,
        pace: Pace | None = None,
        kill_wait_s: float = 2.0,
    ) -> None:
        self.cluster = cluster or Cluster()
        self._pace = pace or Pace()
        self._state_dir = state_dir.resolve()
        self._home = home.resolve()
        self._clock = clock
        self._kill_wait_s = kill_wait_s
        self._changed = threading.Condition()
        self._closing = False
        self._faults: list[JobFault] = []
        self._records: dict[int, JobRecord] = {}
        self._live: dict[int, _Live] = {}
        self._free_nodes: list[str] = []
        self._prepare(images)
        self._thread = threading.Thread(target=self._run, name="twin-scheduler", daemon=True)
        self._thread.start()

    def sbatch(self, script: str, args: Sequence[str] = ()) -> int:
        self._require_controller(SUBMISSION_FAILED)
        request = read_request(script, self.cluster)
        with self._changed:
            job_id = self._next_job_id()
            fault = self._take_fault(request.name)
            if fault is not None and fault.kind == "vanish":
                return job_id
            self._folder(job_id).mkdir(parents=True)
            # Under the lock: a script that is open for writing while another job is forked cannot be executed.
            self._script(job_id).write_text(script)
            self._script(job_id).chmod(0o700)
            workdir = self._home / (request.chdir or "")
            now = self._clock()
            what = {"job_id": job_id, "request": request, "workdir": str(workdir), "args": tuple(args)}
            self._live[job_id] = _Live(fault)
            self._keep(JobRecord.model_validate(what | {"submitted": now, "eligible": now}))
            self._changed.notify_all()
            return job_id

    def scancel(self, job_id: int) -> None:
        self._require_controller(f"scancel: error: Kill job error on job id {job_id}: ")
        with self._changed:
            if job_id not in self._records:
                raise SlurmError(f"scancel: error: Kill job error on job id {job_id}: Invalid job id specified")
            live = self._live.get(job_id)
            if live is not None and live.outcome is None:
                self._end(job_id, live, _Outcome(JobState.CANCELLED, cancelled_by=self.cluster.uid))
            self._changed.notify_all()

    def squeue(self, query: JobQuery) -> list[Row]:
        self._require_controller("slurm_load_jobs error: ")
        now = self._clock()
        return [
            squeue_row(job, self.cluster, str(self._script(job.job_id)), now)
            for job in self._visible(query, now, queued=True)
        ]

    def sacct(self, query: JobQuery) -> list[Row]:
        self._require_controller("sacct: error: ")
        now = self._clock()
        midnight = now.astimezone(self.cluster.zone).replace(hour=0, minute=0, second=0, microsecond=0)
        since = query.since or (midnight if query.job_ids is None else None)
        return [
            sacct_row(job, self.cluster, now)
            for job in self._visible(query, now, queued=False)
            if since is None or job.ended is None or job.ended >= since
        ]

    def jobs(self) -> list[JobRecord]:
        """Every record, oldest first, visible or not."""
        with self._changed:
            return list(self._records.values())

    def inject(self, fault: JobFault) -> None:
        """Make this go wrong with the next jobs that match."""
        with self._changed:
            self._faults.extend([fault.model_copy(update={"times": 1})] * fault.times)

    def faults(self) -> list[JobFault]:
        """The faults that no job has met yet."""
        with self._changed:
            return list(self._faults)

    def clear_faults(self) -> None:
        """Forget the faults that no job has met yet."""
        with self._changed:
            self._faults.clear()

    @property
    def pace(self) -> Pace:
        """How fast and how wide the cluster is."""
        return self._pace

    @pace.setter
    def pace(self, pace: Pace) -> None:
        with self._changed:
            self._pace = pace
            self._changed.notify_all()

    def close(self) -> None:
        """Kill every process of every job and wait until they are gone; jobs that ran are NODE_FAIL afterwards.

        Raises TimeoutError where processes outlive SIGKILL.
        """
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        for job_id, live in list(self._live.items()):
            if live.process is not None:
                live.process.kill(CLOSING_S)
                self._finish(job_id, live.outcome or _OUTCOMES["node_fail"])

    # The life of a job, one step a tick.

    def _run(self) -> None:
        with self._changed:
            while not self._closing:
                self._free_nodes = self._unused_nodes()
                for job_id, live in list(self._live.items()):
                    self._advance(job_id, live, self._clock())
                self._changed.wait(TICK_S if self._live else None)

    def _advance(self, job_id: int, live: _Live, now: datetime) -> None:
        job = self._records[job_id]
        if live.outcome is not None:
            self._reap(job_id, live, live.outcome)
        elif job.state is JobState.RUNNING:
            self._watch(job, live, now)
        elif live.fault is not None and live.fault.kind in _BEFORE_START:
            if _due(job.submitted, live.fault.after_s, now):
                self._end(job_id, live, _OUTCOMES[live.fault.kind])
        elif job.state is JobState.CONFIGURING:
            if _due(live.configured_at or now, self._pace.configuring_s, now):
                self._start(job, live, now)
        elif _due(job.eligible, self._pace.queue_delay_s, now):
            self._allocate(job, live, now)

    def _allocate(self, job: JobRecord, live: _Live, now: datetime) -> None:
        if len(self._free_nodes) < job.request.nodes:
            return
        live.configured_at = now
        nodes = tuple(self._free_nodes[: job.request.nodes])
        del self._free_nodes[: job.request.nodes]
        self._keep(job.model_copy(update={"state": JobState.CONFIGURING, "nodes": nodes}))
        self._advance(job.job_id, live, now)

    def _start(self, job: JobRecord, live: _Live, now: datetime) -> None:
        tmp = self._folder(job.job_id) / "tmp"
        tmp.mkdir(exist_ok=True)
        environment = local.job_environment(job, self.cluster, bin_dir=self._bin_dir, home=self._home, tmp=tmp)
        environment[local.IMAGES_VARIABLE] = str(self._images_file)
        job = job.model_copy(update={"state": JobState.RUNNING, "started": now})
        try:
            live.process = local.start(self._script(job.job_id), job, self.cluster, environment)
        except CannotStartError as error:
            # Slurm, too, says this only in its own log.
            logger.warning("job %s could not start: %s", job.job_id, error)
            self._keep(job)
            self._end(job.job_id, live, _Outcome(JobState.FAILED, error.exit_code, error.signal))
            return
        session = {"session": live.process.session, "session_started": live.process.session_started}
        self._keep(job.model_copy(update=session))

    def _watch(self, job: JobRecord, live: _Live, now: datetime) -> None:
        assert live.process is not None  # noqa: S101
        assert job.started is not None  # noqa: S101
        fault = live.fault
        code = live.process.returncode()
        if fault is not None and _due(job.started, fault.after_s, now):
            live.fault = None
            if fault.kind == "hang":
                live.process.send(signal.SIGSTOP)
            else:
                outcome = _OUTCOMES[fault.kind]
                exit_code = fault.exit_code if fault.kind == "exit" else outcome.exit_code
                self._end(job.job_id, live, _Outcome(outcome.state, exit_code, outcome.signal, requeue=fault.requeue))
        elif code is not None:
            state = JobState.FAILED if code else JobState.COMPLETED
            self._end(job.job_id, live, _Outcome(state, max(code, 0), max(-code, 0)))
        elif job.request.time_limit is not None and now >= job.started + job.request.time_limit:
            self._end(job.job_id, live, _OUTCOMES["timeout"])

    def _end(self, job_id: int, live: _Live, outcome: _Outcome) -> None:
        """Begin to end a job: its processes are told, and the state is COMPLETING until the last one is gone."""
        live.outcome = outcome
        job = self._records[job_id]
        if live.process is None:
            self._finish(job_id, outcome)
            return
        if outcome.state in _NOTES:
            moment = self._clock().astimezone(self.cluster.zone).strftime("%Y-%m-%dT%H:%M:%S")
            what = _NOTES[outcome.state].format(time=moment)
            live.process.note(f"slurmstepd: error: *** JOB {job_id} ON {job.nodes[0]} {what} ***")
        live.process.send(signal.SIGCONT)
        live.process.send(signal.SIGTERM)
        live.kill_at = time.monotonic() + self._kill_wait_s
        self._keep(job.model_copy(update={"state": JobState.COMPLETING}))

    def _reap(self, job_id: int, live: _Live, outcome: _Outcome) -> None:
        assert live.process is not None  # noqa: S101
        if not live.process.alive():
            self._finish(job_id, outcome)
        elif time.monotonic() >= live.kill_at:
            live.process.send(signal.SIGKILL)

    def _finish(self, job_id: int, outcome: _Outcome) -> None:
        job = self._records[job_id]
        # What cannot be removed is only in the way of nobody: the folder is this job's alone.
        shutil.rmtree(self._folder(job_id) / "tmp", ignore_errors=True)
        if outcome.requeue or (job.request.requeue and outcome.state in (JobState.PREEMPTED, JobState.NODE_FAIL)):
            again = {"state": JobState.PENDING, "nodes": (), "started": None, "session": None}
            self._live[job_id] = _Live()
            self._keep(job.model_copy(update=again | {"restarts": job.restarts + 1, "eligible": self._clock()}))
            return
        del self._live[job_id]
        self._keep(
            job.model_copy(
                update={
                    "state": outcome.state,
                    "exit_code": outcome.exit_code,
                    "signal": outcome.signal,
                    "cancelled_by": outcome.cancelled_by,
                    "ended": self._clock(),
                }
            )
        )

    # What is kept, and what is asked.

    def _prepare(self, images: Mapping[str, Path]) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        (self._state_dir / "jobs").mkdir(parents=True, exist_ok=True)
        self._bin_dir = self._state_dir / "bin"
        local.install_shims(self._bin_dir)
        self._images_file = self._state_dir / "images.json"
        self._images_file.write_text(json.dumps({image: str(python) for image, python in images.items()}))
        for path in sorted((self._state_dir / "jobs").glob("*/record.json")):
            job = JobRecord.model_validate_json(path.read_text())
            self._records[job.job_id] = job
            if not job.state.in_queue:
                continue
            self._live[job.job_id] = _Live()
            if job.session is not None:
                local.end_survivors(job.session, job.session_started or 0, path.parent / "tmp")
            if job.state is not JobState.PENDING:
                self._finish(job.job_id, _OUTCOMES["node_fail"])

    def _keep(self, record: JobRecord) -> None:
        self._records[record.job_id] = record
        path = self._folder(record.job_id) / "record.json"
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(record.model_dump_json())
        unfinished.replace(path)

    def _next_job_id(self) -> int:
        path = self._state_dir / "last_job_id"
        job_id = int(path.read_text()) + 1 if path.exists() else FIRST_JOB_ID
        path.write_text(str(job_id))
        return job_id

    def _take_fault(self, name: str) -> JobFault | None:
        for index, fault in enumerate(self._faults):
            if fault.match in name:
                return self._faults.pop(index)
        return None

    def _require_controller(self, prefix: str) -> None:
        # A thread that died of an unforeseen error is a controller that does not answer.
        if self._pace.controller_down or not self._thread.is_alive():
            raise SlurmError(prefix + CONTROLLER_DOWN)

    def _visible(self, query: JobQuery, now: datetime, *, queued: bool) -> list[JobRecord]:
        with self._changed:
            known = self._live.keys() if queued else self._records.keys()
            wanted = known if query.job_ids is None else sorted(query.job_ids & known)
            jobs = [self._records[job_id] for job_id in wanted]
        return [
            job
            for job in jobs
            if _due(job.submitted, self._pace.lag_s, now)
            and query.user in (None, self.cluster.user)
            and query.partition in (None, self.cluster.partition)
            and query.name in (None, job.request.name)
        ]

    def _unused_nodes(self) -> list[str]:
        used = {node for job_id in self._live for node in self._records[job_id].nodes}
        names = (f"nid{FIRST_NODE + index:06}" for index in range(self._pace.nodes))
        return [name for name in names if name not in used]

    def _folder(self, job_id: int) -> Path:
        return self._state_dir / "jobs" / str(job_id)

    def _script(self, job_id: int) -> Path:
        return self._folder(job_id) / "script"


def _due(since: datetime, seconds: float, now: datetime) -> bool:
    return now >= since + timedelta(seconds=seconds)
