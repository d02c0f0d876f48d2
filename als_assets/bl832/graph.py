"""The graph of 8.3.2, put together from its configuration.

Belongs here: the order of the factories. Does not: anything about one running system.
"""

import dagster as dg

from als_assets.branch import branch_assets
from als_assets.catalogue.entries import catalogue_parts
from als_assets.comparison import comparison_asset, comparison_job
from als_assets.facility_status import status_spec
from als_assets.graph import Graph, again_job, branch_job, scan_job
from als_assets.naming import asset_key, scan_partitions, status_key
from als_assets.operations.announce import announce_job
from als_assets.operations.flight_check import flight_check_job
from als_assets.operations.register import register_job
from als_assets.preview import preview_asset
from als_assets.raw import arrival_spec, first_copy
from beamlines.branches import Branch, stages
from beamlines.config import Beamline
from beamlines.layout import Artifact, Copy


def build(beamline: Beamline) -> Graph:
    """The whole graph: arrival, first copy, preview, and one branch a facility."""
    arrived = Copy(beamline.places[beamline.scans.place], Artifact.RAW)
    site = beamline.places[beamline.scans.first_copy]
    first, preview = Copy(site, Artifact.RAW), Copy(site, Artifact.PREVIEW)
    branches = {name: Branch.of(beamline, name, first) for name in beamline.facilities}
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
        arrival_spec(beamline, arrived),
        first_copy(beamline, arrived, first),
        preview_asset(beamline, first, preview),
    ]
    comparison, results = Copy(site, Artifact.COMPARISON), {name: b.results_at(site) for name, b in branches.items()}
    for branch in branches.values():
        assets += branch_assets(beamline, branch)
    assets += [status_spec(beamline, name) for name in beamline.facilities]
    if any(results.values()):
        assets.append(comparison_asset(beamline, comparison, results))
    copies = [stage.copy for stage in stages(beamline)]
    entries, catalogue = catalogue_parts(beamline, copies, first, preview, branches)
    assets += entries
    what = f"A new scan, copied to {site.name}, verified, and looked at."
    return Graph(
        beamline=beamline,
        assets=assets,
        partitions=scan_partitions(beamline),
        copies=copies,
        arrival=asset_key(beamline, arrived),
        ingested=asset_key(beamline, first),
        seen=asset_key(beamline, preview),
        ingest=scan_job(beamline, "ingest", [first, preview], what, ingest=beamline.name),
        branches={name: branch_job(beamline, name, branch) for name, branch in branches.items()},
        statuses={name: status_key(beamline, name) for name in beamline.facilities},
        again={name: again_job(beamline, name, branch) for name, branch in branches.items()},
        compare=comparison_job(beamline, comparison, results) if any(results.values()) else None,
        catalogue=catalogue,
        flight_check=flight_check_job(beamline, beamline.flight_check) if beamline.flight_check else None,
        operations=[announce_job(beamline), register_job(beamline, copies)],
    )
