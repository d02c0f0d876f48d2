"""Slurm, as text: the head of a batch script, quoting for bash, the tables of sacct and squeue.

Belongs here: pure functions over what goes to Slurm and what comes from it.
Does not: how the text travels (superfacility), or what a job does (reconstruction).
"""

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from zoneinfo import ZoneInfo

from beamlines.facilities import SlurmResources
from resources.facilities.job import JobSpec
from resources.facilities.paths import askable, is_askable
from resources.facilities.service import JobSeen
from resources.remote import JobState

ZONE = ZoneInfo("America/Los_Angeles")
"""sacct and squeue print times in the cluster's local time and do not say so; this is NERSC's. Times are evidence
only: within the hour that the end of daylight saving repeats, the first is assumed."""

STATES: Mapping[str, JobState] = {
    "PENDING": JobState.QUEUED,
    "CONFIGURING": JobState.QUEUED,
    "EXPEDITING": JobState.QUEUED,
    "POWER_UP_NODE": JobState.QUEUED,
    "REQUEUED": JobState.QUEUED,
    "REQUEUE_FED": JobState.QUEUED,
    "REQUEUE_HOLD": JobState.HELD,
    "RESV_DEL_HOLD": JobState.HELD,
    "SPECIAL_EXIT": JobState.HELD,
    "RUNNING": JobState.ACTIVE,
    "COMPLETING": JobState.ACTIVE,
    "RESIZING": JobState.ACTIVE,
    "SIGNALING": JobState.ACTIVE,
    "STAGE_OUT": JobState.ACTIVE,
    "STOPPED": JobState.ACTIVE,
    "SUSPENDED": JobState.ACTIVE,
    "COMPLETED": JobState.COMPLETED,
    "CANCELLED": JobState.CANCELED,
    "BOOT_FAIL": JobState.FAILED,
    "DEADLINE": JobState.FAILED,
    "FAILED": JobState.FAILED,
    "LAUNCH_FAILED": JobState.FAILED,
    "NODE_FAIL": JobState.FAILED,
    "OUT_OF_MEMORY": JobState.FAILED,
    "PREEMPTED": JobState.FAILED,
    "RECONFIG_FAIL": JobState.FAILED,
    "REVOKED": JobState.FAILED,
    "TIMEOUT": JobState.FAILED,
}
"""Every base state and flag of Slurm (squeue's manual, JOB STATE CODES, and what the REST API lists beyond it). A word
that is not here is unknown: it is waited out for a while, and never taken for success."""

MAY_COME_BACK = frozenset({"PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REQUEUED", "REVOKED"})
"""States in which accounting closes a record of a job that the controller may have queued again, under the same id."""

NAMELESS = "allocation"
"""What accounting calls a job that has ended before the record of its start arrived: for some seconds (seen)."""

NO_FAULT_OF_THE_JOB = frozenset({"NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED"})
"""Ends that a new attempt may mend."""

_PLACEHOLDER = re.compile(r"@\{([a-z_0-9]+)\}")
_NAME = re.compile(r"[a-z0-9-]{1,64}")
_BETWEEN_NODES = re.compile(r",(?![^\[]*\])")


@dataclass(frozen=True, slots=True)
class SlurmRow:
    """One job as sacct or squeue shows it."""

    job_id: str
    name: str
    state: str
    """Slurm's word, without ``by <uid>``."""
    exit_code: int | None
    signal: int | None
    submitted: datetime | None
    started: datetime | None
    ended: datetime | None
    nodes: tuple[str, ...]

    @property
    def job_state(self) -> JobState:
        return STATES.get(self.state, JobState.UNKNOWN)

    @property
    def words(self) -> str:
        """The state for people, with how the job's script ended."""
        if self.state not in STATES:
            return f"{self.state} (a state that this program does not know)"
        if self.job_state is not JobState.FAILED or self.exit_code is None:
            return self.state
        return f"{self.state}, signal {self.signal}" if self.signal else f"{self.state}, exit code {self.exit_code}"

    @property
    def seen(self) -> JobSeen:
        """The job as every facility's are seen."""
        return JobSeen(
            job_id=self.job_id,
            name=self.name,
            state=self.state,
            job_state=self.job_state,
            words=self.words,
            exit_code=self.exit_code,
            submitted=self.submitted,
            started=self.started,
            ended=self.ended,
            nodes=self.nodes,
            interrupted=self.state in NO_FAULT_OF_THE_JOB,
        )


def slurm_of(spec: JobSpec) -> SlurmResources:
    """What a job asks of Slurm. Raises ValueError for one that was made for another kind of facility."""
    if not isinstance(spec.resources, SlurmResources):
        raise ValueError(f"{spec.label} asks for {type(spec.resources).__name__}: Slurm wants an account and a queue")
    return spec.resources


