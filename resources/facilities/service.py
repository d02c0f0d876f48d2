"""What one facility offers: jobs, and files. The seam between what is true of every facility and one facility's API.

Belongs here: the two protocols, and the values that cross them.
Does not: any API (superfacility, ...), or what is made of it (the facility itself: what to believe, when to give up).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, TypeAlias

from resources.facilities.job import FileTooLargeError, JobSpec
from resources.remote import JobState


@dataclass(frozen=True, slots=True)
class JobSeen:
    """One job as its service shows it. Times are aware, in UTC."""

    job_id: str
    name: str
    state: str
    """The service's own word, such as COMPLETED."""
    job_state: JobState
    words: str
    """The state for people, with how the job ended."""
    exit_code: int | None = None
    submitted: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    nodes: tuple[str, ...] = ()
    interrupted: bool = False
    """It ended by no fault of its own: a new attempt may mend it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing."""

    name: str
    size_bytes: int
    is_folder: bool
    modified: datetime | None = None
    """Aware, in UTC; None where the service does not tell."""


class Health(StrEnum):
    """How a facility is, in the words of the Superfacility API, which IRI's has too."""

    ACTIVE = "active"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"
    OTHER = "other"
    """Also what cannot be asked."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which a facility is not to be had. Aware, in UTC; no end where none is known."""

    start: datetime
    end: datetime | None
    why: str

    def covers(self, time: datetime) -> bool:
        """Whether it has begun by then, and not ended."""
        return self.start <= time and (self.end is None or time < self.end)

    @property
    def said(self) -> str:
        """It, in words."""
        end = "with no end that is known" if self.end is None else f"until {self.end:%Y-%m-%d %H:%M} UTC"
        return f"{self.why}, from {self.start:%Y-%m-%d %H:%M} UTC {end}"


@dataclass(frozen=True, slots=True)
class FacilityState:
    """How a facility is now, and which outages it has announced."""

    health: Health
    why: str = ""
    outages: tuple[Outage, ...] = ()

    @property
    def said(self) -> str:
        """How it is, in words."""
        return f"{self.health}: {self.why}" if self.why and self.health is not Health.ACTIVE else str(self.health)

    def outage(self, now: datetime) -> str | None:
        """Why nothing is to be sent there now, in words, with its end where one is known; None where work may go.

        An announced outage without an end counts only while the facility is not well: nobody may ever withdraw it.
        """
        for outage in self.outages:
            if outage.covers(now) and outage.end is not None:
                same_day = outage.end.date() == now.date()
                return f"{outage.why} until {outage.end:{'%H:%M' if same_day else '%Y-%m-%d %H:%M'}} UTC"
            if outage.covers(now) and self.health is not Health.ACTIVE:
                return outage.why
        return self.said if self.health is Health.UNAVAILABLE else None


Content: TypeAlias = bytes | FileNotFoundError | FileTooLargeError
"""What a file holds, or why it cannot be had."""


class JobService(Protocol):
    """Jobs. Every method may raise ServiceUnavailableError or ServiceRefusedError; none repeats a submit by itself."""

    def submit(self, job: JobSpec, name: str) -> str:
        """Submit once and return the job's id. ServiceUnavailableError means: perhaps submitted; look with ``find``."""

    def find(self, name: str, *, since: datetime) -> str | None:
        """The id of the job that was submitted under this name, after ``since``; None where there is none."""

    def job(self, job_id: str) -> JobSeen:
        """One job. Raises LookupError where the service does not show it (yet, or any more)."""

    def jobs(self, prefix: str, *, since: datetime) -> list[JobSeen]:
        """Every job whose name begins so, of those submitted after ``since`` and of all that have not ended."""

    def cancel(self, job_id: str) -> None:
        """Ask for its end; returns when the request was accepted."""

    def log_paths(self, job: JobSpec, seen: JobSeen) -> tuple[str, str]:
        """Where the job's standard output and standard error lie, as jobs there see it."""

    def state(self) -> FacilityState:
        """How the facility is; asked without credentials where it allows that."""

    def credentials_until(self) -> datetime | None:
        """When the credentials end; None where they do not. Raises CredentialsRefusedError where none can be used."""

    def close(self) -> None:
        """Let the connection go."""


class Files(Protocol):
    """Small files at a facility. Every method may raise ServiceUnavailableError or ServiceRefusedError."""

    @property
    def look_every(self) -> timedelta:
        """How often a log may be looked at while its job runs: each look fetches all of it."""

    def list(self, path: str) -> list[Entry]:
        """The file, or what lies in the folder. Raises FileNotFoundError."""

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        """A file's content. Raises FileNotFoundError, and FileTooLargeError beyond the limit."""

    def read_all(self, paths: Sequence[str], *, limit_bytes: int) -> Mapping[str, Content]:
        """The same of several at once: where each would cost a transfer, all cost one. Errors are told by file."""


def read_each(files: Files, paths: Sequence[str], *, limit_bytes: int) -> dict[str, Content]:
    """``read_all`` where every file is asked for by itself."""
    answers: dict[str, Content] = {}
    for path in paths:
        try:
            answers[path] = files.read(path, limit_bytes=limit_bytes)
        except (FileNotFoundError, FileTooLargeError) as error:
            answers[path] = error
    return answers
