"""What tests of a pass's guards say most often: a pass, what it has deleted and kept, and what may happen before it.

Belongs here: words for these. Does not: the world (world, trials), or assertions of one test alone.
"""

from dataclasses import replace
from datetime import timedelta

import dagster as dg

from als_assets.naming import asset_key
from als_assets.retention import records
from als_assets.retention.order import Order
from als_assets.retention.passes import PassReport
from beamlines.decisions import Reason
from resources.owner import Owner
from resources.recorded import Suspect
from resources.work import WorkKey
from tests.als_assets.retention.trials import BEAMLINE, COPIES, DAY, NOBODY, Trials
from tests.als_assets.retention.world import Where

SCAN, OTHER = "f/20260101_000001_a", "f/20260101_000002_b"
LABELLED = f"{SCAN}@again"
RAW_HERE, RAW_THERE = ("data832/raw", SCAN), ("nersc/raw", SCAN)
OLD = 40 * DAY


def looked_through(trials: Trials, place: str, skew: timedelta = timedelta(), **order: object) -> PassReport:
    report = trials.carry_out(place, skew, Order("als", **{"beyond_the_brake": True, **order}))  # type: ignore[arg-type]
    assert report is not None
    return report


def deleted(report: PassReport) -> list[Where]:
    return sorted((one.deletion.asset, one.deletion.partition) for one in report.deleted)


def reasons(report: PassReport) -> dict[Where, Reason]:
    """Why copies were kept that would have been old enough."""
    by_records = {(copy.asset, copy.partition): decision.reason for copy, decision in report.plan.refused}
    return by_records | {(one.name, one.partition): decision.reason for one, decision in report.kept}


def kept(trials: Trials, reason: Reason, where: Where = RAW_HERE) -> PassReport:
    """A pass over the place of a copy, which stays for this reason."""
    report = looked_through(trials, where[0].partition("/")[0])
    assert reasons(report).get(where) is reason, reasons(report)
    assert where in trials.world.lying
    assert where not in deleted(report)
    return report


def hold(trials: Trials) -> None:
    trials.holds.hold_scan(SCAN, author="dula", note="a paper", at=trials.world.time)


def remote_work(trials: Trials) -> None:
    owner = replace(Owner.this_process("run-0"), pid=NOBODY)
    trials.ledger.claim(WorkKey("bl832/alcf/raw", SCAN, "", ""), owner, trials.world.time)


def suspect(trials: Trials, where: Where = RAW_HERE) -> None:
    newest = trials.instance.get_latest_storage_id_by_partition(
        asset_key(BEAMLINE, COPIES[where[0]]), dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    trials.tables.suspects.add(Suspect(*where, newest[where[1]], trials.world.time, "damaged"))


def failed_check(trials: Trials, where: Where) -> None:
    events = records.suspect_records(BEAMLINE, COPIES[where[0]], where[1], "a test")
    records.report(trials.instance, events, dg.DagsterRun("a_test"))


def changed(trials: Trials) -> None:
    trials.standings.changed(SCAN, "7 bytes", at=trials.world.time)


def written(trials: Trials, where: Where = RAW_HERE) -> None:
    lying = trials.world.lying[where]
    trials.world.lying[where] = replace(lying, content=f"{lying.content} and more", written=trials.world.time)


def touched(trials: Trials, where: Where = RAW_HERE) -> None:
    trials.world.lying[where] = replace(trials.world.lying[where], written=trials.world.time)


def unmanifested(trials: Trials, where: Where) -> None:
    trials.world.lying[where] = replace(trials.world.lying[where], manifest=None)
