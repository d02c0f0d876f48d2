"""A small job that looks around at a facility: image, program, and folders that jobs write to.

Belongs here: the job, and reading what it has found.
Does not: what is right (als_assets.operations.doctor), or how it is submitted (nersc).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from beamlines.facilities import FacilityRules, SlurmResources
from beamlines.places import Place
from resources.facilities import JobSpec
from resources.facilities.reconstruction import launch
from resources.facilities.slurm import fill

TEMPLATE = Path(__file__).with_name("examine.sh.template")
MAY_WAIT = timedelta(minutes=10)
"""In the queue: a scan that waits longer is not seen within the hour."""
_TIME_LIMIT = timedelta(minutes=5)
_FOUND = re.compile(r"als-found (?P<what>[a-z0-9-]+) (?P<value>.*)")
_WRITABLE = re.compile(r"mode (?P<mode>[0-7]{3,4})")


@dataclass(frozen=True, slots=True)
class Found:
    """What the job has found."""

    digest: str
    """Of the image: ``sha256:...``, or the container runtime's own words why there is none."""
    version: str
    """Of the program in the image, or why it does not run."""
    folders: tuple[str, ...]
    """Of each folder the octal mode of a file that was written there, or why none could be."""


def examination(facility: FacilityRules, work: Place, folders: Sequence[str]) -> JobSpec:
    """The job: one core for some seconds, in the queue that reconstructions use."""
    values: dict[str, str | tuple[str, ...]] = {
        "umask": work.umask,
        "image": facility.program.image or "",
        "environment": str(facility.program.environment or ""),
        "launch": launch(facility),
        "folders": tuple(folders),
    }
    body = fill(TEMPLATE.read_text("utf-8"), values)
    small: dict[str, Any] = {"cpus_per_task": 1, "time_limit": _TIME_LIMIT}
    if isinstance(facility.resources, SlurmResources):
        small |= {"nodes": 1, "exclusive": False}
    resources = facility.resources.model_copy(update=small)
    return JobSpec("examination", (), work, body, resources, may_wait=MAY_WAIT)


def read_found(log: str, folders: int) -> Found:
    """What stands in the job's output; of what is missing, that it is missing."""
    said = {match["what"]: match["value"].strip() for line in log.splitlines() if (match := _FOUND.fullmatch(line))}

    def value(what: str) -> str:
        return said.get(what) or "the job did not say"

    return Found(value("digest"), value("version"), tuple(_mode(value(f"folder-{n}")) for n in range(folders)))


def _mode(value: str) -> str:
    match = _WRITABLE.fullmatch(value)
    return match["mode"] if match else value
