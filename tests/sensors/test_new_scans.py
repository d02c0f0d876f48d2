"""Whole ticks of the sensor, over the real Transfer client and the twin: from a file to its ingest run."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from als_assets.definitions import compose
from beamlines.policy import Arrival
from beamlines.scans import ScanId
from resources.settings import PROJECT, Settings, load_settings
from resources.testing import Desk, SleptClock
from sensors.arrivals import Complete, Memory
from sensors.event_log import arrival_record
from sensors.folders import LookFailedError
from sensors.new_scans import GRACE_S, TILES_TAG
from sensors.testing import Daemon, Stage
from twin.faults import Fault
from twin.server import Twin

SENSOR = "bl832_new_scans"
INGEST = "bl832_ingest"
SCANS = "bl832_scans"
ARRIVAL = dg.AssetKey(["bl832", "spot832", "raw"])
INTERVAL_S = 20
GRACE_TICKS = int(GRACE_S / INTERVAL_S)
QUIET_TICKS = 2
"""A file that does not change is reported by the second tick: the quiet time is shorter than the interval."""


@pytest.fixture
def ticks(daemon: Daemon, clock: SleptClock) -> Callable[[int], list[str]]:
    """Tick so many times; the partitions whose run was created meanwhile."""

    def run(count: int) -> list[str]:
        before = len(daemon.runs)
        for _ in range(count):
            daemon.tick(SENSOR)
            clock.sleep(INTERVAL_S)
        return [key for job, key in daemon.runs[before:] if job == INGEST]

    return run


def arrivals(instance: dg.DagsterInstance) -> list[str]:
    records = instance.fetch_materializations(ARRIVAL, limit=5_000, ascending=True).records
    return [str(record.partition_key) for record in records]


def put(desk: Desk, *paths: str) -> list[str]:
    for path in paths:
        desk.put(desk.raw("spot832", path), b"scan")
    return [ScanId(path).key for path in paths]


def outage(times: int = 1_000) -> Fault:
    return Fault(match="GET *", times=times, status=503)


def test_a_new_scan_becomes_a_partition_an_arrival_and_a_run_in_one_tick(
    daemon: Daemon, desk: Desk, clock: SleptClock, instance: dg.DagsterInstance
) -> None:
    put(desk, "BLS-00564_dyparkinson/20260101_120000_a.h5")
    assert daemon.tick(SENSOR).run_requests == []
    clock.sleep(INTERVAL_S)
    said = daemon.tick(SENSOR)
    key = "BLS-00564_dyparkinson/20260101_120000_a"
    [request], [event] = said.run_requests or [], said.asset_events
    assert (request.partition_key, request.tags["als/proposal"]) == (key, "BLS-00564")
    assert event.metadata["bytes"].value == 4
    assert event.metadata["arrival"].value == "new"
    assert str(event.metadata["path"].value).endswith("/raw/BLS-00564_dyparkinson/20260101_120000_a.h5")
    assert instance.get_dynamic_partitions(SCANS) == [key]
    assert daemon.runs == [(INGEST, key)]


def test_the_tiles_of_a_tiled_scan_are_partitions_of_one_group(
    daemon: Daemon, desk: Desk, clock: SleptClock, instance: dg.DagsterInstance
) -> None:
    names = ["20260101_120000_bone_x00y00", "20260101_120000_bone_x00y01", "20260101_120000_bone"]
    put(desk, *(f"BLS-00564_x/{name}.h5" for name in names))
    for _ in range(QUIET_TICKS):
        daemon.tick(SENSOR)
        clock.sleep(INTERVAL_S)
    tags = {run.tags["dagster/partition"].rpartition("/")[2]: run.tags.get(TILES_TAG) for run in instance.get_runs()}
    assert tags == {
        names[0]: "BLS-00564_x/20260101_120000_bone",
        names[1]: "BLS-00564_x/20260101_120000_bone",
        names[2]: None,
    }


def test_a_scan_that_is_still_written_is_waited_for(
    ticks: Callable[[int], list[str]], desk: Desk, daemon: Daemon
) -> None:
    for length in range(1, 6):
        desk.put(desk.raw("spot832", "a/a.h5"), b"x" * length)
        assert ticks(1) == []
    assert ticks(1) == ["a/a"]


def test_a_scan_is_ingested_once(ticks: Callable[[int], list[str]], desk: Desk, instance: dg.DagsterInstance) -> None:
    keys = put(desk, "a/a.h5", "b.h5", "a/deep/er/c.h5")
    assert sorted(ticks(2 * GRACE_TICKS)) == sorted(keys)
    assert sorted(arrivals(instance)) == sorted(keys)


def test_during_an_outage_ticks_fail_and_afterwards_everything_is_found(
    ticks: Callable[[int], list[str]], desk: Desk, daemon: Daemon, twin: Twin
) -> None:
    put(desk, "a/a.h5")
    ticks(1)
    cursor = daemon.switches[SENSOR].cursor
    twin.control.injector.add(outage())
    with pytest.raises(LookFailedError, match="503"):
        daemon.tick(SENSOR)
    assert daemon.switches[SENSOR].cursor == cursor
    twin.control.injector.clear()
    assert ticks(1) == ["a/a"]


def test_an_outage_in_the_middle_of_a_tick_forgets_nothing(
    ticks: Callable[[int], list[str]], desk: Desk, twin: Twin
) -> None:
    put(desk, *(f"{number}/a.h5" for number in range(8)))
    twin.control.injector.add(Fault(match="GET *", delay_s=0.001))
    twin.control.injector.add(outage(times=3))
    ticks(1)
    assert not twin.control.injector.faults()
    assert len(ticks(4)) == 8


def test_ignored_folders_are_not_even_looked_into(ticks: Callable[[int], list[str]], desk: Desk, twin: Twin) -> None:
    put(desk, "transfer_tests/a.h5", "transfer_tests/deep/a.h5", "a/a.h5")
    desk.put(desk.raw("spot832", "a/notes.txt"), b"no scan")
    twin.control.injector.clear_log()
    assert ticks(4) == ["a/a"]
    assert len(twin.control.injector.requests("GET */ls")) == 4 * 2


HOSTILE = [
    'it\'s; rm -rf $(HOME) `x`/"quoted" & 100%.h5',
    "new\nline/tab\t\u202e.h5",
    "\u2603 caf\u00e9/../x.h5".replace("/../", "/..dots../"),
    os.fsdecode(b"raw-\xff-bytes/\x80.h5"),
    "~41/~.h5",
    "-rf/*.h5",
]


@pytest.mark.parametrize("path", HOSTILE, ids=range(len(HOSTILE)))
def test_a_name_may_be_anything_that_a_file_system_takes(
    path: str, ticks: Callable[[int], list[str]], desk: Desk, instance: dg.DagsterInstance
) -> None:
    keys = put(desk, path)
    assert ticks(3) == keys
    [record] = instance.fetch_materializations(ARRIVAL, limit=1).records
    assert record.asset_materialization is not None
    shown = record.asset_materialization.metadata["scan"].value
    assert str(shown).encode()


def test_scans_that_appear_all_at_once_are_found_fifty_a_tick_and_none_twice(
    daemon: Daemon, desk: Desk, clock: SleptClock, instance: dg.DagsterInstance
) -> None:
    keys = put(desk, *(f"{number % 10}/{number}.h5" for number in range(180)))
    requested: list[str] = []
    for _ in range(QUIET_TICKS + 3):
        said = daemon.tick(SENSOR, dies_before=Stage.RUNS)
        daemon.switches[SENSOR].cursor = said.cursor
        requested += [str(request.partition_key) for request in said.run_requests or []]
        assert len(said.run_requests or []) <= 50
        clock.sleep(GRACE_S / 10)
    assert sorted(requested) == sorted(keys)
    assert sorted(arrivals(instance)) == sorted(keys)


def test_after_a_day_down_nothing_is_lost(ticks: Callable[[int], list[str]], desk: Desk, clock: SleptClock) -> None:
    put(desk, "a/before.h5")
    ticks(1)
    put(desk, "a/meanwhile.h5", "b/meanwhile.h5")
    clock.sleep(86_400)
    assert sorted(ticks(2)) == ["a/before", "a/meanwhile", "b/meanwhile"]


@pytest.mark.parametrize("cursor", [None, "typed by hand", Memory().to_cursor()])
def test_after_a_lost_cursor_nothing_is_found_twice(
    cursor: str | None, ticks: Callable[[int], list[str]], desk: Desk, daemon: Daemon, instance: dg.DagsterInstance
) -> None:
    keys = put(desk, "a/a.h5", "b/b.h5")
    ticks(QUIET_TICKS)
    daemon.switches[SENSOR].cursor = cursor
    assert ticks(2 * GRACE_TICKS) == []
    assert sorted(arrivals(instance)) == keys


@pytest.mark.parametrize("stage", [Stage.PARTITIONS, Stage.RUNS, Stage.CURSOR])
def test_a_tick_that_died_half_way_is_made_good(
    stage: Stage, ticks: Callable[[int], list[str]], daemon: Daemon, desk: Desk, clock: SleptClock
) -> None:
    put(desk, "a/a.h5")
    ticks(QUIET_TICKS - 1)
    daemon.tick(SENSOR, dies_before=stage)
    ticks(GRACE_TICKS + 1)
    assert daemon.runs == [(INGEST, "a/a")]


def test_a_dead_tick_is_made_good_though_the_cursor_was_lost_and_the_file_has_gone(
    ticks: Callable[[int], list[str]], daemon: Daemon, desk: Desk
) -> None:
    put(desk, "a/a.h5", "b/b.h5")
    ticks(QUIET_TICKS - 1)
    daemon.tick(SENSOR, dies_before=Stage.PARTITIONS)
    daemon.switches[SENSOR].cursor = None
    Path(desk.raw("spot832", "a/a.h5").posix).unlink()
    ticks(GRACE_TICKS + 1)
    assert sorted(daemon.runs) == [(INGEST, "a/a"), (INGEST, "b/b")]


def test_an_announcer_has_its_time_to_request_the_run_itself(
    ticks: Callable[[int], list[str]], daemon: Daemon, desk: Desk, clock: SleptClock
) -> None:
    announce(daemon, clock, "a/a.h5", Arrival.NEW)
    put(desk, "a/a.h5")
    assert ticks(GRACE_TICKS) == []


def test_a_scan_whose_run_failed_or_was_deleted_is_not_requested_again(
    ticks: Callable[[int], list[str]], daemon: Daemon, desk: Desk, instance: dg.DagsterInstance
) -> None:
    put(desk, "a/a.h5")
    ticks(QUIET_TICKS)
    [run] = instance.get_runs()
    instance.report_run_failed(run)
    assert ticks(2 * GRACE_TICKS) == []
    instance.delete_run(run.run_id)
    assert ticks(2 * GRACE_TICKS) == []


@pytest.mark.parametrize("arrival", [Arrival.ADOPTED, Arrival.REPAIR])
def test_a_scan_that_is_adopted_or_repaired_is_not_ingested(
    arrival: Arrival, ticks: Callable[[int], list[str]], daemon: Daemon, desk: Desk, clock: SleptClock
) -> None:
    put(desk, "a/a.h5")
    announce(daemon, clock, "a/a.h5", arrival)
    assert ticks(GRACE_TICKS + 1) == []


def test_what_a_person_reports_in_the_ui_stops_nothing(
    ticks: Callable[[int], list[str]], daemon: Daemon, desk: Desk
) -> None:
    daemon.report(dg.AssetMaterialization(ARRIVAL, partition="no key of ours!"))
    daemon.report(dg.AssetMaterialization(ARRIVAL, partition="a/b@label", metadata={"arrival": "new"}))
    daemon.report(dg.AssetMaterialization(ARRIVAL))
    put(desk, "a/a.h5")
    assert ticks(GRACE_TICKS + 1) == ["a/a"]


def test_a_partition_that_somebody_added_by_hand_hides_no_scan(
    ticks: Callable[[int], list[str]], desk: Desk, instance: dg.DagsterInstance
) -> None:
    instance.add_dynamic_partitions(SCANS, ["a/a"])
    put(desk, "a/a.h5")
    assert ticks(QUIET_TICKS) == ["a/a"]


def test_listings_a_tick_are_bounded(ticks: Callable[[int], list[str]], desk: Desk, twin: Twin) -> None:
    put(desk, *(f"{number:03d}/a.h5" for number in range(120)))
    twin.control.injector.clear_log()
    ticks(1)
    assert len(twin.control.injector.requests("GET */ls")) <= 40


def test_the_quiet_time_of_the_deployment_is_kept(
    settings: Settings,
    desk: Desk,
    instance: dg.DagsterInstance,
    clock: SleptClock,
    resources: dict[str, dg.ResourceDefinition],
) -> None:
    patient = settings.deployment.timing.model_copy(update={"quiet_time_s": timedelta(minutes=5).total_seconds()})
    deployment = settings.deployment.model_copy(update={"timing": patient})
    definitions = compose(Settings(deployment, settings.beamline), **resources)
    daemon = Daemon(instance, definitions.get_repository_def(), clock)
    put(desk, "a/a.h5")
    daemon.tick(SENSOR)
    clock.sleep(294)
    daemon.tick(SENSOR)
    assert daemon.runs == []
    clock.sleep(6)
    daemon.tick(SENSOR)
    assert daemon.runs == [(INGEST, "a/a")]


def announce(daemon: Daemon, clock: SleptClock, path: str, arrival: Arrival) -> None:
    daemon.instance.add_dynamic_partitions(SCANS, [ScanId(path).key])
    beamline = load_settings(PROJECT / "config" / "twin.yaml", {}).beamline
    daemon.report(arrival_record(beamline, ARRIVAL, Complete(path, 4, clock.now()), arrival))
