"""What a branch has missed: by set difference, whatever its router has recorded or not."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.test_utils import freeze_time

from als_assets.bl832 import graph
from als_assets.definitions import compose
from als_assets.operations.backlog import Backlog, backlog_of
from als_assets.operations.missed import NOTHING_RECORDED, Taken, taken_by
from beamlines.config import Beamline
from beamlines.decisions import Decision, Reason
from beamlines.policy import Arrival
from beamlines.scans import ScanId
from resources.database import IN_MEMORY, Database
from resources.settings import PROJECT, load_settings
from resources.standings import Standings
from sensors.arrivals import Complete
from sensors.event_log import arrival_record, decision_record

SETTINGS = load_settings(PROJECT / "config" / "twin.yaml", {"ALS_STATE": "/nowhere"})
SCANS = "bl832_scans"
FIRST = dg.AssetKey(["bl832", "nersc", "raw"])
NOW = datetime(2026, 7, 1, tzinfo=UTC)
HOSTILE = "-$(touch pwned)/'; DROP TABLE x; --\n..é.h5"


@dataclass
class Log:
    """An event log, and what tests say most often to it."""

    instance: dg.DagsterInstance
    beamline: Beamline = SETTINGS.beamline

    def arrive(self, *paths: str, arrival: Arrival = Arrival.NEW, ago: timedelta = timedelta(hours=1)) -> None:
        for path in paths:
            self.instance.add_dynamic_partitions(SCANS, [ScanId(path).key])
            with freeze_time(NOW - ago):
                built = graph.build(self.beamline)
                seen = Complete(path, 4, NOW)
                self.instance.report_runless_asset_event(arrival_record(self.beamline, built.arrival, seen, arrival))

    def made(self, asset: dg.AssetKey, path: str) -> None:
        event = dg.AssetMaterialization(asset, partition=ScanId(path).key, metadata={"bytes": 4})
        self.instance.report_runless_asset_event(event)

    def decided(self, path: str, reason: Reason) -> None:
        decision = Decision.no(reason, "for a test")
        self.instance.report_runless_asset_event(decision_record(FIRST, ScanId(path).key, "nersc", decision))

    def run(self, job: str, path: str, *assets: dg.AssetKey) -> dg.DagsterRun:
        definition = compose(SETTINGS).resolve_job_def(job)
        selection = frozenset(assets) or None
        tags = {"dagster/partition": ScanId(path).key}
        return self.instance.create_run_for_job(definition, tags=tags, asset_selection=selection)

    def taken(self, days: int = 30) -> Taken:
        since = NOW - timedelta(days=days)
        return taken_by(self.instance, self.beamline, graph.build(self.beamline), "nersc", since)

    def backlog(self) -> Backlog:
        standings = Standings(Database(IN_MEMORY))
        built, only = graph.build(self.beamline), self.taken().missed
        return backlog_of(self.instance, self.beamline, built, "nersc", "", standings, include_aborted=False, only=only)


@pytest.fixture
def log() -> Iterator[Log]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Log(instance)


def test_what_arrived_while_nobody_looked_is_missed(log: Log) -> None:
    log.arrive("a/a.h5", "a/b.h5")
    log.made(FIRST, "a/b.h5")
    taken = log.taken()
    assert taken.missed == {"a/a": NOTHING_RECORDED}
    assert (taken.arrived, taken.entered, taken.under_way, taken.elsewhere) == (2, 1, 0, 0)


def test_why_it_was_missed_is_the_newest_reason_that_is_recorded(log: Log) -> None:
    log.arrive("a/a.h5")
    log.decided("a/a.h5", Reason.WAITING_FOR_RAW)
    log.decided("a/a.h5", Reason.SWITCHED_OFF)
    assert log.taken().missed == {"a/a": "skipped-by-operator"}
    assert log.taken().reasons == {"skipped-by-operator": 1}


@pytest.mark.parametrize("arrival", [Arrival.ADOPTED, Arrival.REPAIR])
def test_what_was_not_to_be_sent_on_is_not_missed(log: Log, arrival: Arrival) -> None:
    log.arrive("a/a.h5", arrival=arrival)
    assert log.taken() == Taken()


def test_what_arrived_before_the_time_that_is_looked_at_does_not_count(log: Log) -> None:
    log.arrive("a/old.h5", ago=timedelta(days=8))
    log.arrive("a/new.h5", ago=timedelta(days=6))
    assert list(log.taken(days=7).missed) == ["a/new"]


def test_a_scan_counts_once_though_it_arrived_twice(log: Log) -> None:
    log.arrive("a/a.h5", "a/a.h5")
    assert (log.taken().arrived, list(log.taken().missed)) == (1, ["a/a"])


def test_a_run_of_the_branch_that_has_not_ended_has_taken_it(log: Log) -> None:
    log.arrive("a/a.h5", "a/b.h5", "a/c.h5")
    log.run("bl832_nersc", "a/a.h5")
    log.run("__ASSET_JOB", "a/b.h5", FIRST)
    log.run("__ASSET_JOB", "a/c.h5", dg.AssetKey(["bl832", "data832", "preview"]))
    assert (log.taken().under_way, list(log.taken().missed)) == (2, ["a/c"])


def test_what_a_run_has_failed_to_bring_there_is_missed(log: Log) -> None:
    log.arrive("a/a.h5")
    log.instance.report_run_failed(log.run("bl832_nersc", "a/a.h5"))
    assert list(log.taken().missed) == ["a/a"]


def test_what_another_facility_was_to_take_is_not_missed(log: Log) -> None:
    log.arrive("a/a.h5", "a/b.h5")
    log.decided("a/a.h5", Reason.HANDED_ON)
    assert (log.taken().elsewhere, list(log.taken().missed)) == (1, ["a/b"])


def test_another_facility_has_missed_only_what_was_handed_on_to_it(log: Log) -> None:
    log.arrive("a/handed.h5", "a/not.h5")
    decision = Decision.no(Reason.HANDED_ON, "an outage")
    event = decision_record(FIRST, ScanId("a/handed.h5").key, "nersc", decision)
    handed = event._replace(metadata={**event.metadata, "handed_to": dg.MetadataValue.text("alcf")})
    log.instance.report_runless_asset_event(handed)
    since = NOW - timedelta(days=30)
    taken = taken_by(log.instance, log.beamline, graph.build(log.beamline), "alcf", since)
    assert (taken.missed, taken.elsewhere) == ({"a/handed": NOTHING_RECORDED}, 1)


def test_a_name_of_any_kind_is_counted_and_a_partition_that_is_no_scan_is_not(log: Log) -> None:
    log.arrive(HOSTILE)
    arrival = graph.build(log.beamline).arrival
    for key in ("no key of ours!", "a/b@label"):
        log.instance.report_runless_asset_event(
            dg.AssetMaterialization(arrival, partition=key, metadata={"arrival": "new"})
        )
    assert list(log.taken().missed) == [ScanId(HOSTILE).key]


def test_a_branch_that_is_not_there_is_refused(log: Log) -> None:
    with pytest.raises(ValueError, match=r"there is no branch 'nosuch'; there are .*nersc"):
        taken_by(log.instance, log.beamline, graph.build(log.beamline), "nosuch", NOW)


def test_what_was_missed_and_is_on_site_is_what_a_backfill_of_it_sends(log: Log) -> None:
    ingested = graph.build(log.beamline).ingested
    log.arrive("a/missed.h5", "a/not-on-site.h5", "a/entered.h5")
    log.arrive("a/adopted.h5", arrival=Arrival.ADOPTED)
    log.made(FIRST, "a/entered.h5")
    for path in ("a/missed.h5", "a/entered.h5", "a/adopted.h5"):
        log.made(ingested, path)
    assert log.backlog().scans == ["a/missed"]
