"""Announced scans: whole ticks over the real client and the twin, and what one tick makes of its announcements."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from beamlines.announcements import Announced, Announcement
from beamlines.decisions import Reason
from beamlines.scans import ScanId
from resources.announcements import Announcements
from resources.testing import Desk, SleptClock
from sensors.announced import GIVE_UP_AFTER, HEARD_A_TICK, hear
from sensors.arrivals import Complete
from sensors.folders import LookFailedError
from sensors.new_scans import GRACE_S
from sensors.testing import Daemon, Stage
from twin.faults import Fault
from twin.server import Twin

SENSOR = "bl832_new_scans"
INGEST = "bl832_ingest"
ARRIVAL = dg.AssetKey(["bl832", "spot832", "raw"])
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def inbox(desk: Desk) -> Announcements:
    return Announcements(desk.ledger.database)


@pytest.fixture
def announce(inbox: Announcements, desk: Desk, clock: SleptClock) -> Callable[..., str]:
    """Say that a scan is finished; its key."""

    def say(path: str, **options: bool) -> str:
        message = Announcement(path=f"/global/raw/{path}", **options)
        return inbox.take(message, desk.beamline, author="spot832", at=clock.now()).key

    return say


def open_ones(inbox: Announcements) -> list[str]:
    return [item.scan for item in inbox.open(after=0, limit=1_000)]


def arrivals(instance: dg.DagsterInstance) -> list[str]:
    records = instance.fetch_materializations(ARRIVAL, limit=1_000, ascending=True).records
    return [str(record.partition_key) for record in records]


def test_an_announced_scan_is_ingested_by_the_first_tick_without_a_quiet_time(
    daemon: Daemon, desk: Desk, announce: Callable[..., str], instance: dg.DagsterInstance
) -> None:
    desk.put(desk.raw("spot832", "a/a.h5"), b"scan")
    key = announce("a/a.h5")
    daemon.tick(SENSOR)
    assert daemon.runs == [(INGEST, key)]
    assert arrivals(instance) == [key]
    standing = desk.standings.of(key)
    assert standing.file is not None
    assert standing.file.size_bytes == 4


def test_between_two_listings_announcements_are_still_looked_at(
    daemon: Daemon, desk: Desk, announce: Callable[..., str], clock: SleptClock, twin: Twin
) -> None:
    desk.put(desk.raw("spot832", "a/found-later.h5"), b"scan")
    daemon.tick(SENSOR)
    twin.control.injector.clear_log()
    desk.put(desk.raw("spot832", "a/a.h5"), b"scan")
    key = announce("a/a.h5")
    clock.sleep(1)
    daemon.tick(SENSOR)
    assert daemon.runs == [(INGEST, key)]
    assert twin.control.injector.requests("GET */ls") == []


def test_a_scan_that_is_announced_and_found_and_announced_again_is_one(
    daemon: Daemon, desk: Desk, announce: Callable[..., str], clock: SleptClock, inbox: Announcements
) -> None:
    desk.put(desk.raw("spot832", "a/a.h5"), b"scan")
    daemon.tick(SENSOR)
    clock.sleep(20)
    for _ in range(3):
        announce("a/a.h5")
    for _ in range(int(2 * GRACE_S / 20)):
        daemon.tick(SENSOR)
        clock.sleep(20)
        announce("a/a.h5")
    assert daemon.runs == [(INGEST, "a/a")]
    daemon.tick(SENSOR)
    assert open_ones(inbox) == []


@pytest.mark.parametrize("stage", list(Stage))
def test_a_tick_that_died_loses_no_announcement(
    stage: Stage, daemon: Daemon, desk: Desk, announce: Callable[..., str], clock: SleptClock
) -> None:
    desk.put(desk.raw("spot832", "a/a.h5"), b"scan")
    announce("a/a.h5")
    daemon.tick(SENSOR, dies_before=stage)
    for _ in range(int(GRACE_S / 20) + 2):
        clock.sleep(20)
        daemon.tick(SENSOR)
    assert daemon.runs == [(INGEST, "a/a")]


def test_an_announced_file_that_is_not_there_yet_is_waited_for(
    daemon: Daemon, desk: Desk, announce: Callable[..., str], clock: SleptClock, inbox: Announcements
) -> None:
    announce("a/late.h5")
    desk.put(desk.raw("spot832", "a/empty.h5"), b"")
    announce("a/empty.h5")
    daemon.tick(SENSOR)
    assert daemon.runs == []
    assert open_ones(inbox) == ["a/late", "a/empty"]
    desk.put(desk.raw("spot832", "a/late.h5"), b"scan")
    clock.sleep(5)
    daemon.tick(SENSOR)
    assert daemon.runs == [(INGEST, "a/late")]


def test_an_announced_file_that_never_comes_is_given_up(
    daemon: Daemon, announce: Callable[..., str], clock: SleptClock, inbox: Announcements
) -> None:
    announce("a/never.h5")
    daemon.tick(SENSOR)
    clock.sleep(GIVE_UP_AFTER.total_seconds() + 1)
    daemon.tick(SENSOR)
    assert open_ones(inbox) == []
    assert daemon.runs == []


def test_during_an_outage_announcements_wait(
    daemon: Daemon, desk: Desk, announce: Callable[..., str], clock: SleptClock, twin: Twin, inbox: Announcements
) -> None:
    desk.put(desk.raw("spot832", "a/a.h5"), b"scan")
    daemon.tick(SENSOR)
    announce("a/a.h5")
    clock.sleep(1)
    twin.control.injector.add(Fault(match="GET */stat", times=2, status=503))
    daemon.tick(SENSOR)
    assert (daemon.runs, open_ones(inbox)) == ([], ["a/a"])
    twin.control.injector.clear()
    clock.sleep(1)
    daemon.tick(SENSOR)
    assert daemon.runs == [(INGEST, "a/a")]


def test_a_thousand_at_once_are_taken_fifty_a_tick_and_none_twice(
    daemon: Daemon, desk: Desk, announce: Callable[..., str], clock: SleptClock, inbox: Announcements
) -> None:
    keys = []
    for number in range(120):
        desk.put(desk.raw("spot832", f"{number % 7}/{number}.h5"), b"scan")
        keys.append(announce(f"{number % 7}/{number}.h5"))
    requested: list[str] = []
    for _ in range(8):
        said = daemon.tick(SENSOR, dies_before=Stage.RUNS)
        daemon.switches[SENSOR].cursor = said.cursor
        announced = [str(request.partition_key) for request in said.run_requests or []]
        assert len(announced) <= 2 * HEARD_A_TICK
        requested += announced
        clock.sleep(1)
    assert sorted(requested) == sorted(keys)
    assert open_ones(inbox) == []


def test_a_restricted_announcement_restricts_before_anything_else_happens(
    daemon: Daemon, desk: Desk, announce: Callable[..., str]
) -> None:
    key = announce("a/a.h5", export_control=True)
    assert desk.standings.of(key).restricted is Reason.RESTRICTED_WHEN_ANNOUNCED
    desk.put(desk.raw("spot832", "a/a.h5"), b"scan")
    daemon.tick(SENSOR)
    assert daemon.runs == [(INGEST, key)]


@pytest.mark.parametrize("announced", [True, False])
def test_a_sidecar_restricts_a_scan_when_it_is_complete(
    announced: bool, daemon: Daemon, desk: Desk, announce: Callable[..., str], clock: SleptClock
) -> None:
    desk.put(desk.raw("spot832", "a/a.h5"), b"scan")
    desk.put(desk.raw("spot832", "a/a.h5.export-control"), b"")
    if announced:
        announce("a/a.h5")
    for _ in range(2):
        daemon.tick(SENSOR)
        clock.sleep(20)
    assert daemon.runs == [(INGEST, "a/a")]
    assert desk.standings.of("a/a").restricted is Reason.RESTRICTED_BY_SIDECAR


def test_a_sidecar_that_comes_later_is_seen_in_the_next_listing_and_its_going_changes_nothing(
    daemon: Daemon, desk: Desk, clock: SleptClock
) -> None:
    desk.put(desk.raw("spot832", "a/a.h5"), b"scan")
    for _ in range(2):
        daemon.tick(SENSOR)
        clock.sleep(20)
    assert desk.standings.of("a/a").restricted is None
    sidecar = desk.raw("spot832", "a/a.h5.export-control")
    desk.put(sidecar, b"")
    daemon.tick(SENSOR)
    Path(sidecar.posix).unlink()
    clock.sleep(20)
    daemon.tick(SENSOR)
    assert desk.standings.of("a/a").restricted is Reason.RESTRICTED_BY_SIDECAR
    assert [entry.what for entry in desk.standings.history("a/a")] == ["restricted"]


def test_a_known_scan_whose_file_changes_is_marked_and_observed_once(
    daemon: Daemon, desk: Desk, clock: SleptClock, instance: dg.DagsterInstance
) -> None:
    desk.put(desk.raw("spot832", "a/a.h5"), b"scan")
    for _ in range(2):
        daemon.tick(SENSOR)
        clock.sleep(20)
    assert desk.standings.of("a/a").changed is None
    desk.put(desk.raw("spot832", "a/a.h5"), b"another scan")
    desk.put(desk.raw("spot832", "a/b.h5"), b"scan")
    for _ in range(3):
        daemon.tick(SENSOR)
        clock.sleep(20)
    assert "12 bytes" in str(desk.standings.of("a/a").changed)
    [record] = instance.fetch_observations(ARRIVAL, limit=10).records
    assert record.partition_key == "a/a"
    assert daemon.runs == [(INGEST, "a/a"), (INGEST, "a/b")]


def test_a_renamed_scan_is_a_new_scan(daemon: Daemon, desk: Desk, clock: SleptClock) -> None:
    desk.put(desk.raw("spot832", "a/a.h5"), b"scan")
    for _ in range(2):
        daemon.tick(SENSOR)
        clock.sleep(20)
    old = Path(desk.raw("spot832", "a/a.h5").posix)
    old.rename(old.with_name("renamed.h5"))
    for _ in range(2):
        daemon.tick(SENSOR)
        clock.sleep(20)
    assert daemon.runs == [(INGEST, "a/a"), (INGEST, "a/renamed")]
    assert desk.standings.of("a/a").changed is None


# -- the pure part -----------------------------------------------------------------------------------------------


def waiting(*scans: str) -> list[Announced]:
    return [Announced(number, scan, NOW) for number, scan in enumerate(scans, start=1)]


def found(scan: ScanId) -> Complete:
    return Complete(scan.path, 4, NOW)


def silent(_: ScanId) -> Complete:
    raise LookFailedError("no answer")


def test_one_that_cannot_be_looked_at_holds_up_no_other() -> None:
    def look_at(scan: ScanId) -> Complete:
        return silent(scan) if scan.key == "b" else found(scan)

    heard = hear(waiting("a", "b", "c"), (), look_at, lambda: NOW, 0)
    assert [scan.path for scan in heard.complete] == ["a.h5", "c.h5"]
    assert (heard.after, heard.failed) == (3, ["no answer"])


def test_when_nothing_answers_a_tick_asks_three_times() -> None:
    heard = hear(waiting(*"abcdef"), (), silent, lambda: NOW, 0)
    assert (heard.after, len(heard.failed), heard.complete) == (3, 3, [])


def test_a_slow_machine_gets_fewer_questions_a_tick() -> None:
    clock = SleptClock(time=NOW)

    def slow(scan: ScanId) -> Complete:
        clock.sleep(6)
        return found(scan)

    heard = hear(waiting(*"abcdef"), (), slow, clock.now, 0)
    assert [scan.path for scan in heard.complete] == ["a.h5", "b.h5", "c.h5"]
    assert heard.after == 3


@pytest.mark.parametrize(
    ("age", "given_up"), [(timedelta(0), False), (GIVE_UP_AFTER, False), (GIVE_UP_AFTER + timedelta(seconds=1), True)]
)
def test_patience_with_a_file_that_is_not_there_is_measured_from_its_announcement(
    age: timedelta, given_up: bool
) -> None:
    heard = hear(waiting("a"), (), lambda _: None, lambda: NOW + age, 0)
    assert (bool(heard.given_up), heard.waiting) == (given_up, int(not given_up))


def test_the_cursor_holds_where_the_round_stands(
    daemon: Daemon, announce: Callable[..., str], clock: SleptClock
) -> None:
    for name in "abc":
        announce(f"a/{name}.h5")
    daemon.tick(SENSOR)
    assert json.loads(str(daemon.switches[SENSOR].cursor))["heard"] == 3
