"""The reconstruction of one scan as a batch job: stage, reconstruct, pyramid.

Belongs here: what such a job is, its script, its outputs. Pure: nothing is read, sent or run.
Does not: how it is submitted (nersc), or the program that reconstructs (tomography, in the image).
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path, PurePosixPath

from beamlines.config import Beamline
from beamlines.facilities import FacilityRules, SlurmResources
from beamlines.layout import Artifact, Copy
from beamlines.places import Location, Place, Store
from beamlines.scans import PartitionKey
from resources.facilities import JobSpec, Output, Staged
from resources.facilities.slurm import fill, render_script

TEMPLATE = Path(__file__).with_name("reconstruct.sh.template")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_OPTION = re.compile(r"--[a-z][a-z0-9-]*")
_VALUE = re.compile(r"(?:-?[0-9]|[A-Za-z:])[A-Za-z0-9.,:+-]*")


class Step(StrEnum):
    """What a job can do, in this order; the last two in one pass, where both are wanted."""

    STAGE = "stage"
    RECONSTRUCT = "reconstruct"
    PYRAMID = "pyramid"


MAKES = {Step.RECONSTRUCT: Artifact.TIFF, Step.PYRAMID: Artifact.ZARR}


class InvalidJobError(ValueError):
    """A job that cannot be described: says which value, and what is allowed."""


@dataclass(frozen=True, slots=True)
class ReconstructionJob:
    """One scan to be worked on at one facility. Raises InvalidJobError for values that no job can have."""

    key: PartitionKey
    facility: FacilityRules
    steps: tuple[Step, ...]
    source: Copy
    """The durable raw copy that is staged."""
    raw: Copy
    """Where it is staged to."""
    tiff: Copy
    zarr: Copy
    raw_bytes: int
    raw_sha256: str
    settings: tuple[str, ...] = ()
    """Options and values of ``python -m tomography reconstruct``."""
    keeps_raw: bool = False
    """The staged raw file is wanted for itself: where it is gone, a result that lies there still is not all of it."""

    def __post_init__(self) -> None:
        if not self.steps or list(self.steps) != [step for step in Step if step in self.steps]:
            raise InvalidJobError(f"steps {self.steps}: some of {[str(s) for s in Step]}, each once, in this order")
        if not _SHA256.fullmatch(self.raw_sha256) or self.raw_bytes < 0:
            raise InvalidJobError(f"raw file of {self.raw_bytes} bytes, SHA-256 {self.raw_sha256!r}: not a file's")
        for before, word in zip(("", *self.settings), self.settings, strict=False):
            if not (_OPTION.fullmatch(word) or (_OPTION.fullmatch(before) and _VALUE.fullmatch(word))):
                raise InvalidJobError(f"settings: {word!r} is no option, and no value of {before!r}")

    @classmethod
    def at(
        cls,
        beamline: Beamline,
        facility: str,
        key: PartitionKey,
        *,
        steps: tuple[Step, ...],
        raw_bytes: int,
        raw_sha256: str,
        settings: tuple[str, ...] = (),
        keeps_raw: bool = False,
    ) -> "ReconstructionJob":
        """The job for one partition at a facility of the beamline's file."""
        config = beamline.facilities[facility]
        work = beamline.places[config.work]
        return cls(
            key=key,
            facility=config,
            steps=steps,
            source=Copy(beamline.places[config.raw], Artifact.RAW),
            raw=Copy(work, Artifact.RAW),
            tiff=Copy(work, Artifact.TIFF, facility),
            zarr=Copy(work, Artifact.ZARR, facility),
            raw_bytes=raw_bytes,
            raw_sha256=raw_sha256,
            settings=settings,
            keeps_raw=keeps_raw,
        )

    def spec(self) -> JobSpec:
        """The job as any facility takes it."""
        return JobSpec(
            label=f"{'+'.join(self.steps)} of {self.key}",
            scans=(self.key.scan,),
            place=self.raw.place,
            body=fill(_template(), self._values()),
            resources=self.facility.resources,
            outputs=tuple(self._output(MAKES[step]) for step in self.steps if step in MAKES),
            staged=(Staged(self.raw.location(self.key), self.raw_bytes),) if self.keeps_raw else (),
        )

    def _output(self, artifact: Artifact) -> Output:
        copy = self.tiff if artifact is Artifact.TIFF else self.zarr
        return Output(
            artifact=artifact,
            product=copy.location(self.key),
            manifest=copy.manifest(self.key),
            program_version=self.facility.program.version,
            raw_sha256=self.raw_sha256,
        )

    def _values(self) -> dict[str, str | tuple[str, ...]]:
        raw, tiff, zarr = (copy.location(self.key) for copy in (self.raw, self.tiff, self.zarr))
        program = self.facility.program
        return {
            "steps": self.steps,
            "source": self.source.location(self.key).posix,
            "raw": raw.posix,
            "raw_folder": _folder(raw),
            "raw_bytes": str(self.raw_bytes),
            "raw_sha256": self.raw_sha256,
            "results_folder": _folder(tiff),
            "raw_root": str(_root(raw.place, Store.RAW)),
            "results_root": str(_root(tiff.place, Store.RESULTS)),
            "program_raw": self._seen_by_the_program(raw, Store.RAW),
            "program_tiff": self._seen_by_the_program(tiff, Store.RESULTS),
            "program_zarr": self._seen_by_the_program(zarr, Store.RESULTS),
            "settings": self.settings,
            "image": program.image or "",
            "environment": str(program.environment or ""),
            "program_version": program.version,
            "launch": launch(self.facility),
            "launch_parts": launch_parts(self.facility),
            "threads": str(self.facility.resources.cpus_per_task),
            "umask": self.raw.place.umask,
            "dir_mode": self.raw.place.dir_mode,
            "file_mode": self.raw.place.file_mode,
            "group": self.raw.place.group or "",
            "check": "check_program" if any(step in MAKES for step in self.steps) else "true",
        }

    def _seen_by_the_program(self, location: Location, store: Store) -> str:
        """In an image the script mounts a store as ``/raw`` or ``/results``."""
        if self.facility.program.image is None:
            return location.posix
        return str(PurePosixPath("/", store) / location.path.relative_to(location.place.stores[store]))


def launch(facility: FacilityRules) -> tuple[str, ...]:
    """The words with which a job starts a program on its node."""
    return _srun(facility.resources, "--ntasks=1") if isinstance(facility.resources, SlurmResources) else ()


def launch_parts(facility: FacilityRules) -> tuple[str, ...]:
    """The words with which a job starts one part of a program on each of its nodes; none where it has only one."""
    resources = facility.resources
    if not isinstance(resources, SlurmResources) or resources.nodes == 1:
        return ()
    return _srun(resources, f"--ntasks={resources.nodes}", "--ntasks-per-node=1")


def _srun(resources: SlurmResources, *tasks: str) -> tuple[str, ...]:
    return ("srun", *tasks, f"--cpus-per-task={resources.cpus_per_task}")


def render_slurm_script(job: ReconstructionJob, name: str) -> str:
    """The job's whole batch script under the name that the ledger gave it."""
    return render_script(job.spec(), name)


@cache
def _template() -> str:
    return TEMPLATE.read_text(encoding="utf-8")


def _root(place: Place, store: Store) -> PurePosixPath:
    return place.posix_root / place.stores[store]


def _folder(location: Location) -> str:
    return str(PurePosixPath(location.posix).parent)
