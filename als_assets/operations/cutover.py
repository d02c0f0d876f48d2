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
from beamlines.layout import Copy
from beamlines.places import Role
from beamlines.scans import PartitionKey, ScanId
from beamlines.standing import Standing
from resources.clock import Clock
from resources.errors import PlatformError
from resources.prefect import Prefect
from resources.responsible import OPERATORS
from resources.standings import Standings

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
        known = prefect.pools(pools)
        workers = prefect.online_workers(known)
        active, waiting = prefect.active_deployments(pools), prefect.waiting_runs(pools)
    except PlatformError as error:
        yield fault("old", "system", error, OPERATORS)
        return
    if not known:
        remedy = "give the address of the server that runs the old flows; if its pools are deleted, look yourself"
        yield Finding("old", "system", Verdict.FAULT, f"it has none of {_some([*pools])}", OPERATORS, remedy)
    remedy = "stop them: they run what is started by hand or was scheduled, of paused deployments too"
    yield _none("workers", "none is online", f"{len(workers)} are online: {_some(workers)}", workers, remedy)
    remedy = "pause them there: their schedules start nothing new then"
    yield _none("deployments", "all are paused", f"{len(active)} are not paused: {_some(active)}", active, remedy)
    names = [f"{run.name!r} ({run.state})" for run in waiting]
    remedy = "cancel or delete them there: what was scheduled to delete files deletes them though all is paused"
    yield _none("runs", "none is waiting", f"{len(waiting)} have not ended: {_some(names)}", names, remedy)


def look_at_scans(
    instance: dg.DagsterInstance, beamline: Beamline, graph: Graph, standings: Standings
) -> Iterator[Finding]:
    """How many scans have gone the whole way here, of those that may, and are to."""
    arrived = _whole(instance, graph.arrival)
    ingested = _whole(instance, graph.ingested)
    if not arrived:
        remedy = "let it run in the shadow for some weeks first"
        yield Finding("here", "scans", Verdict.FAULT, "no scan has arrived here yet", OPERATORS, remedy)
        return
    yield _of_scans("ingested", arrived, ingested, f"each is on {beamline.scans.first_copy}, verified")
    known = standings.of_many(ingested)
    # The first facility takes what arrives; in its outages others do, and such a scan has come as far.
    facility = next(iter(beamline.preference), None)
    if facility is None or not _kept(graph, facility):
        return  # nothing is sent anywhere, or kept anywhere
    sent = {
        key for key in ingested if beamline.sends_on(ScanId.from_key(key), facility, known.get(key, Standing())).allowed
    }
    done: set[str] = set()
    for name in graph.branches:
        kept = [_whole(instance, asset_key(beamline, copy)) for copy in _kept(graph, name)]
        done |= set.intersection(*kept) if kept else set()
    yield _of_scans(facility, sent, done, "each has its products at every place that keeps them")


def _kept(graph: Graph, branch: str) -> list[Copy]:
    """The products of a branch that are kept."""
    return [copy for copy in graph.copies if copy.maker == branch and copy.place.role is Role.DURABLE]


def look_at_flight(instance: dg.DagsterInstance, graph: Graph, clock: Clock) -> Iterator[Finding]:
    """Whether the way was whole a short while ago."""
    if graph.flight_check is None:
        return
    finished = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    records = instance.get_run_records(dg.RunsFilter(job_name=graph.flight_check.name, statuses=finished), limit=1)
    newest = records[0] if records else None
    succeeded = newest is not None and newest.dagster_run.status is dg.DagsterRunStatus.SUCCESS
    ended = newest.end_time if newest is not None and succeeded else None
    age = timedelta.max if ended is None else timedelta(seconds=clock.now().timestamp() - ended)
    if age > FLOWN_WITHIN:
        remedy = f"run {graph.flight_check.name}, and mend what it names"
        seen = "the newest flight check did not succeed, or is older than a day"
        yield Finding("here", "flight check", Verdict.FAULT, seen, OPERATORS, remedy)
    else:
        yield Finding("here", "flight check", Verdict.FINE, f"succeeded {age / timedelta(hours=1):.0f} hours ago")


def _whole(instance: dg.DagsterInstance, asset: dg.AssetKey) -> set[str]:
    """The scans, without labelled results, of which this asset has been made."""
    keys = instance.get_materialized_partitions(asset)
    return {key for key in keys if PartitionKey.parse(key).label is None}


def _of_scans(what: str, expected: set[str], done: set[str], fine: str) -> Finding:
    if not expected:
        remedy = "look at export control and at what is withheld; then let a scan go the whole way"
        return Finding("here", what, Verdict.FAULT, "no scan was to come so far", OPERATORS, remedy)
    if not expected & done:
        seen, remedy = f"not one of {len(expected)} scans has come so far", "see why, on the asset's page"
        return Finding("here", what, Verdict.FAULT, seen, OPERATORS, remedy)
    missing = sorted(expected - done)
    if not missing:
        return Finding("here", what, Verdict.FINE, f"{len(expected)} scans: {fine}")
    seen = f"{len(missing)} of {len(expected)} scans have not come so far: {_some(missing)}"
    remedy = "see why on the asset's page, or with als scan show; backfill what is wanted"
    return Finding("here", what, Verdict.WARNING, seen, OPERATORS, remedy)


def _none(what: str, fine: str, wrong: str, found: list[str], remedy: str) -> Finding:
    if not found:
        return Finding("old", what, Verdict.FINE, fine)
    return Finding("old", what, Verdict.FAULT, wrong, OPERATORS, remedy)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
