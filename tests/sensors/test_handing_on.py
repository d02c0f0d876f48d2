"""An outage: what the routers of three facilities do with new scans. Whole ticks, against the event log."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from als_assets.definitions import compose
from beamlines.config import Beamline
from beamlines.decisions import Reason
from beamlines.policy import Arrival
from beamlines.scans import ScanId
from resources.facilities.service import FacilityState, Health, Outage
from resources.settings import Settings
from resources.testing import Desk, SleptClock
from sensors import routers
from sensors.arrivals import Complete
from sensors.event_log import arrival_record
from sensors.routers import GRACE_S
from sensors.routing import RouterMemory
from sensors.state_log import state_record
from sensors.states import Recorded
from sensors.testing import Daemon, Stage

SCANS = "bl832_scans"
FACILITIES = ("nersc", "alcf", "olcf")
ARRIVAL = dg.AssetKey(["bl832", "spot832", "raw"])
INGESTED = dg.AssetKey(["bl832", "data832", "raw"])
INTERVAL_S, HOUR_S = 5, 3600
ACTIVE = FacilityState(Health.ACTIVE)
DOWN = FacilityState(Health.UNAVAILABLE, "no answer")


def key_of(facility: str, artifact: str) -> dg.AssetKey:
    return dg.AssetKey(["bl832", facility, artifact])


class Centres:
    """Three facilities in their order of preference, their routers, and scans that arrive."""

    def __init__(self, daemon: Daemon, clock: SleptClock, beamline: Beamline) -> None:
        self.daemon, self.clock, self.beamline = daemon, clock, beamline

    @property
    def instance(self) -> dg.DagsterInstance:
        return self.daemon.instance

    def arrive(self, *paths: str, ingested: bool = True) -> None:
        for path in paths:
            self.instance.add_dynamic_partitions(SCANS, [ScanId(path).key])
            scan = Complete(path, 4, self.clock.now())
            self.daemon.report(arrival_record(self.beamline, ARRIVAL, scan, Arrival.NEW))
            self.clock.sleep(1)
            if ingested:
                self.ingest(path)

    def ingest(self, path: str) -> None:
        self.daemon.report(dg.AssetMaterialization(INGESTED, partition=ScanId(path).key))

    def are(self, state: FacilityState, *facilities: str) -> None:
        """What the status sensor has recorded of these."""
        now = self.clock.now()
        for facility in facilities:
            self.daemon.report(state_record(key_of(facility, "status"), Recorded(state, now, now)))

    def tick(self, *facilities: str, times: int = 1) -> list[tuple[str, str]]:
        """Tick these routers, or all, in turn; branch and scan of every run that was created."""
        before = len(self.daemon.runs)
        for _ in range(times):
            for facility in facilities or FACILITIES:
                self.daemon.tick(sensor(facility))
            self.clock.sleep(INTERVAL_S)
        return [(job.removeprefix("bl832_"), key) for job, key in self.daemon.runs[before:]]

    def observed(self, facility: str) -> list[tuple[str, str]]:
        """Scan and reason of every observation, oldest first."""
        return [(key, str(metadata["reason"].value)) for key, metadata in self._observed(facility)]

    def words(self, facility: str) -> list[str]:
        """What was said, oldest first."""
        return [str(metadata["decision"].value) for _, metadata in self._observed(facility)]

    def _observed(self, facility: str) -> list[tuple[str, dict[str, dg.MetadataValue]]]:
        found = self.instance.fetch_observations(key_of(facility, "raw"), limit=2_000, ascending=True).records
        events = [(str(record.partition_key), record.asset_observation) for record in found]
        return [(key, dict(event.metadata)) for key, event in events if event is not None]

    def lose_cursor(self, facility: str) -> None:
        self.daemon.switches[sensor(facility)].cursor = None

    def memory(self, facility: str) -> RouterMemory:
        return RouterMemory.model_validate_json(str(self.daemon.switches[sensor(facility)].cursor))

    def switch_off(self, facility: str) -> None:
        """As a person does it in the UI: that is stored in the instance."""
        target = LoadableTargetOrigin(module_name="als_assets.definitions")
        repository = RemoteRepositoryOrigin(InProcessCodeLocationOrigin(target, location_name="als"), "__repository__")
        origin = RemoteInstigatorOrigin(repository, sensor(facility))
        self.instance.add_instigator_state(InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.STOPPED))


def sensor(facility: str) -> str:
    return f"bl832_route_to_{facility}"


@pytest.fixture
def beamline(settings: Settings) -> Beamline:
    """8.3.2 with three facilities, all behind the same service: routers never ask it."""
    places, nersc = settings.beamline.places, settings.beamline.facilities["nersc"]
    olcf = places["alcf"].model_copy(update={"name": "olcf", "facility": "olcf"})
    more = {
        name: nersc.model_copy(update={"raw": name, "work": name, "results": ("data832",)}) for name in FACILITIES[1:]
    }
    return settings.beamline.model_copy(
        update={
            "places": {**places, "olcf": olcf},
            "facilities": {"nersc": nersc, **more},
            "preference": FACILITIES,
        }
    )


@pytest.fixture
def make(
    settings: Settings,
    beamline: Beamline,
    instance: dg.DagsterInstance,
    clock: SleptClock,
    resources: dict[str, dg.ResourceDefinition],
) -> Callable[..., Centres]:
    def centres(*preference: str) -> Centres:
        ordered = beamline.model_copy(update={"preference": preference or FACILITIES})
        definitions = compose(Settings(settings.deployment, ordered), **resources)
        return Centres(Daemon(instance, definitions.get_repository_def(), clock), clock, ordered)

    return centres


@pytest.fixture
def centres(make: Callable[..., Centres]) -> Centres:
    """Routers that have ticked before anything arrived."""
    made = make()
    made.tick()
    return made


def test_in_an_outage_the_next_facility_takes_a_new_scan_and_the_record_says_why(centres: Centres) -> None:
    now = centres.clock.now()
    end = now.replace(hour=18, minute=0) + timedelta(days=1)
    centres.are(FacilityState(Health.UNAVAILABLE, "Down", (Outage(now, end, "Maintenance"),)), "nersc")
    centres.arrive("a/a.h5", "a/b.h5")
    assert centres.tick(times=2) == [("alcf", "a/a"), ("alcf", "a/b")]
    assert centres.observed("nersc") == [("a/a", "handed-on"), ("a/b", "handed-on")]
    assert centres.words("nersc")[0] == (
        f"no (handed-on): NERSC: Maintenance until {end:%Y-%m-%d} 18:00 UTC, handed to ALCF"
    )
    centres.are(ACTIVE, "nersc")
    centres.arrive("a/c.h5")
    centres.clock.sleep(HOUR_S)
    assert centres.tick(times=3) == [("nersc", "a/c")]
    assert (centres.observed("alcf"), centres.observed("olcf")) == ([], [])


@pytest.mark.parametrize(
    "state",
    [None, ACTIVE, FacilityState(Health.DEGRADED, "Slow"), FacilityState(Health.OTHER, "no login")],
    ids=["not recorded", "active", "degraded", "other"],
)
def test_what_is_no_outage_hands_nothing_on(centres: Centres, state: FacilityState | None) -> None:
    if state is not None:
        centres.are(state, "nersc")
    centres.arrive("a/a.h5")
    assert centres.tick(times=2) == [("nersc", "a/a")]


def test_a_planned_outage_counts_from_its_beginning_to_its_end(centres: Centres) -> None:
    now = centres.clock.now()
    planned = Outage(now + timedelta(hours=1), now + timedelta(hours=2), "Maintenance")
    centres.are(FacilityState(Health.ACTIVE, outages=(planned,)), "nersc")
    runs = []
    for name in ("before", "during", "after"):
        centres.arrive(f"a/{name}.h5")
        runs += centres.tick(times=2)
        centres.clock.sleep(HOUR_S)
    assert runs == [("nersc", "a/before"), ("alcf", "a/during"), ("nersc", "a/after")]


def test_the_outage_counts_when_a_scan_would_be_sent_not_when_it_arrives(centres: Centres) -> None:
    centres.are(DOWN, "nersc")
    centres.arrive("a/over-in-time.h5", ingested=False)
    centres.tick()
    centres.are(ACTIVE, "nersc")
    centres.arrive("a/begins-meanwhile.h5", ingested=False)
    centres.ingest("a/over-in-time.h5")
    assert centres.tick() == [("nersc", "a/over-in-time")]
    centres.are(DOWN, "nersc")
    centres.ingest("a/begins-meanwhile.h5")
    assert centres.tick(times=2) == [("alcf", "a/begins-meanwhile")]


# -- who takes it ----------------------------------------------------------------------------------------------------


def test_a_facility_that_is_in_an_outage_itself_is_passed_over(centres: Centres) -> None:
    centres.are(DOWN, "nersc", "alcf")
    centres.arrive("a/a.h5")
    assert centres.tick(times=2) == [("olcf", "a/a")]
    assert centres.observed("alcf") == []


def test_where_nobody_is_to_be_had_a_scan_waits_for_the_first_and_that_is_said_once(centres: Centres) -> None:
    centres.are(DOWN, *FACILITIES)
    centres.arrive("a/a.h5")
    assert centres.tick(times=5) == []
    centres.clock.sleep(30 * HOUR_S)
    centres.are(DOWN, *FACILITIES)
    assert centres.tick(times=2) == []
    assert centres.observed("nersc") == [("a/a", "waiting-for-the-end-of-an-outage")]
    assert "NERSC: unavailable: no answer" in centres.words("nersc")[0]
    centres.are(ACTIVE, "nersc")
    assert centres.tick(times=2) == [("nersc", "a/a")]


def test_what_waits_is_handed_on_when_another_is_back_first(centres: Centres) -> None:
    centres.are(DOWN, *FACILITIES)
    centres.arrive("a/a.h5")
    centres.tick(times=2)
    centres.are(ACTIVE, "olcf")
    assert centres.tick(times=2) == [("olcf", "a/a")]


def test_without_another_facility_a_scan_waits(make: Callable[..., Centres], beamline: Beamline) -> None:
    centres = make()
    centres.beamline = beamline
    centres.tick()
    centres.are(DOWN, *FACILITIES[1:])
    centres.are(DOWN, "nersc")
    centres.arrive("a/a.h5")
    assert centres.tick(times=3) == []
    assert [*centres.memory("nersc").waiting] == ["a/a"]


def test_a_scan_that_must_not_go_to_the_next_facility_goes_to_the_one_after_it(centres: Centres, desk: Desk) -> None:
    said = {"author": "", "at": centres.clock.now()}
    desk.standings.announced("a/a", export_control=False, withheld_from=frozenset({"alcf"}), **said)
    desk.standings.announced("a/b", export_control=False, withheld_from=frozenset({"alcf", "olcf"}), **said)
    desk.standings.announced("a/c", export_control=False, withheld_from=frozenset({"nersc"}), **said)
    centres.are(DOWN, "nersc")
    centres.arrive("a/a.h5", "a/b.h5", "a/c.h5")
    assert centres.tick(times=3) == [("olcf", "a/a")]
    assert centres.observed("nersc") == [
        ("a/a", "handed-on"),
        ("a/b", "waiting-for-the-end-of-an-outage"),
        ("a/c", "not-to-be-sent"),
    ]


def test_a_restricted_scan_is_handed_to_nobody(centres: Centres, desk: Desk) -> None:
    desk.standings.restrict(
        "a/a", Reason.RESTRICTED_BY_SIDECAR, author="", note="", at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    centres.are(DOWN, "nersc")
    centres.arrive("a/a.h5")
    assert centres.tick(times=3) == []
    assert centres.observed("nersc") == [("a/a", "restricted-by-sidecar")]


def test_what_is_learned_of_a_scan_after_it_was_handed_on_counts_where_it_goes(centres: Centres, desk: Desk) -> None:
    centres.are(DOWN, "nersc")
    centres.arrive("a/a.h5")
    centres.tick("nersc")
    desk.standings.changed("a/a", "12 bytes", at=centres.clock.now())
    assert centres.tick(times=2) == []
    assert centres.observed("alcf") == [("a/a", "changed-after-it-was-complete")]


def test_of_an_aborted_scan_the_raw_copy_waits_for_the_facility_that_keeps_it(centres: Centres, desk: Desk) -> None:
    desk.standings.inspected("a/a", proposal=None, aborted="3 of 5 projections")
    centres.are(DOWN, "nersc")
    centres.arrive("a/a.h5")
    assert centres.tick(times=2) == []
    assert centres.observed("nersc") == [("a/a", "waiting-for-the-end-of-an-outage")]
    centres.are(ACTIVE, "nersc")
    assert centres.tick(times=2) == [("nersc", "a/a")]
    assert centres.observed("nersc")[-1] == ("a/a", "aborted")


def test_a_scan_that_a_person_sends_through_the_branch_is_not_handed_on(centres: Centres) -> None:
    centres.arrive("a/a.h5", ingested=False)
    centres.tick()
    job = centres.daemon.repository.get_job("bl832_nersc")
    centres.instance.create_run_for_job(job, tags={"dagster/partition": "a/a"})
    centres.are(DOWN, "nersc")
    centres.ingest("a/a.h5")
    assert centres.tick(times=3) == []
    assert centres.observed("nersc") == []


def test_a_scan_that_a_person_sends_to_the_other_facility_first_is_not_sent_there_again(centres: Centres) -> None:
    centres.are(DOWN, "nersc")
    centres.arrive("a/a.h5")
    centres.tick("nersc")
    job = centres.daemon.repository.get_job("bl832_alcf")
    centres.instance.create_run_for_job(job, tags={"dagster/partition": "a/a"})
    assert centres.tick(times=3) == []


def test_a_facility_whose_outage_begins_with_a_scan_in_hand_hands_it_further_but_never_back(centres: Centres) -> None:
    centres.are(DOWN, "nersc")
    centres.arrive("a/further.h5")
    centres.tick("nersc")
    centres.are(DOWN, "alcf")
    centres.are(ACTIVE, "nersc")
    assert centres.tick(times=2) == [("olcf", "a/further")]
    assert centres.observed("alcf") == [("a/further", "handed-on")]
    centres.are(DOWN, "nersc")
    centres.are(ACTIVE, "alcf")
    centres.arrive("a/kept.h5")
    centres.tick("nersc")
    centres.are(DOWN, "alcf", "olcf")
    centres.are(ACTIVE, "nersc")
    assert centres.tick(times=2) == []
    assert centres.observed("alcf")[-1] == ("a/kept", "waiting-for-the-end-of-an-outage")
    centres.are(ACTIVE, "alcf")
    assert centres.tick(times=2) == [("alcf", "a/kept")]


# -- the switches ----------------------------------------------------------------------------------------------------


def test_a_router_that_is_switched_off_hands_nothing_on(centres: Centres) -> None:
    centres.clock.sleep(INTERVAL_S)
    centres.are(DOWN, "nersc")
    centres.arrive("a/a.h5")
    centres.clock.sleep(INTERVAL_S)
    centres.daemon.switch_on(sensor("nersc"))
    assert centres.tick(times=3) == []
    assert centres.observed("nersc") == [("a/a", "skipped-by-operator")]


def test_nothing_is_handed_to_a_facility_that_is_switched_off(centres: Centres) -> None:
    centres.switch_off("alcf")
    centres.are(DOWN, "nersc")
    centres.arrive("a/a.h5")
    assert centres.tick("nersc", "olcf", times=2) == [("olcf", "a/a")]


def test_what_was_handed_to_a_router_while_it_was_switched_off_is_skipped_by_the_operator(centres: Centres) -> None:
    centres.are(DOWN, "nersc")
    centres.clock.sleep(INTERVAL_S)
    centres.arrive("a/a.h5")
    centres.tick("nersc")  # it was not off yet
    centres.daemon.switch_on(sensor("alcf"))
    centres.clock.sleep(1)
    assert centres.tick(times=3) == []
    assert centres.observed("alcf") == [("a/a", "skipped-by-operator")]


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_tick_that_died_when_it_had_handed_on_sends_nothing_itself_afterwards(centres: Centres) -> None:
    centres.are(DOWN, "nersc")
    centres.arrive("a/a.h5")
    centres.daemon.tick(sensor("nersc"), dies_before=Stage.PARTITIONS)
    centres.are(ACTIVE, "nersc")
    assert centres.tick(times=3) == [("alcf", "a/a")]
    assert centres.observed("nersc") == [("a/a", "handed-on")]


def test_a_tick_that_died_when_it_had_sent_a_scan_hands_nothing_on_afterwards(centres: Centres) -> None:
    centres.arrive("a/a.h5")
    centres.daemon.tick(sensor("nersc"), dies_before=Stage.CURSOR)
    centres.are(DOWN, "nersc")
    assert centres.tick(times=3) == []
    assert centres.observed("nersc") == []


def test_a_tick_that_died_before_it_was_recorded_is_made_good(centres: Centres) -> None:
    centres.are(DOWN, "nersc")
    centres.arrive("a/a.h5")
    centres.daemon.tick(sensor("nersc"), dies_before=Stage.EVENTS)
    assert centres.tick("nersc") == []
    centres.daemon.tick(sensor("alcf"), dies_before=Stage.RUNS)
    assert centres.tick(times=3) == [("alcf", "a/a")]


@pytest.mark.parametrize(("lost", "outage_is_over"), [(("nersc",), True), (("alcf",), False), (FACILITIES, True)])
def test_after_lost_cursors_a_scan_that_was_handed_on_is_sent_once(
    centres: Centres, lost: tuple[str, ...], outage_is_over: bool
) -> None:
    centres.are(DOWN, "nersc")
    centres.arrive("a/sent.h5")
    assert centres.tick(times=2) == [("alcf", "a/sent")]
    centres.arrive("a/on-its-way.h5")
    centres.tick("nersc")
    for facility in lost:
        centres.lose_cursor(facility)
    if outage_is_over:
        centres.are(ACTIVE, "nersc")
    runs = centres.tick(times=2)
    centres.clock.sleep(GRACE_S)
    assert runs + centres.tick(times=3) == [("alcf", "a/on-its-way")]


def test_a_scan_that_waits_for_an_outage_is_found_again_after_a_lost_cursor(centres: Centres) -> None:
    centres.are(DOWN, *FACILITIES)
    centres.arrive("a/a.h5")
    centres.tick(times=2)
    centres.lose_cursor("nersc")
    centres.clock.sleep(GRACE_S)
    centres.tick(times=2)
    centres.are(ACTIVE, "nersc")
    assert centres.tick(times=2) == [("nersc", "a/a")]


def test_what_the_cursor_stepped_over_is_taken_later(centres: Centres) -> None:
    centres.are(DOWN, "nersc")
    centres.arrive("a/a.h5", "a/b.h5")
    centres.tick("nersc")
    memory = centres.memory("alcf")
    newest = centres.instance.fetch_observations(key_of("nersc", "raw"), limit=1).records[0].storage_id
    assert memory.handed_on is not None
    position = memory.handed_on.model_copy(update={"after": newest})
    centres.daemon.switches[sensor("alcf")].cursor = memory.model_copy(update={"handed_on": position}).model_dump_json()
    assert centres.tick(times=2) == []
    centres.clock.sleep(GRACE_S)
    assert centres.tick(times=2) == [("alcf", "a/a"), ("alcf", "a/b")]


def test_a_run_that_failed_after_it_was_handed_on_is_not_requested_again(centres: Centres) -> None:
    centres.are(DOWN, "nersc")
    centres.arrive("a/a.h5")
    centres.tick(times=2)
    [run] = centres.instance.get_runs()
    centres.instance.report_run_failed(run)
    centres.clock.sleep(GRACE_S)
    centres.tick(times=2)
    centres.instance.delete_run(run.run_id)
    centres.clock.sleep(HOUR_S)
    assert centres.tick(times=3) == []


def test_a_partition_that_was_deleted_when_it_had_been_handed_on_fails_no_tick(centres: Centres) -> None:
    centres.are(DOWN, "nersc")
    centres.arrive("a/deleted.h5", "a/kept.h5")
    centres.tick("nersc")
    centres.instance.delete_dynamic_partition(SCANS, "a/deleted")
    assert centres.tick(times=2) == [("alcf", "a/kept")]


def test_a_full_list_loses_nothing_neither_here_nor_there(centres: Centres, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sensors.routers", "sensors.routing"):
        monkeypatch.setattr(f"{module}.WAITING_AT_MOST", 3)
    paths = [f"a/{number}.h5" for number in range(8)]
    centres.are(DOWN, *FACILITIES)
    centres.arrive(*paths)
    assert centres.tick(times=4) == []
    assert len(centres.memory("nersc").waiting) == 3
    centres.are(ACTIVE, "alcf")
    centres.tick("nersc", times=4)
    centres.are(DOWN, "alcf")
    assert centres.tick("alcf", times=3) == []
    assert len(centres.memory("alcf").waiting) == 3
    centres.are(ACTIVE, "alcf", "nersc")
    runs = centres.tick(times=8)
    centres.clock.sleep(GRACE_S)
    runs += centres.tick(times=2)
    assert sorted(runs) == [("alcf", ScanId(path).key) for path in paths]


def test_what_two_facilities_hand_on_is_read_in_the_order_of_the_log_and_nothing_is_stepped_over(
    centres: Centres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routers, "READ_A_TICK", 2)
    centres.are(DOWN, "nersc", "alcf")
    centres.arrive("a/0.h5", "a/1.h5", "a/2.h5")
    centres.tick("nersc", times=2)
    centres.are(ACTIVE, "alcf")
    centres.arrive("b/0.h5", "b/1.h5")
    centres.tick("nersc")
    centres.are(DOWN, "alcf")
    centres.tick("alcf", times=3)  # it passes what went by it
    assert centres.tick("olcf", times=5) == [("olcf", key) for key in ("a/0", "a/1", "a/2", "b/0", "b/1")]


def test_a_memory_of_the_time_before_anything_was_handed_on_is_understood(centres: Centres) -> None:
    for facility in FACILITIES:
        memory = centres.memory(facility).model_dump()
        del memory["handed_on"]
        centres.daemon.switches[sensor(facility)].cursor = RouterMemory.model_validate(memory).model_dump_json()
    centres.are(DOWN, "nersc")
    centres.arrive("a/a.h5")
    assert centres.tick(times=2) == [("alcf", "a/a")]


def test_what_was_handed_on_is_taken_also_by_a_facility_that_has_become_the_first(
    centres: Centres, make: Callable[..., Centres]
) -> None:
    centres.are(DOWN, "nersc")
    centres.arrive("a/a.h5")
    centres.tick("nersc")
    again = make("alcf", "nersc", "olcf")
    again.daemon.switches = centres.daemon.switches
    again.arrive("a/b.h5")
    assert sorted(again.tick(times=2)) == [("alcf", "a/a"), ("alcf", "a/b")]
