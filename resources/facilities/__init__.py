"""Where jobs run: what became of a job, and what every facility can do. In the words of PSI/J and of IRI.

Belongs here: JobResult, the Facility protocol.
Does not: what a job is (job), any one facility's service (service, nersc, ...), what a job does (reconstruction).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from beamlines.layout import Artifact
from beamlines.manifest import Manifest
from resources.facilities.job import FileTooLargeError as FileTooLargeError
from resources.facilities.job import JobSpec as JobSpec
from resources.facilities.job import Output as Output
from resources.facilities.job import Staged as Staged
from resources.facilities.service import Content, FacilityState, JobSeen
from resources.remote import Attempt, Pulse, RemoteStatus
from resources.work import WorkKey


class JobResult(BaseModel):
    """What became of a job: evidence, JSON-able. Times are aware, in UTC, and as the facility tells them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    facility: str
    job_id: str
    name: str
    state: str
    """The scheduler's own word, such as COMPLETED."""
    exit_code: int | None
    submitted: datetime | None
    started: datetime | None
    ended: datetime | None
    queue_seconds: float | None
    job_seconds: float | None
    stage_seconds: dict[str, float]
    """By step, from the marks in the job's log."""
    nodes: tuple[str, ...]
    logs: tuple[str, ...]
    """Paths of standard output and standard error at the facility."""
    log_tail: str
    manifests: dict[Artifact, Manifest]
    reused: bool = False
    """It ran before, as said here, and its outputs lie there still: nothing was submitted now."""

    @classmethod
    def from_evidence(
        cls, evidence: dict[str, Any], manifests: dict[Artifact, Manifest], *, reused: bool = False
    ) -> "JobResult":
        """The result as the ledger keeps it (``JobEvidence``), with the manifests, which the ledger does not keep."""
        known = {name: evidence[name] for name in cls.model_fields if name in evidence}
        return cls.model_validate({**known, "manifests": manifests, "reused": reused})


class Facility(Protocol):
    """Where jobs run. Every method may raise ServiceUnavailableError or ServiceRefusedError."""

    @property
    def name(self) -> str:
        """The facility's name in the beamline's file."""

    def begin(self, job: JobSpec, key: WorkKey) -> Attempt:
        """Submit the job, or attach to it where it was submitted before.

        Raises NotAllowedError, before anything is sent, for a scan that may not be at the facility.
        """

    def finish(self, attempt: Attempt, pulse: Pulse) -> JobResult:
        """Wait for the end. Raises WorkFailedError, with the job's own last words, where it did not end well."""

    def run(self, job: JobSpec, key: WorkKey, pulse: Pulse) -> JobResult:
        """``begin`` and ``finish``."""

    def submit(self, job: JobSpec, name: str) -> str:
        """Submit once and return the job's id. ServiceUnavailableError means: perhaps submitted; look with ``find``."""

    def find(self, name: str, *, since: datetime) -> str | None:
        """The id of the job that was submitted under this name, after ``since``; None where there is none."""

    def status(self, job_id: str) -> RemoteStatus:
        """How it stands, by the scheduler alone. Raises LookupError where no table shows it (yet, or any more)."""

    def cancel(self, job_id: str) -> None:
        """Ask for its end; returns when the request was accepted."""

    def log(self, path: str, *, tail_lines: int) -> str:
        """The end of one of the job's log files. Raises FileNotFoundError."""

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        """A small file at the facility. Raises FileNotFoundError, and FileTooLargeError beyond the limit."""

    def read_all(self, paths: Sequence[str], *, limit_bytes: int) -> Mapping[str, Content]:
        """The same of several at once: where each would cost a transfer, all cost one. Errors are told by file."""

    def jobs(self, prefix: str, *, since: datetime) -> list[JobSeen]:
        """Every job whose name begins so, of those submitted after ``since`` and of all that have not ended."""

    def state(self) -> FacilityState:
        """How it is, and which outages it has announced."""

    def credentials_until(self) -> datetime | None:
        """When the credentials end; None where they do not. Raises CredentialsRefusedError where none can be used."""

    def close(self) -> None:
        """Let the connection go."""


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """How long from one to the other; None where one is not known."""
    return None if start is None or end is None else (end - start) / timedelta(seconds=1)