def render_script(spec: JobSpec, name: str) -> str:
    """The whole batch script. Every ``#SBATCH`` line starts at column 0: Slurm ignores an indented one silently."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no job name: 1 to 64 of a-z, 0-9 and '-'")
    return f"#!/bin/bash\n{_head(slurm_of(spec), name)}\n{spec.body}{_links(spec)}"


def log_paths(resources: SlurmResources, name: str, job_id: str) -> tuple[str, str]:
    """Where the job's standard output and standard error lie."""
    return f"{resources.logs}/{name}_{job_id}.out", f"{resources.logs}/{name}_{job_id}.err"


def quote(value: str) -> str:
    """One word of bash that stands for ``value``, on one line.

    What has control characters, invisible characters or bytes that are no UTF-8 is written as ``$'...'``: raw, a
    carriage return makes sbatch refuse the script, and the others cannot be read or not be sent.
    """
    if "\0" in value:
        raise ValueError(f"{value!r} holds a NUL character: no argument can")
    if value.isprintable():
        return shlex.quote(value)
    return "$'" + "".join(_escaped(byte) for byte in os.fsencode(value)) + "'"


def parse_row(row: Mapping[str, str | None]) -> SlurmRow:
    """A row of ``sacct -P -o ALL`` or ``squeue -o %all``, as the Superfacility API gives it: keys in lower case.

    Raises KeyError where it names no job or no state.
    """
    exit_code, _, signal = (row.get("exitcode") or "").partition(":")
    return SlurmRow(
        job_id=str(row["jobid"]),
        name=row.get("jobname") or row.get("name") or "",
        state=str(row["state"]).split(" ")[0].rstrip("+"),
        exit_code=int(exit_code) if exit_code.isdigit() else None,
        signal=int(signal) if signal.isdigit() else None,
        submitted=parse_time(row.get("submit") or row.get("submit_time")),
        started=parse_time(row.get("start") or row.get("start_time")),
        ended=parse_time(row.get("end")),
        nodes=split_nodes(row.get("nodelist")),
    )


def split_nodes(text: str | None) -> tuple[str, ...]:
    """The names, or ranges of names, in a list of nodes."""
    return tuple(part for part in _BETWEEN_NODES.split(text or "") if part and part != "None assigned")


def parse_time(text: str | None) -> datetime | None:
    """A time of Slurm (local, no zone) in UTC; None for ``Unknown``, ``N/A`` and the like."""
    try:
        return datetime.fromisoformat(text or "").replace(tzinfo=ZONE).astimezone(UTC)
    except ValueError:
        return None


def format_time(moment: datetime) -> str:
    """A time as ``sacct --starttime`` takes it."""
    return moment.astimezone(ZONE).strftime("%Y-%m-%dT%H:%M:%S")


def fill(template: str, values: Mapping[str, str | tuple[str, ...]]) -> str:
    """Put quoted words where a template says ``@{name}``: bash has its own use for ``$``."""
    words = {
        name: quote(value) if isinstance(value, str) else " ".join(map(quote, value)) for name, value in values.items()
    }
    return _PLACEHOLDER.sub(lambda match: words[match[1]], template)


def links(paths: Iterable[str], logs: PurePosixPath) -> str:
    """Lines that make those files readable whose paths cannot be asked for (see paths)."""
    return "".join(
        f"ln --symbolic --force --no-dereference -- {quote(path)} {quote(askable(path, logs))}\n"
        for path in paths
        if not is_askable(path)
    )


def _head(resources: SlurmResources, name: str) -> str:
    options = [
        f"-q {resources.queue}",
        f"-A {resources.account}",
        *([f"-C {quote(resources.constraint)}"] if resources.constraint else []),
        f"-N {resources.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={resources.cpus_per_task}",
        f"--time={_limit(resources.time_limit)}",
        *(["--exclusive"] if resources.exclusive else []),
        f"-J {name}",
        f"--comment={name}",
        f"-o {quote(f'{resources.logs}/%x_%j.out')}",
        f"-e {quote(f'{resources.logs}/%x_%j.err')}",
    ]
    return "".join(f"#SBATCH {option}\n" for option in options)


def _links(spec: JobSpec) -> str:
    return links([output.manifest.posix for output in spec.outputs], spec.resources.logs)


def _limit(limit: timedelta) -> str:
    seconds = int(limit.total_seconds())
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _escaped(byte: int) -> str:
    character = chr(byte)
    if character in "'\\":
        return "\\" + character
    return character if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"
