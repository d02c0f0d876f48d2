"""The graph of 8.3.2, put together from its configuration.

Belongs here: the order of the factories. Does not: anything about one running system.
"""

from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from als_assets.branch import Branch, job_assets, return_asset
from als_assets.naming import asset_key, scan_partitions
from als_assets.operations.announce import announce_job
from als_assets.operations.flight_check import flight_check_job
from als_assets.operations.register import register_job
from als_assets.preview import preview_asset
from als_assets.raw import arrival_spec, first_copy, onward_copy
from beamlines.config import Beamline
from beamlines.layout import Artifact, Copy


@dataclass(frozen=True, slots=True)
class Graph:
    """A beamline's assets and jobs, and what its sensors need to know of them."""

    assets: list[dg.AssetsDefinition | dg.AssetSpec]
    partitions: dg.DynamicPartitionsDefinition
    copies: list[Copy]
    """What every asset is a copy of."""
    arrival: dg.AssetKey
    ingested: dg.AssetKey
    preview: dg.AssetKey
    ingest: "ScanJob"
    branches: dict[str, "BranchJob"]
    again: list[UnresolvedAssetJobDefinition]
    """Jobs that no sensor starts: a person reconstructs a scan again."""
    flight_check: dg.JobDefinition | None
    """None where the beamline has none."""
    operations: list[dg.JobDefinition]
    """Jobs about the platform rather than one scan's data."""

    @property
    def jobs(self) -> list[UnresolvedAssetJobDefinition | dg.JobDefinition]:
        """All of them."""
        branches = [branch.job.definition for branch in self.branches.values()]
        checks = [] if self.flight_check is None else [self.flight_check]
        return [self.ingest.definition, *branches, *self.again, *checks, *self.operations]


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


def build(beamline: Beamline) -> Graph:
    """The whole graph: arrival, first copy, preview, and one branch a facility."""
    arrived = Copy(beamline.places[beamline.scans.place], Artifact.RAW)
    site = beamline.places[beamline.scans.first_copy]
    first, preview = Copy(site, Artifact.RAW), Copy(site, Artifact.PREVIEW)
    partitions = scan_partitions(beamline)
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
        arrival_spec(beamline, arrived),
        first_copy(beamline, arrived, first),
        preview_asset(beamline, first, preview),
    ]
    copies = [arrived, first, preview]
    jobs: dict[str, BranchJob] = {}
    again: list[UnresolvedAssetJobDefinition] = []
    for name in beamline.facilities:
        branch = Branch.of(beamline, name, first)
        copies += branch.copies
        assets += [
            onward_copy(beamline, first, branch.raw),
            *job_assets(beamline, branch),
            return_asset(beamline, branch),
        ]
        job = dg.define_asset_job(
            f"{beamline.name}_{name}",
            selection=[asset_key(beamline, copy) for copy in branch.copies],
            description=f"One scan through {name}: raw there, reconstruction, pyramid, and both copied back.",
            tags={"als/branch": name},
        )
        again.append(
            dg.define_asset_job(
                f"{beamline.name}_{name}_again",
                selection=[asset_key(beamline, copy) for copy in branch.products],
                description=f"A scan reconstructed again at {name} with other settings, under a label: "
                "run the partition `<scan>@<label>`. The result lies beside the first one.",
                tags={"als/branch": name},
            )
        )
        jobs[name] = BranchJob(ScanJob(job, partitions), asset_key(beamline, branch.raw))
    ingest = dg.define_asset_job(
        f"{beamline.name}_ingest",
        selection=[asset_key(beamline, first), asset_key(beamline, preview)],
        description=f"A new scan, copied to {site.name}, verified, and looked at.",
        tags={"als/ingest": beamline.name},
    )
    return Graph(
        assets=assets,
        partitions=partitions,
        copies=copies,
        arrival=asset_key(beamline, arrived),
        ingested=asset_key(beamline, first),
        preview=asset_key(beamline, preview),
        ingest=ScanJob(ingest, partitions),
        branches=jobs,
        again=again,
        flight_check=flight_check_job(beamline, beamline.flight_check) if beamline.flight_check else None,
        operations=[announce_job(beamline), register_job(beamline, copies)],
    )
