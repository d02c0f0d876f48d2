"""What a batch system is to the twin: the four commands of Slurm, their errors, and the record of a job.

Belongs here: the ``Scheduler`` protocol (real Slurm fits it as well), job records and states, the cluster's figures,
and what may be made to go wrong with a job.
Does not: reading a script (scheduler.script), running it (scheduler.local), or tables as sacct prints them
(scheduler.tables).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, Protocol, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, model_validator

Clock = Callable[[], datetime]
Row = dict[str, str]

PACIFIC = ZoneInfo("America/Los_Angeles")


class SlurmError(Exception):
    """A Slurm command that failed; the text is what the command writes to its standard error."""


class JobState(StrEnum):
    """The states that jobs of the twin go through, as Slurm calls them."""

    PENDING = "PENDING"
    CONFIGURING = "CONFIGURING"
    RUNNING = "RUNNING"
    COMPLETING = "COMPLETING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    BOOT_FAIL = "BOOT_FAIL"
    DEADLINE = "DEADLINE"

    @property
    def in_queue(self) -> bool:
        """True for the states that squeue shows; the others are final."""
        return self in (JobState.PENDING, JobState.CONFIGURING, JobState.RUNNING, JobState.COMPLETING)


class JobRequest(BaseModel):
    """What a script's ``#SBATCH`` lines ask for, with sbatch's defaults in place."""

    model_config = ConfigDict(frozen=True)

    name: str
    qos: str
    account: str
    constraint: str = ""
    nodes: int = Field(default=1, ge=1)
    tasks_per_node: int = Field(default=1, ge=1)
    tasks: int | None = None
    cpus_per_task: int = Field(default=1, ge=1)
    time_limit: timedelta | None = None
    """None: no limit of time."""
    exclusive: bool = False
    requeue: bool = False
    comment: str = ""
    output: str = "slurm-%j.out"
    error: str | None = None
    """None: standard error goes where standard output goes."""
    exports: dict[str, str] = {}
    chdir: str | None = None
    partition: str | None = None
    """None: the cluster's default."""


class JobRecord(BaseModel):
    """One job. Times are aware and in UTC; ``ended`` is set once the state is final."""

    model_config = ConfigDict(frozen=True)

    job_id: int
    request: JobRequest
    workdir: str
    args: tuple[str, ...] = ()
    state: JobState = JobState.PENDING
    submitted: datetime
    eligible: datetime
    """When the job last entered the queue; later than ``submitted`` after a requeue."""
    started: datetime | None = None
    ended: datetime | None = None
    exit_code: int = 0
    signal: int = 0
    cancelled_by: int | None = None
    nodes: tuple[str, ...] = ()
    restarts: int = 0
    session: int | None = None
    """Id of the session in which the script runs, to find what a twin that was killed left behind."""
    session_started: float | None = None
    """When the operating system says that process started, seconds since 1970: ids are used again."""


@dataclass(frozen=True)
class JobQuery:
    """Which jobs a table is asked for; an empty field does not restrict."""

    job_ids: frozenset[int] | None = None
    user: str | None = None
    partition: str | None = None
    name: str | None = None
    since: datetime | None = None
    """sacct only; without it and without ids, sacct starts at the midnight that has passed."""


class Scheduler(Protocol):
    """A batch system. Every method raises SlurmError with the command's own words."""

    def sbatch(self, script: str, args: Sequence[str] = ()) -> int:
        """Queue the script; the job's id."""
        ...

    def scancel(self, job_id: int) -> None:
        """End the job, with every process it has; no error for a job that has ended."""
        ...

    def squeue(self, query: JobQuery) -> list[Row]:
        """Jobs that have not ended; keys as the Superfacility API gives them (lower case), values always text."""
        ...

    def sacct(self, query: JobQuery) -> list[Row]:
        """Jobs with and without an end; keys and values as for squeue."""
        ...

    def close(self) -> None:
        """End every process of every job."""
        ...


@dataclass(frozen=True)
class Cluster:
    """What the machine is, as far as sbatch and the tables show it."""

    name: str = "perlmutter"
    user: str = "alsdev"
    uid: int = 100832
    zone: ZoneInfo = PACIFIC
    """The zone in which squeue and sacct print times, without saying so."""
    partition: str = "regular"
    qos: tuple[str, ...] = ("realtime", "debug", "regular", "shared", "premium", "xfer")
    default_qos: str = "debug"
    accounts: tuple[str, ...] = ("als", "als_g")
    features: tuple[str, ...] = ("cpu", "gpu")
    needs_constraint: bool = True
    """NERSC's submission filter refuses a job that names none of the features."""
    default_time_limit: timedelta = timedelta(minutes=10)
    cpus_per_node: int = 256


class Pace(BaseModel):
    """How fast and how wide the cluster is; all of it may change while jobs run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nodes: int = Field(default=4, ge=0)
    """0: nothing starts, as in a drained machine."""
    queue_delay_s: float = Field(default=0, ge=0)
    configuring_s: float = Field(default=0, ge=0)
    lag_s: float = Field(default=0, ge=0)
    """For so long after its submission a job is in no table: ``Job not found``."""
    controller_down: bool = False
    """Every command fails, as in a maintenance; jobs that run go on."""


class JobFault(BaseModel):
    """What goes wrong with the next jobs whose name contains ``match``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["exit", "node_fail", "preempt", "timeout", "out_of_memory", "boot_fail", "deadline", "vanish", "hang"]
    """``vanish``: an id is given and nothing else ever happens; ``hang``: the processes are stopped, not ended."""
    match: str = ""
    times: int = Field(default=1, ge=1)
    after_s: float = Field(default=0, ge=0)
    """Seconds after the job started (for boot_fail and deadline: after it was submitted)."""
    exit_code: int = Field(default=1, ge=1, le=255)
    """For ``exit``."""
    requeue: bool = False
    """For ``preempt`` and ``node_fail``: the job waits and runs again, under the same id."""

    @model_validator(mode="after")
    def _requeue_has_a_meaning(self) -> Self:
        if self.requeue and self.kind not in ("preempt", "node_fail"):
            raise ValueError(f"a job is not queued again after {self.kind!r}: only after 'preempt' and 'node_fail'")
        return self
