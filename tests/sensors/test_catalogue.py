"""The sensor of the catalogue: each entry is made once, after what it tells of, and again when that has changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.test_utils import freeze_time

from beamlines.decisions import Reason
from beamlines.policy import Arrival
from resources.certificates import Certificates, Deletion, Keeper
from resources.standings import Standings
from resources.testing import Desk, SleptClock
from sensors import entries
from sensors.catalogue import CatalogueMemory
from sensors.testing import Daemon, Stage

SENSOR, JOB, SCANS = "bl832_catalogue", "bl832_catalogue", "bl832_scans"
HOUR_S, INTERVAL_S = 3_600, 5
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Site:
    """Scans that are ingested and reconstructed, and the sensor that looks at them."""

    def __init__(self, daemon: Daemon, clock: SleptClock, desk: Desk) -> None:
        self.daemon = daemon
        self.clock = clock
        self.standings = Standings(desk.ledger.database)
        self.certificates = Certificates(desk.ledger.database)
        self.requested: list[tuple[str, str]] = []

    def made(self, asset: str, *keys: str, **metadata: str) -> None:
        for key in keys:
            self.daemon.instance.add_dynamic_partitions(SCANS, [key])
            asset_key = dg.AssetKey(["bl832", *asset.split("/")])
            self.daemon.report(dg.AssetMaterialization(asset_key, partition=key, metadata=metadata))

    def observed(self, asset: str, key: str) -> None:
        self.daemon.report(dg.AssetObservation(dg.AssetKey(["bl832", *asset.split("/")]), partition=key))

    def ingested(self, *keys: str) -> None:
        self.made("data832/raw", *keys)
        self.made("data832/preview", *keys)

    def deleted(self, asset: str, key: str) -> None:
        keeper = Keeper("alcf/raw" if asset == "nersc/raw" else "nersc/raw", key, "0", "now", "job")
        deletion = Deletion(asset, key, 1, "path", 1, 1, {}, "old", (keeper,), "test")
        self.certificates.finish(self.certificates.begin(deletion, seen=self.certificates.head(), at=NOW), [], NOW)

    def ticks(self, count: int = 1) -> list[tuple[str, str]]:
        """Tick so many times; entry and partition of each run that was created meanwhile."""
        before = {run.run_id for run in self.runs}
        for _ in range(count):
            self.daemon.tick(SENSOR)
            self.clock.sleep(INTERVAL_S)
        new = [run for run in self.runs if run.run_id not in before]
        assert all(len(run.asset_selection or ()) == 1 for run in new)
        return sorted((run.tags["als/entry"], run.tags["dagster/partition"]) for run in new)

    @property
    def runs(self) -> list[dg.DagsterRun]:
        return list(self.daemon.instance.get_runs(dg.RunsFilter(job_name=JOB)))

    def fail(self) -> None:
        for run in self.runs:
            if not run.is_finished:
                with self.at_this_time():
                    self.daemon.instance.report_run_failed(run)

    @contextmanager
    def at_this_time(self) -> Iterator[None]:
        with freeze_time(self.clock.now()):
            yield


@pytest.fixture
def site(daemon: Daemon, clock: SleptClock, desk: Desk) -> Site:
    """A sensor that has ticked before anything was there."""
    made = Site(daemon, clock, desk)
    made.ticks()
    return made


def test_a_scan_is_described_once_when_its_first_look_is_there(site: Site) -> None:
    site.made("data832/raw", "a/a")
    assert site.ticks(3) == []
    site.made("data832/preview", "a/a")
    assert site.ticks(3) == [("raw", "a/a")]
    site.clock.sleep(HOUR_S)
    assert site.ticks(3) == []


def test_a_scan_without_a_first_look_is_described_after_a_while(site: Site) -> None:
    site.made("data832/raw", "a/a")
    site.clock.sleep(entries.GRACE.total_seconds())
    assert site.ticks(3) == [("raw", "a/a")]


def test_a_reconstruction_is_described_when_stack_and_pyramid_are_back(site: Site) -> None:
    site.made("data832/nersc_tiff", "a/a")
    assert site.ticks(2) == []
    site.made("data832/nersc_zarr", "a/a")
    assert site.ticks(3) == [("nersc_reconstruction", "a/a")]


def test_every_facility_and_label_has_an_entry_of_its_own(site: Site) -> None:
    for facility in ("nersc", "alcf", "local"):
        site.made(f"data832/{facility}_zarr", "a/a", "a/a@fine")
    wanted = [(f"{name}_reconstruction", key) for name in ("alcf", "local", "nersc") for key in ("a/a", "a/a@fine")]
    assert site.ticks(3) == wanted


def test_what_is_made_again_is_told_again(site: Site) -> None:
    site.ingested("a/a")
    assert site.ticks(2) == [("raw", "a/a")]
    site.made("data832/preview", "a/a")
    assert site.ticks(2) == [("raw", "a/a")]


def test_what_the_system_before_this_one_has_told_is_not_told_again(site: Site) -> None:
    site.made("data832/raw", "old/a", arrival=str(Arrival.ADOPTED))
    site.made("data832/nersc_zarr", "old/a@legacy", arrival=str(Arrival.ADOPTED))
    site.clock.sleep(HOUR_S)
    assert site.ticks(3) == []


def test_what_no_partition_of_ours_is_called_breaks_nothing(site: Site) -> None:
    site.made("data832/preview", "...", "a/b c", "a/a")
    assert site.ticks(3) == [("raw", "a/a")]


def test_a_deleted_partition_breaks_nothing(site: Site) -> None:
    site.ingested("a/a", "a/b")
    site.daemon.instance.delete_dynamic_partition(SCANS, "a/a")
    assert site.ticks(2) == [("raw", "a/b")]


def test_many_at_once_are_told_over_several_ticks_and_none_is_left_out(site: Site) -> None:
    keys = [f"a/{number:02}" for number in range(25)]
    site.ingested(*keys)
    assert len(site.ticks()) == entries.READ_A_TICK
    site.ticks(3)
    assert {run.tags["dagster/partition"] for run in site.runs} == {*keys}


@pytest.mark.parametrize("stage", list(Stage))
def test_a_tick_that_dies_loses_nothing_and_asks_nothing_twice(site: Site, stage: Stage) -> None:
    site.ingested("a/a")
    site.daemon.tick(SENSOR, dies_before=stage)
    site.clock.sleep(INTERVAL_S)
    site.ticks(2)
    assert [run.tags["dagster/partition"] for run in site.runs] == ["a/a"]


def test_what_came_while_it_was_off_is_told_when_it_is_on_again(site: Site) -> None:
    site.clock.sleep(HOUR_S)
    site.ingested("a/a")
    site.clock.sleep(HOUR_S)
    site.daemon.switch_on(SENSOR)
    assert site.ticks(2) == [("raw", "a/a")]


@pytest.mark.parametrize("cursor", ["", "{", '{"last": "x"}'])
def test_a_lost_cursor_finds_what_was_never_told(site: Site, cursor: str) -> None:
    site.ingested("a/told")
    assert site.ticks() == [("raw", "a/told")]
    site.ingested("a/overlooked")
    site.clock.sleep(HOUR_S)
    site.daemon.switches[SENSOR].cursor = cursor
    assert site.ticks(3) == [("raw", "a/overlooked")]


def test_on_its_very_first_tick_it_leaves_the_past_alone(daemon: Daemon, clock: SleptClock, desk: Desk) -> None:
    site = Site(daemon, clock, desk)
    site.ingested("a/old")
    clock.sleep(HOUR_S)
    assert site.ticks(3) == []


# -- copies that go ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asset", "entry"), [("data832/raw", "raw"), ("nersc/raw", "raw"), ("data832/nersc_tiff", "nersc_reconstruction")]
)
def test_the_deletion_of_a_copy_is_told_once(site: Site, asset: str, entry: str) -> None:
    site.made(f"scicat/{entry}", "a/a")
    site.deleted(asset, "a/a")
    assert site.ticks(3) == [(entry, "a/a")]


def test_the_deletion_of_what_was_never_described_is_not_told(site: Site) -> None:
    site.ingested("a/a")
    site.ticks()
    site.deleted("data832/raw", "a/a")
    assert site.ticks(3) == []


def test_scratch_copies_go_without_a_word(site: Site) -> None:
    site.made("scicat/nersc_reconstruction", "a/a")
    site.deleted("pscratch/tiff", "a/a")
    assert site.ticks(3) == []


# -- what has failed ---------------------------------------------------------------------------------------------


def test_what_has_failed_is_tried_again_later_and_later(site: Site) -> None:
    site.ingested("a/a")
    assert site.ticks(2) == [("raw", "a/a")]
    site.fail()
    assert site.ticks(3) == []
    for hours in (1, 2, 4):
        site.clock.sleep(hours * HOUR_S - 60)
        assert site.ticks() == []
        site.clock.sleep(120)
        assert site.ticks(2) == [("raw", "a/a")]
        site.fail()


def test_what_fails_for_ever_is_given_up(site: Site) -> None:
    site.ingested("a/a")
    site.ticks()
    for _ in range(2 * entries.TRIES):
        site.fail()
        site.clock.sleep(25 * HOUR_S)
        site.ticks(2)
    assert len(site.runs) == entries.TRIES + 1


def test_what_was_made_since_is_not_tried_again(site: Site) -> None:
    site.ingested("a/a")
    site.ticks()
    site.fail()
    site.made("data832/preview", "a/a")
    assert site.ticks() == [("raw", "a/a")]
    site.clock.sleep(2 * HOUR_S)
    assert site.ticks(2) == []


# -- restricted scans --------------------------------------------------------------------------------------------


def test_a_scan_that_is_restricted_afterwards_is_hidden_once(site: Site) -> None:
    site.ingested("a/a", "a/b")
    site.made("data832/nersc_zarr", "a/a", "a/a@fine")
    site.ticks(2)
    for entry, key in [
        ("raw", "a/a"),
        ("raw", "a/b"),
        ("nersc_reconstruction", "a/a"),
        ("nersc_reconstruction", "a/a@fine"),
    ]:
        site.made(f"scicat/{entry}", key)
    site.standings.restrict("a/a", Reason.RESTRICTED_BY_OPERATOR, author="dula", note="x", at=NOW)
    hidden = [("nersc_reconstruction", "a/a"), ("nersc_reconstruction", "a/a@fine"), ("raw", "a/a")]
    assert site.ticks(3) == hidden
    for entry, key in hidden:
        site.observed(f"scicat/{entry}", key)
    assert site.ticks(3) == []


def test_a_scan_that_is_free_again_is_described_again(site: Site) -> None:
    site.made("scicat/raw", "a/a")
    site.observed("scicat/raw", "a/a")
    site.standings.restrict("a/a", Reason.RESTRICTED_BY_OPERATOR, author="dula", note="x", at=NOW)
    assert site.ticks(2) == []
    site.standings.lift("a/a", author="dula", note="x", at=NOW)
    assert site.ticks(2) == [("raw", "a/a")]


def test_all_are_gone_through_a_part_a_tick(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensors.catalogue.SWEPT_A_TICK", 2)
    keys = [f"a/{number}" for number in range(5)]
    site.made("scicat/raw", *keys)
    for key in keys:
        site.observed("scicat/raw", key)
    assert site.ticks(3) == [("raw", key) for key in keys]
    memory = CatalogueMemory.model_validate_json(str(site.daemon.switches[SENSOR].cursor))
    assert memory.swept == ""
