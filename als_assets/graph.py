"""What a beamline's graph consists of, as its sensors, commands and operations need to know it.

Belongs here: Graph, and the jobs of one branch.
Does not: which assets a beamline has (a folder a beamline), or which beamlines there are (registry).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from als_assets.naming import asset_key, scan_partitions
from beamlines.branches import Branch
from beamlines.config import Beamline
from beamlines.layout import Artifact, Copy
from tomography.settings import Settings, described


@dataclass(frozen=True, slots=True)
class Graph:
    """A beamline's assets and jobs, and what its sensors need to know of them."""

    beamline: Beamline
    assets: list[dg.AssetsDefinition | dg.AssetSpec]
    partitions: dg.DynamicPartitionsDefinition
    copies: list[Copy]
    """What every asset is a copy of."""
    arrival: dg.AssetKey
    ingested: dg.AssetKey
    seen: dg.AssetKey
    """The first look at it."""
    ingest: "ScanJob"
    branches: dict[str, "BranchJob"]
    statuses: dict[str, dg.AssetKey]
    """By facility: the asset whose history is the facility's."""
    again: dict[str, "AgainJob"]
    """Jobs that no sensor starts: a person reconstructs a scan again, at a facility."""
    compare: "ComparisonJob | None"
    """Two results of a scan, side by side; None where none are kept on site."""
    catalogue: "CatalogueJob | None"
    """What describes scans in the catalogue; None where no catalogue is told anything."""
    flight_check: dg.JobDefinition | None
    """None where the beamline has none."""
    operations: list[dg.JobDefinition]
    """Jobs about the platform rather than one scan's data."""

    def branch(self, name: str) -> "BranchJob":
        """A facility's branch. Raises ValueError for one that is not there."""
        if name not in self.branches:
            raise ValueError(f"there is no branch {name!r}; there are {', '.join(sorted(self.branches))}")
        return self.branches[name]

    def way(self, branch: str) -> list[dg.AssetKey]:
        """Every asset that a scan has once it has gone through a branch."""
        by_facilities = [copy for one in self.branches.values() for copy in one.copies]
        # A comparison is made when a person asks for it: no scan waits for one.
        asked_for = (Artifact.COMPARISON,)
        before = [copy for copy in self.copies if copy not in by_facilities and copy.artifact not in asked_for]
        return [asset_key(self.beamline, copy) for copy in (*before, *self.branches[branch].copies)]

    @property
    def jobs(self) -> list[UnresolvedAssetJobDefinition | dg.JobDefinition]:
        """All of them."""
        branches = [branch.job.definition for branch in self.branches.values()]
        again = [again.job.definition for again in self.again.values()]
        compare = [] if self.compare is None else [self.compare.job.definition]
        checks = [] if self.flight_check is None else [self.flight_check]
        entries = [] if self.catalogue is None else [self.catalogue.job.definition]
        return [self.ingest.definition, *branches, *again, *compare, *entries, *checks, *self.operations]


@dataclass(frozen=True, slots=True)
class ScanJob:
    """A job, and its partitions: Dagster infers those from its assets, and the job itself does not know them."""

    definition: UnresolvedAssetJobDefinition
    partitions_def: dg.DynamicPartitionsDefinition

    @property
    def name(self) -> str:
        return self.definition.name


@dataclass(frozen=True, slots=True)
class BranchJob:
    """A facility's job, and the asset by which one tells that a scan has entered it."""

    job: ScanJob
    first: dg.AssetKey
    copies: list[Copy]
    """What it makes, in order."""


@dataclass(frozen=True, slots=True)
class AgainJob:
    """A facility's job that makes a labelled reconstruction."""

    job: ScanJob
    step: str
    """The one that takes the settings."""
    raw: Copy
    """What it needs, recorded under the scan's own key."""
    products: list[Copy]
    """What it makes, in order."""

    def config(self, settings: Settings) -> Mapping[str, Any]:
        """The run configuration that stands for these settings."""
        return {"ops": {self.step: {"config": settings.model_dump(mode="json")}}}


@dataclass(frozen=True, slots=True)
class ComparisonJob:
    """The job that compares two results of a scan; its partition is that of the second."""

    job: ScanJob
    step: str
    """The one that takes the configuration: ``first`` (a label, or nothing) and ``facility``."""
    comparison: Copy
    results: Mapping[str, Sequence[Copy]]
    """What can be compared, by facility, the best to read first."""


@dataclass(frozen=True, slots=True)
class CatalogueJob:
    """The job that describes scans and reconstructions, and what each entry is made of."""

    job: ScanJob
    raw: "Described"
    reconstructions: Mapping[str, "Described"]
    """By facility."""

    @property
    def entries(self) -> list[dg.AssetKey]:
        """All that a scan can have."""
        return [self.raw.entry, *(one.entry for one in self.reconstructions.values())]

    def way(self, branch: str) -> list[dg.AssetKey]:
        """The entries of a scan that has gone through a branch."""
        return [self.raw.entry, *([self.reconstructions[branch].entry] if branch in self.reconstructions else [])]


@dataclass(frozen=True, slots=True)
class Described:
    """An entry, and the assets that it tells of."""

    entry: dg.AssetKey
    first: dg.AssetKey
    """Without it there is nothing to describe."""
    last: dg.AssetKey
    """Once it is there too, everything is."""
    copies: Sequence[Copy]
    """Where the data lie: a deletion of one is told."""


def scan_job(beamline: Beamline, name: str, copies: Sequence[Copy], description: str, **tags: str) -> ScanJob:
    """``<beamline>_<name>``: makes these copies of one scan. Tags are called ``als/<tag>``."""
    job = dg.define_asset_job(
        f"{beamline.name}_{name}",
        selection=[asset_key(beamline, copy) for copy in copies],
        description=description,
        tags={f"als/{tag}": value for tag, value in tags.items()},
    )
    return ScanJob(job, scan_partitions(beamline))


def branch_job(beamline: Beamline, facility: str, branch: Branch) -> BranchJob:
    """The job that a router starts for a scan."""
    what = f"One scan through {facility}: raw there, reconstruction, pyramid, and both copied to where they are kept."
    job = scan_job(beamline, facility, branch.copies, what, branch=facility)
    return BranchJob(job, asset_key(beamline, branch.first), branch.copies)


def again_job(beamline: Beamline, facility: str, branch: Branch) -> AgainJob:
    """The job that a person starts for a labelled partition."""
    what = (
        f"A scan reconstructed again at {facility} with other settings, under a label: "
        "run the partition `<scan>@<label>`. The result lies beside the first one. Settings:\n\n"
        + "\n".join(f"- `{name}`: {described(name)}" for name in Settings.model_fields)
    )
    job = scan_job(beamline, f"{facility}_again", branch.products, what, branch=facility)
    step = next(branch.step(made) for made in branch.jobs if Artifact.TIFF in made)
    return AgainJob(job, step, branch.raw, branch.products)
