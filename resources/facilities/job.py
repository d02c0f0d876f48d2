"""A job: whose data it touches, where it works, what it runs, and what it must leave behind.

Belongs here: JobSpec and Output.
Does not: what became of one, or where it runs (resources.facilities), or what it does (reconstruction).
"""

from dataclasses import dataclass
from datetime import timedelta

from beamlines.facilities import JobResources
from beamlines.layout import Artifact
from beamlines.places import Location, Place
from beamlines.scans import ScanId


@dataclass(frozen=True, slots=True)
class Output:
    """What a job must leave behind to be believed: a manifest of this artifact, by this version of the program."""

    artifact: Artifact
    product: Location
    manifest: Location
    program_version: str
    raw_sha256: str | None = None
    """What the manifest must say about its input, where it says anything."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A file that a job must leave where it works: it has compared the checksum itself, and its size is looked at."""

    location: Location
    bytes: int


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A batch job, less its name: that carries the ledger's key and is given when the job is submitted."""

    label: str
    """What the job is, for people; encoded, never a name that a user typed."""
    scans: tuple[ScanId, ...]
    """Whose data it touches: none of them may be export controlled away from ``place``."""
    place: Place
    """Where it works."""
    body: str
    """Bash, without ``#!`` and ``#SBATCH`` lines; every value in it quoted by whoever wrote it."""
    resources: JobResources
    outputs: tuple[Output, ...] = ()
    staged: tuple[Staged, ...] = ()
    may_wait: timedelta | None = None
    """How long it may wait in the queue; None for as long as the deployment gives every job."""


class FileTooLargeError(ValueError):
    """A file at a facility that is larger than what the reader is prepared to take."""
