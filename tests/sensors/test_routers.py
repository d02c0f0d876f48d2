"""Whole ticks of a router: arrivals in the event log, runs and observations."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import pytest

from als_assets.definitions import compose
from beamlines.decisions import Reason
from beamlines.policy import Arrival, ExportControl
from beamlines.scans import ScanId
from resources.settings import PROJECT, Settings, load_settings
from resources.standings import Standings
from resources.testing import Desk, SleptClock
from sensors import routers
from sensors.arrivals import Complete
from sensors.event_log import arrival_record
from sensors.routers import GRACE_S, Landmarks, router_sensor
from sensors.routing import USUAL_WAIT, WAITING_AT_MOST, RouterMemory, Waiting
from sensors.testing import Daemon, Stage

SENSOR = "bl832_route_to_nersc"
BRANCH = "bl832_nersc"
SCANS = "bl832_scans"
ARRIVAL = dg.AssetKey(["bl832", "spot832", "raw"])
INGESTED = dg.AssetKey(["bl832", "data832", "raw"])
FIRST = dg.AssetKey(["bl832", "nersc", "raw"])
MARKS = Landmarks(
    ARRIVAL,
    INGESTED,
    {"nersc": FIRST, "other": dg.AssetKey(["bl832", "other", "raw"])},
    {"nersc": dg.AssetKey(["bl832", "nersc", "status"])},
)
INTERVAL_S = 5
HOUR_S = 3600
BEAMLINE = load_settings(PROJECT / "config" / "twin.yaml", {}).beamline
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIDECAR = Reason.RESTRICTED_BY_SIDECAR


@dataclass(frozen=True)
class Job:
    """What a router needs to know of the job that it starts."""

    name: str
    partitions_def: dg.DynamicPartitionsDefinition


class Beamtime:
    """Scans that arrive and are ingested, and a router that looks at them."""

    def __init__(self, daemon: Daemon, clock: SleptClock) -> None:
        self.daemon = daemon
        self.clock = clock

    def arrive(self, *paths: str, arrival: Arrival = Arrival.NEW, ingested: bool = True) -> None:
        for path in paths:
            self.daemon.instance.add_dynamic_partitions(SCANS, [ScanId(path).key])
            self.daemon.report(arrival_record(BEAMLINE, ARRIVAL, Complete(path, 4, self.clock.now()), arrival))
            self.clock.sleep(1)
            if ingested:
                self.ingest(path)

    def ingest(self, path: str) -> None:
        self.daemon.report(dg.AssetMaterialization(INGESTED, partition=ScanId(path).key))

    def ticks(self, count: int = 1) -> list[str]:
        """Tick so many times; the scans whose run was created meanwhile."""
        before = len(self.daemon.runs)
        for _ in range(count):
            self.daemon.tick(SENSOR)
            self.clock.sleep(INTERVAL_S)
        assert {job for job, _ in self.daemon.runs} <= {BRANCH}
        return [key for _, key in self.daemon.runs[before:]]

    def off_and_on(self, meanwhile: Callable[[], None]) -> None:
        self.clock.sleep(INTERVAL_S)
        meanwhile()
        self.clock.sleep(INTERVAL_S)
        self.daemon.switch_on(SENSOR)
        self.clock.sleep(1)

    @property
    def memory(self) -> RouterMemory:
        return RouterMemory.model_validate_json(str(self.daemon.switches[SENSOR].cursor))

    @memory.setter
    def memory(self, memory: RouterMemory) -> None:
        self.daemon.switches[SENSOR].cursor = memory.model_dump_json()

    @property
    def observed(self) -> list[tuple[str, str]]:
        """Scan and reason of every observation, oldest first."""
        records = self.daemon.instance.fetch_observations(FIRST, limit=2_000, ascending=True).records
        events = [(str(record.partition_key), record.asset_observation) for record in records]
        return [(key, str(event.metadata["reason"].value)) for key, event in events if event is not None]


@pytest.fixture
def beamtime(daemon: Daemon, clock: SleptClock) -> Beamtime:
    """A router that has ticked before anything arrived."""
    beamtime = Beamtime(daemon, clock)
    beamtime.ticks()
    return beamtime


def test_a_new_scan_is_routed_once(beamtime: Beamtime) -> None:
    beamtime.arrive("a/a.h5")
    assert beamtime.ticks(3) == ["a/a"]
    beamtime.clock.sleep(HOUR_S)
    assert beamtime.ticks(3) == []
    assert beamtime.observed == []


def test_a_scan_waits_for_its_raw_copy_and_is_then_routed(beamtime: Beamtime) -> None:
    beamtime.arrive("a/a.h5", ingested=False)
    assert beamtime.ticks(3) == []
    assert beamtime.observed == []
    beamtime.clock.sleep(USUAL_WAIT.total_seconds())
    assert beamtime.ticks(3) == []
    assert beamtime.observed == [("a/a", "waiting-for-the-raw-copy")]
    beamtime.ingest("a/a.h5")
    assert beamtime.ticks() == ["a/a"]


@pytest.mark.parametrize("arrival", [Arrival.ADOPTED, Arrival.REPAIR])
def test_what_is_adopted_or_repaired_is_not_routed_not_even_later(beamtime: Beamtime, arrival: Arrival) -> None:
    beamtime.arrive("a/a.h5", arrival=arrival)
    beamtime.ticks()
    beamtime.clock.sleep(HOUR_S)
    assert beamtime.ticks(3) == []
    assert beamtime.observed == []


def test_a_restricted_scan_is_observed_with_its_reason(
    settings: Settings, instance: dg.DagsterInstance, clock: SleptClock, resources: dict[str, dg.ResourceDefinition]
) -> None:
    control = ExportControl(default="unrestricted", restricted_folders=("secret*",))
    restricted = Settings(settings.deployment, settings.beamline.model_copy(update={"export_control": control}))
    definitions = compose(restricted, **resources)
    beamtime = Beamtime(Daemon(instance, definitions.get_repository_def(), clock), clock)
    beamtime.ticks()
    beamtime.arrive("secret-1/a.h5", "open/a.h5")
    assert beamtime.ticks(2) == ["open/a"]
    beamtime.clock.sleep(HOUR_S)
    assert beamtime.ticks(2) == []
    assert beamtime.observed == [("secret-1/a", "restricted-folder")]


@pytest.mark.parametrize(
    ("learn", "reason"),
    [
        (
            lambda of: of.restrict("a/a", SIDECAR, author="", note="", at=NOW),
            "restricted-by-sidecar",
        ),
        (lambda of: of.changed("a/a", "12 bytes", at=NOW), "changed-after-it-was-complete"),
        (
            lambda of: of.announced("a/a", export_control=False, withheld_from=frozenset({"nersc"}), author="", at=NOW),
            "not-to-be-sent",
        ),
    ],
)
@pytest.mark.parametrize("early", [True, False])
def test_what_is_learned_of_a_scan_before_its_raw_copy_is_there_keeps_it_out_of_the_branch(
    beamtime: Beamtime, desk: Desk, learn: Callable[[Standings], None], reason: str, early: bool
) -> None:
    if early:
        learn(desk.standings)
    beamtime.arrive("a/a.h5", "b/b.h5", ingested=False)
    beamtime.ticks()
    learn(desk.standings)
    beamtime.ingest("a/a.h5")
    beamtime.ingest("b/b.h5")
    assert beamtime.ticks(2) == ["b/b"]
    beamtime.clock.sleep(HOUR_S)
    assert beamtime.ticks(2) == []
    assert [said for key, said in beamtime.observed if key == "a/a"][-1] == reason


def test_of_an_aborted_scan_the_raw_copy_alone_is_made(beamtime: Beamtime, desk: Desk) -> None:
    desk.standings.inspected("a/a", proposal=None, aborted="3 of 5 projections")
    beamtime.arrive("a/a.h5")
    said = beamtime.daemon.tick(SENSOR)
    [request] = said.run_requests or []
    assert (request.partition_key, request.asset_selection) == ("a/a", [FIRST])
    [event] = said.asset_events
    assert event.metadata["reason"].value == "aborted"
    assert "3 of 5 projections" in str(event.metadata["decision"].value)
    assert beamtime.ticks(2) == []


# -- the switch ------------------------------------------------------------------------------------------------------


def test_what_arrived_while_the_router_was_off_is_observed_as_skipped_and_never_run(beamtime: Beamtime) -> None:
    beamtime.arrive("a/before.h5")
    assert beamtime.ticks() == ["a/before"]
    beamtime.off_and_on(lambda: beamtime.arrive("a/meanwhile.h5"))
    beamtime.arrive("a/after.h5")
    assert beamtime.ticks() == ["a/after"]
    beamtime.clock.sleep(HOUR_S)
    assert beamtime.ticks(3) == []
    assert beamtime.observed == [("a/meanwhile", "skipped-by-operator")]


def test_what_arrived_while_it_was_off_is_skipped_though_it_takes_several_ticks_to_read(
    beamtime: Beamtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routers, "READ_A_TICK", 2)
    paths = [f"a/{number}.h5" for number in range(5)]
    beamtime.off_and_on(lambda: beamtime.arrive(*paths))
    assert beamtime.ticks(5) == []
    assert beamtime.observed == [(ScanId(path).key, "skipped-by-operator") for path in paths]


def test_what_arrived_while_it_was_off_is_skipped_though_its_first_tick_failed(beamtime: Beamtime) -> None:
    beamtime.off_and_on(lambda: beamtime.arrive("a/a.h5"))
    beamtime.daemon.tick(SENSOR, dies_before=Stage.EVENTS)
    beamtime.clock.sleep(INTERVAL_S)
    assert beamtime.ticks(2) == []
    assert beamtime.observed == [("a/a", "skipped-by-operator")]


def test_a_scan_that_waits_when_the_router_is_switched_off_runs_when_it_is_on_again(beamtime: Beamtime) -> None:
    beamtime.arrive("a/a.h5", ingested=False)
    beamtime.ticks()
    beamtime.off_and_on(lambda: beamtime.ingest("a/a.h5"))
    assert beamtime.ticks() == ["a/a"]


def test_after_a_restart_of_the_daemon_nothing_is_skipped(beamtime: Beamtime) -> None:
    beamtime.clock.sleep(24 * HOUR_S)
    beamtime.arrive("a/a.h5")
    beamtime.clock.sleep(24 * HOUR_S)
    assert beamtime.ticks() == ["a/a"]
    assert beamtime.observed == []


# -- beginnings ------------------------------------------------------------------------------------------------------


def test_a_router_that_is_new_leaves_the_past_alone(daemon: Daemon, clock: SleptClock) -> None:
    beamtime = Beamtime(daemon, clock)
    beamtime.arrive("a/long-ago.h5")
    clock.sleep(HOUR_S)
    beamtime.arrive("a/while-it-was-started.h5")
    assert beamtime.ticks() == ["a/while-it-was-started"]
    clock.sleep(HOUR_S)
    assert beamtime.ticks() == []
    assert beamtime.observed == []


def test_a_facility_that_is_not_preferred_takes_nothing_and_begins_afresh_when_it_becomes_so(
    settings: Settings, instance: dg.DagsterInstance, clock: SleptClock, desk: Desk
) -> None:
    def beamtime(*preference: str) -> Beamtime:
        facilities = dict.fromkeys(preference, settings.beamline.facilities["nersc"])
        beamline = settings.beamline.model_copy(update={"facilities": facilities, "preference": preference})
        partitions = dg.DynamicPartitionsDefinition(name=SCANS)
        definitions = dg.Definitions(
            assets=[dg.AssetSpec(ARRIVAL, partitions_def=partitions), _asset(INGESTED), _asset(FIRST)],
            jobs=[dg.define_asset_job(BRANCH, selection=[FIRST])],
            sensors=[router_sensor(beamline, settings.deployment.timing, "nersc", Job(BRANCH, partitions), MARKS)],
            resources={
                "clock": dg.ResourceDefinition.hardcoded_resource(clock),
                "gate": dg.ResourceDefinition.hardcoded_resource(desk.gate),
            },
        )
        return Beamtime(Daemon(instance, definitions.get_repository_def(), clock), clock)

    second = beamtime("other", "nersc")
    second.ticks()
    second.arrive("a/of-the-other.h5")
    assert second.ticks() == []
    first = beamtime("nersc", "other")
    first.daemon.switches = second.daemon.switches
    assert first.ticks() == []
    first.clock.sleep(HOUR_S)
    first.arrive("a/ours.h5")
    assert first.ticks() == ["a/ours"]
    assert first.observed == []


def _asset(key: dg.AssetKey) -> dg.AssetsDefinition:
    @dg.asset(key=key, partitions_def=dg.DynamicPartitionsDefinition(name=SCANS))
    def made() -> None: ...

    return made


@pytest.mark.parametrize("cursor", [None, "typed by hand"])
def test_after_a_lost_cursor_nothing_is_routed_twice_and_what_waited_is_routed(
    beamtime: Beamtime, cursor: str | None
) -> None:
    beamtime.arrive("a/routed.h5")
    beamtime.arrive("a/waiting.h5", ingested=False)
    assert beamtime.ticks() == ["a/routed"]
    beamtime.daemon.switches[SENSOR].cursor = cursor
    beamtime.clock.sleep(GRACE_S)
    beamtime.ingest("a/waiting.h5")
    assert beamtime.ticks(2) == ["a/waiting"]


def test_what_was_skipped_stays_so_after_its_raw_copies_are_backfilled_and_the_cursor_is_lost(
    beamtime: Beamtime,
) -> None:
    paths = [f"a/{number}.h5" for number in range(3)]
    beamtime.off_and_on(lambda: beamtime.arrive(*paths, ingested=False))
    assert beamtime.ticks(2) == []
    for path in paths:
        beamtime.ingest(path)
    assert beamtime.ticks(2) == []
    beamtime.daemon.switches[SENSOR].cursor = None
    beamtime.clock.sleep(HOUR_S)
    assert beamtime.ticks(3) == []
    assert {reason for _, reason in beamtime.observed} == {"skipped-by-operator"}


@pytest.mark.parametrize("first_tick_fails", [False, True])
def test_a_cursor_that_is_lost_while_the_router_is_off_lets_nothing_through(
    beamtime: Beamtime, first_tick_fails: bool
) -> None:
    beamtime.off_and_on(lambda: beamtime.arrive("a/a.h5", "a/b.h5"))
    beamtime.daemon.switches[SENSOR].cursor = None
    if first_tick_fails:
        beamtime.daemon.tick(SENSOR, dies_before=Stage.EVENTS)
        beamtime.clock.sleep(INTERVAL_S)
    beamtime.clock.sleep(GRACE_S)
    assert beamtime.ticks(3) == []
    assert beamtime.observed == [("a/a", "skipped-by-operator"), ("a/b", "skipped-by-operator")]


def test_a_cursor_that_is_lost_before_all_that_was_missed_is_read_lets_nothing_through(
    beamtime: Beamtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routers, "READ_A_TICK", 2)
    paths = [f"a/{number}.h5" for number in range(5)]
    beamtime.off_and_on(lambda: beamtime.arrive(*paths))
    assert beamtime.ticks() == []
    beamtime.daemon.switches[SENSOR].cursor = None
    beamtime.clock.sleep(GRACE_S)
    assert beamtime.ticks(3) == []
    assert {reason for _, reason in beamtime.observed} == {"skipped-by-operator"}


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_an_arrival_that_the_cursor_stepped_over_is_routed_later(beamtime: Beamtime) -> None:
    beamtime.arrive("a/stepped-over.h5", "a/read.h5")
    arrivals = beamtime.daemon.instance.fetch_materializations(ARRIVAL, limit=2).records
    beamtime.memory = beamtime.memory.model_copy(update={"after": arrivals[0].storage_id})
    assert beamtime.ticks() == []
    beamtime.clock.sleep(GRACE_S)
    assert beamtime.ticks() == ["a/stepped-over", "a/read"]


def test_a_tick_that_died_before_its_runs_is_made_good(beamtime: Beamtime) -> None:
    beamtime.arrive("a/a.h5")
    beamtime.daemon.tick(SENSOR, dies_before=Stage.RUNS)
    assert beamtime.ticks(2) == ["a/a"]


def test_a_run_that_was_promised_and_never_created_is_requested_again(beamtime: Beamtime) -> None:
    beamtime.arrive("a/a.h5")
    said = beamtime.daemon.tick(SENSOR, dies_before=Stage.RUNS)
    beamtime.daemon.switches[SENSOR].cursor = said.cursor
    beamtime.clock.sleep(GRACE_S)
    assert beamtime.ticks(2) == ["a/a"]


def test_a_run_that_failed_or_was_deleted_is_not_requested_again(beamtime: Beamtime) -> None:
    beamtime.arrive("a/a.h5")
    beamtime.ticks()
    beamtime.clock.sleep(GRACE_S)
    beamtime.ticks()
    [run] = beamtime.daemon.instance.get_runs()
    beamtime.daemon.instance.report_run_failed(run)
    beamtime.clock.sleep(HOUR_S)
    assert beamtime.ticks() == []
    beamtime.daemon.instance.delete_run(run.run_id)
    beamtime.clock.sleep(HOUR_S)
    assert beamtime.ticks() == []


def test_a_scan_that_a_person_has_sent_through_the_branch_is_not_sent_again(beamtime: Beamtime) -> None:
    beamtime.arrive("a/a.h5", ingested=False)
    beamtime.ticks()
    job = beamtime.daemon.repository.get_job(BRANCH)
    beamtime.daemon.instance.create_run_for_job(job, tags={"dagster/partition": "a/a"})
    beamtime.ingest("a/a.h5")
    assert beamtime.ticks(2) == []


def test_an_arrival_that_is_recorded_twice_is_routed_once(beamtime: Beamtime) -> None:
    beamtime.arrive("a/a.h5", "a/a.h5")
    assert beamtime.ticks() == ["a/a"]
    beamtime.arrive("a/a.h5")
    assert beamtime.ticks(2) == []


def test_a_partition_that_was_deleted_while_it_waited_fails_no_tick(beamtime: Beamtime) -> None:
    beamtime.arrive("a/deleted.h5", "a/kept.h5")
    beamtime.daemon.instance.delete_dynamic_partition(SCANS, "a/deleted")
    assert beamtime.ticks() == ["a/kept"]


def test_when_the_waiting_list_is_full_arrivals_wait_in_the_event_log(beamtime: Beamtime) -> None:
    now = beamtime.clock.now().timestamp()
    waits = Waiting(reason="waiting-for-the-raw-copy", since=now)  # type: ignore[arg-type]
    full = {f"stuck/{number}": waits for number in range(WAITING_AT_MOST)}
    beamtime.memory = beamtime.memory.model_copy(update={"waiting": full})
    beamtime.arrive("a/a.h5", "a/b.h5")
    assert beamtime.ticks(3) == []
    beamtime.arrive("stuck/0.h5")
    assert beamtime.ticks() == ["stuck/0"]
    assert beamtime.ticks(2) == ["a/a", "a/b"]
