"""Facilities as a beamline's file states them: what kind each is, where its jobs work, what they ask for and run.

Belongs here: the models of ``facilities:`` in ``config/<beamline>.yaml``.
Does not: addresses and credentials (deployment), or what a kind does (resources.facilities).
"""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from beamlines.places import AbsolutePath


class Strict(BaseModel):
    """A section of a configuration file: frozen, and a key that nobody reads is an error."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True, extra="forbid")


class Program(Strict):
    """The programs that jobs run, as they are found at a facility: in a container's image, or in an environment."""

    version: str
    """Of ``tomography``: a job ends at once where it finds another, and a manifest of another is refused."""
    image: str | None = Field(default=None, pattern=r"^[a-z0-9./:@_-]+$")
    environment: AbsolutePath | None = None
    """A script of bash that puts ``python`` with the program on the path."""

    @model_validator(mode="after")
    def _is_in_one_place(self) -> Self:
        if self.image is not None and self.environment is not None:
            raise ValueError("name either 'image' or 'environment'")
        return self

    @property
    def said(self) -> str:
        """Where it comes from, in words; part of what a result was made with."""
        return self.image or str(self.environment or "this machine's own Python")


class JobResources(Strict):
    """What a job asks for, whoever runs it."""

    cpus_per_task: int = Field(ge=1)
    time_limit: timedelta
    logs: AbsolutePath
    """Folder of the jobs' output files, as jobs see it before a deployment's prefix."""


class SlurmResources(JobResources):
    """What a batch job asks of Slurm; rendered as #SBATCH lines."""

    queue: str = Field(pattern=r"^[a-z0-9_-]+$")
    account: str = Field(pattern=r"^[a-z0-9_-]+$")
    constraint: str | None = Field(default=None, pattern=r"^[a-z0-9_&|-]+$")
    nodes: int = Field(ge=1)
    exclusive: bool


class Rules(Strict):
    """What every kind of facility states."""

    raw: str
    """The place that jobs take the raw file from: a durable one, or the one where they work."""
    work: str
    """The place where jobs read and write."""
    results: tuple[str, ...]
    """Places that products are copied to when the jobs are done."""
    jobs: Literal["fused", "separate"]
    """One job that reconstructs and builds the pyramid, or two."""
    program: Program


class SuperfacilityRules(Rules):
    """Slurm jobs through the NERSC Superfacility API."""

    kind: Literal["superfacility"]
    machine: str = Field(pattern=r"^[a-z]+$")
    resources: SlurmResources


class SlurmRestRules(Rules):
    """Slurm jobs through the Slurm REST API, as OLCF's S3M has it."""

    kind: Literal["slurm-rest"]
    resources: SlurmResources


class ComputeRules(Rules):
    """Tasks of Globus Compute on one of a facility's own endpoints, as ALCF has them."""

    kind: Literal["globus-compute"]
    endpoint: str = Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    user_endpoint_config: dict[str, Any]
    """What the endpoint's template asks for, such as account, queue and the scheduler's options."""
    resources: JobResources


class ProcessRules(Rules):
    """Processes on the machine that runs Dagster."""

    kind: Literal["process"]
    resources: JobResources


FacilityRules = Annotated[
    SuperfacilityRules | SlurmRestRules | ComputeRules | ProcessRules, Field(discriminator="kind")
]
FACILITY_KINDS = ("superfacility", "slurm-rest", "globus-compute", "process")
