"""What must be so before this platform deletes anything beside, or after, the system that it replaces.

Belongs here: the looks of ``als cutover check``.
Does not: reading the old system's server (resources.prefect), or what shadow mode is (beamlines.deployment).
"""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from als_assets.graph import Graph
from als_assets.naming import asset_key
from als_assets.operations.findings import Finding, Verdict, fault
from beamlines.config import Beamline
from beamlines.deployment import Shadow
from beamlines.places import Role
from beamlines.scans import PartitionKey
from resources.clock import Clock
from resources.errors import PlatformError
from resources.prefect import Prefect
from resources.responsible import OPERATORS

FLOWN_WITHIN = timedelta(days=1)
_SHOWN = 5


def look_at_mode(shadow: Shadow | None) -> Finding:
    """Whether this deployment could delete anything at all."""
    if shadow is None:
        return Finding("here", "mode", Verdict.FINE, "in charge: folders as in the beamline's file")
    seen = f"shadow: own folders below {shadow.folder}, nothing is deleted"
    return Finding("here", "mode", Verdict.FINE, seen)


def look_at_old_system(beamline: Beamline, prefect: Prefect | None) -> Iterator[Finding]:
    """What is still switched on there: each of it could delete, or write where this platform does."""
    pools = beamline.replaces.work_pools if beamline.replaces else ()
    if not pools:
        yield Finding("old", "system", Verdict.FINE, "the beamline's file names none ('replaces')")
        return
    if prefect is None:
        remedy = "give the address of its API: --prefect http://host:4200/api"
        yield Finding("old", "system", Verdict.FAULT, "it was not looked at", OPERATORS, remedy)
        return
    try:
        active, waiting = prefect.active_deployments(pools), prefect.waiting_runs(pools)
    except PlatformError as error:
        yield fault("old", "system", error, OPERATORS)
        return
    remedy = "pause them there; then nothing new is started"
    yield _none("deployments", "all are paused", f"{len(active)} are not paused: {_some(active)}", active, remedy)
    names = [f"{run.name!r} ({run.state})" for run in waiting]
    remedy = "cancel or delete them there: what was scheduled to delete files deletes them though all is paused"
    yield _none("runs", "none is waiting", f"{len(waiting)} have not ended: {_some(names)}", names, remedy)


def look_at_scans(instance: dg.DagsterInstance, beamline: Beamline, graph: Graph) -> Iterator[Finding]:
    """How many scans have gone the whole way here, branch by branch."""
    arrived = _whole(instance, graph.arrival)
    ingested = _whole(instance, graph.ingested)
    if not arrived:
        remedy = "let it run in the shadow for some weeks first"
        yield Finding("here", "scans", Verdict.FAULT, "no scan has arrived here yet", OPERATORS, remedy)
        return
    yield _of_scans("ingested", arrived, ingested, f"each is on {beamline.scans.first_copy}, verified")
    for facility in graph.branches:
        copies = [copy for copy in graph.copies if copy.maker == facility and copy.place.role is Role.DURABLE]
        done = set.intersection(*(_whole(instance, asset_key(beamline, copy)) for copy in copies))
        yield _of_scans(facility, ingested, done, "each has its products at every place that keeps them")


def look_at_flight(instance: dg.DagsterInstance, graph: Graph, clock: Clock) -> Iterator[Finding]:
    """Whether the way was whole a short while ago."""
    if graph.flight_check is None:
        return
    wanted = dg.RunsFilter(job_name=graph.flight_check.name, statuses=[dg.DagsterRunStatus.SUCCESS])
    records = instance.get_run_records(wanted, limit=1)
    ended = records[0].end_time if records else None
    age = timedelta.max if ended is None else timedelta(seconds=clock.now().timestamp() - ended)
    if age > FLOWN_WITHIN:
        remedy = f"run {graph.flight_check.name}, and mend what it names"
        seen = "no flight check has succeeded within a day"
        yield Finding("here", "flight check", Verdict.FAULT, seen, OPERATORS, remedy)
    else:
        yield Finding("here", "flight check", Verdict.FINE, f"succeeded {age / timedelta(hours=1):.0f} hours ago")


def _whole(instance: dg.DagsterInstance, asset: dg.AssetKey) -> set[str]:
    """The scans, without labelled results, of which this asset has been made."""
    keys = instance.get_materialized_partitions(asset)
    return {key for key in keys if PartitionKey.parse(key).label is None}


def _of_scans(what: str, expected: set[str], done: set[str], fine: str) -> Finding:
    missing = sorted(expected - done)
    if not missing:
        return Finding("here", what, Verdict.FINE, f"{len(expected)} scans: {fine}")
    seen = f"{len(missing)} of {len(expected)} scans are not: {_some(missing)}"
    remedy = "see why on the asset's page, or with als scan show; backfill what is wanted"
    return Finding("here", what, Verdict.WARNING, seen, OPERATORS, remedy)


def _none(what: str, fine: str, wrong: str, found: list[str], remedy: str) -> Finding:
    if not found:
        return Finding("old", what, Verdict.FINE, fine)
    return Finding("old", what, Verdict.FAULT, wrong, OPERATORS, remedy)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
