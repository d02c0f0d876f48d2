"""What a router decides, from plain values."""

import itertools
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamlines.config import Beamline
from beamlines.decisions import Reason
from beamlines.policy import Arrival, ExportControl
from resources.settings import load_settings
from sensors.follow_up import Arrived, old_enough, overlooked
from sensors.routing import (
    ROUTED_A_TICK,
    WAIT_AT_MOST,
    WAITING_AT_MOST,
    Ready,
    RouterMemory,
    Routing,
    Waiting,
    decide,
)

NOW = 1_000_000.0
DEPLOYMENT_FILE = Path(__file__).parents[2] / "config" / "twin.yaml"


@pytest.fixture(scope="module")
def beamline() -> Beamline:
    return load_settings(DEPLOYMENT_FILE, {}).beamline


def arrived(key: str, arrival: Arrival = Arrival.NEW, recorded: float = NOW, storage_id: int = 1) -> Arrived:
    return Arrived(storage_id, key, arrival, recorded)


def waiting(*keys: str, since: float = NOW) -> dict[str, Waiting]:
    return {key: Waiting(reason=Reason.WAITING_FOR_RAW, since=since) for key in keys}


def reasons(routing: Routing) -> dict[str, Reason]:
    return {key: decision.reason for key, decision in routing.observe.items()}


def test_a_new_scan_whose_raw_copy_is_there_runs(beamline: Beamline) -> None:
    routing = decide(beamline, "nersc", RouterMemory(), [arrived("a/a")], Ready(ingested={"a/a"}), NOW)
    assert (routing.run, routing.observe, routing.memory.waiting) == (["a/a"], {}, {})


def test_a_new_scan_without_its_raw_copy_waits_and_after_a_while_that_is_observed_once(beamline: Beamline) -> None:
    routing = decide(beamline, "nersc", RouterMemory(), [arrived("a/a")], Ready(), NOW)
    assert reasons(routing) == {}
    said = []
    for later in (60, 119, 120, 121, 600):
        routing = decide(beamline, "nersc", routing.memory, [], Ready(), NOW + later)
        said.append(reasons(routing))
    assert said == [{}, {}, {"a/a": Reason.WAITING_FOR_RAW}, {}, {}]
    routing = decide(beamline, "nersc", routing.memory, [], Ready(ingested={"a/a"}), NOW + 601)
    assert (routing.run, routing.memory.waiting) == (["a/a"], {})


@pytest.mark.parametrize("arrival", [Arrival.ADOPTED, Arrival.REPAIR])
def test_only_new_scans_are_routed_and_the_others_are_not_even_mentioned(beamline: Beamline, arrival: Arrival) -> None:
    routing = decide(beamline, "nersc", RouterMemory(), [arrived("a/a", arrival)], Ready(ingested={"a/a"}), NOW)
    assert (routing.run, routing.observe, routing.memory.waiting) == ([], {}, {})


def test_only_the_first_facility_of_the_preference_takes_new_scans(beamline: Beamline) -> None:
    two = beamline.model_copy(
        update={
            "facilities": {**beamline.facilities, "other": beamline.facilities["nersc"]},
            "preference": ("nersc", "other"),
        }
    )
    ready = Ready(ingested={"a/a"})
    assert decide(two, "nersc", RouterMemory(), [arrived("a/a")], ready, NOW).run == ["a/a"]
    assert decide(two, "other", RouterMemory(), [arrived("a/a")], ready, NOW) == Routing(RouterMemory(ticked=NOW))


def test_a_restricted_scan_is_observed_with_its_reason_and_never_waits(beamline: Beamline) -> None:
    control = ExportControl(default="unrestricted", restricted_folders=("secret*",))
    restricted = beamline.model_copy(update={"export_control": control})
    routing = decide(
        restricted, "nersc", RouterMemory(), [arrived("secret-1/deep/a")], Ready(ingested={"secret-1/deep/a"}), NOW
    )
    assert reasons(routing) == {"secret-1/deep/a": Reason.RESTRICTED_FOLDER}
    assert (routing.run, routing.memory.waiting) == ([], {})


@pytest.mark.parametrize(
    ("recorded", "runs"), [(50, True), (100, True), (101, False), (199, False), (200, True), (250, True)]
)
def test_what_arrived_while_the_router_was_off_is_skipped(beamline: Beamline, recorded: float, runs: bool) -> None:
    memory = RouterMemory(off=((100.0, 200.0),))
    routing = decide(beamline, "nersc", memory, [arrived("a/a", recorded=recorded)], Ready(ingested={"a/a"}), NOW)
    assert routing.run == (["a/a"] if runs else [])
    assert reasons(routing) == ({} if runs else {"a/a": Reason.SWITCHED_OFF})


def test_what_waited_before_the_router_was_switched_off_still_runs(beamline: Beamline) -> None:
    memory = RouterMemory(waiting=waiting("a/a", since=50), off=((100.0, 200.0),))
    assert decide(beamline, "nersc", memory, [], Ready(ingested={"a/a"}), 300).run == ["a/a"]


def test_a_scan_that_is_in_the_branch_already_does_not_enter_it_again(beamline: Beamline) -> None:
    memory = RouterMemory(waiting=waiting("a/a"))
    ready = Ready(ingested={"a/a", "b/b"}, begun={"a/a", "b/b"})
    routing = decide(beamline, "nersc", memory, [arrived("b/b")], ready, NOW)
    assert (routing.run, routing.observe, routing.memory.waiting) == ([], {}, {})


def test_a_scan_whose_partition_was_deleted_is_dropped_without_a_run(beamline: Beamline) -> None:
    memory = RouterMemory(waiting=waiting("a/a"))
    routing = decide(beamline, "nersc", memory, [], Ready(ingested={"a/a"}, gone={"a/a"}), NOW)
    assert (routing.run, routing.memory.waiting) == ([], {})


def test_a_raw_copy_that_never_comes_is_not_waited_for_for_ever(beamline: Beamline) -> None:
    memory = RouterMemory(waiting=waiting("a/a", since=NOW - WAIT_AT_MOST.total_seconds() - 1) | waiting("b/b"))
    routing = decide(beamline, "nersc", memory, [], Ready(), NOW)
    assert [*routing.memory.waiting] == ["b/b"]
    assert "backfill" in routing.observe["a/a"].detail


def test_no_more_than_a_ticks_worth_runs_in_one_tick_and_the_others_run_next(beamline: Beamline) -> None:
    keys = [f"a/{number}" for number in range(ROUTED_A_TICK + 7)]
    first = decide(beamline, "nersc", RouterMemory(), [arrived(key) for key in keys], Ready(ingested=keys), NOW)
    second = decide(beamline, "nersc", first.memory, [], Ready(ingested=keys), NOW)
    assert (len(first.run), len(second.run)) == (ROUTED_A_TICK, 7)
    assert not first.observe
    assert sorted([*first.run, *second.run]) == sorted(keys)


def test_the_cursor_has_a_bounded_size() -> None:
    keys = [f"BLS-00564_dyparkinson/20260101_{number:06d}_sample" for number in range(WAITING_AT_MOST)]
    memory = RouterMemory(waiting=waiting(*keys))
    for since in range(1_000):
        memory = memory.switched_on(off_since=float(since), started=since + 0.5)
    text = memory.model_dump_json()
    assert len(text) < WAITING_AT_MOST * 130
    assert RouterMemory.model_validate_json(text) == memory


@given(st.lists(st.lists(st.tuples(st.sampled_from(list(Arrival)), st.booleans()), max_size=4), max_size=12))
def test_every_new_scan_runs_exactly_once_whenever_its_raw_copy_comes(
    beamline: Beamline, ticks: list[list[tuple[Arrival, bool]]]
) -> None:
    numbers, memory, ran = itertools.count(), RouterMemory(), list[str]()
    new, late = set[str](), set[str]()
    for batch in ticks:
        items = [(arrived(f"a/{next(numbers)}", arrival), at_once) for arrival, at_once in batch]
        new |= {item.key for item, _ in items if item.arrival is Arrival.NEW}
        late |= {item.key for item, at_once in items if not at_once}
        routing = decide(beamline, "nersc", memory, [item for item, _ in items], Ready(ingested=new - late), NOW)
        memory, ran = routing.memory, [*ran, *routing.run]
    ran += decide(beamline, "nersc", memory, [], Ready(ingested=new), NOW).run
    assert sorted(ran) == sorted(new)


# -- outages ---------------------------------------------------------------------------------------------------------

THREE = ("nersc", "alcf", "olcf")


@pytest.fixture(scope="module")
def three(beamline: Beamline) -> Beamline:
    facilities = dict.fromkeys(THREE, beamline.facilities["nersc"])
    return beamline.model_copy(update={"facilities": facilities, "preference": THREE})


def down(*facilities: str) -> dict[str, str]:
    return dict.fromkeys(facilities, "Maintenance until 18:00 UTC")


def test_in_an_outage_a_scan_is_handed_to_the_next_facility_and_the_words_name_both(three: Beamline) -> None:
    ready = Ready(ingested={"a/a"}, outages=down("nersc"))
    routing = decide(three, "nersc", RouterMemory(), [arrived("a/a")], ready, NOW)
    assert (routing.run, routing.hand_on, routing.memory.waiting) == ([], {"a/a": "alcf"}, {})
    assert routing.observe["a/a"].reason is Reason.HANDED_ON
    assert routing.observe["a/a"].detail == "NERSC: Maintenance until 18:00 UTC, handed to ALCF"


@pytest.mark.parametrize(
    ("facility", "outages", "off", "takes_it"),
    [
        ("nersc", ("alcf",), (), "nersc"),
        ("nersc", ("nersc", "alcf"), (), "olcf"),
        ("nersc", ("nersc",), ("alcf",), "olcf"),
        ("nersc", ("nersc", "olcf"), ("alcf",), None),
        ("nersc", THREE, (), None),
        ("alcf", ("alcf",), (), "olcf"),
        ("olcf", ("olcf",), (), None),
    ],
)
def test_the_next_one_that_is_to_be_had_takes_it_and_nothing_goes_back(
    three: Beamline, facility: str, outages: tuple[str, ...], off: tuple[str, ...], takes_it: str | None
) -> None:
    memory = RouterMemory(waiting=waiting("a/a"))
    routing = decide(three, facility, memory, [], Ready({"a/a"}, outages=down(*outages), off=off), NOW)
    sent = {**dict.fromkeys(routing.run, facility), **routing.hand_on}
    assert sent == ({} if takes_it is None else {"a/a": takes_it})
    assert ([*routing.memory.waiting] == ["a/a"]) == (takes_it is None)


def test_that_a_scan_waits_for_an_outage_is_said_once_and_it_waits_for_as_long_as_that_lasts(three: Beamline) -> None:
    ready, said = Ready(ingested={"a/a"}, outages=down(*THREE)), []
    routing = decide(three, "nersc", RouterMemory(), [arrived("a/a")], ready, NOW)
    for day in range(30):
        said += [*reasons(routing).values()]
        routing = decide(three, "nersc", routing.memory, [], ready, NOW + day * 86_400)
    assert said == [Reason.OUTAGE]
    routing = decide(three, "nersc", routing.memory, [], Ready(ingested={"a/a"}), NOW + 30 * 86_400)
    assert (routing.run, routing.memory.waiting) == (["a/a"], {})


def test_what_was_handed_on_is_not_a_matter_of_preference(three: Beamline) -> None:
    item = Arrived(1, "a/a", Arrival.NEW, NOW, handed_on_by="nersc")
    assert decide(three, "alcf", RouterMemory(), [item], Ready(ingested={"a/a"}), NOW).run == ["a/a"]
    assert decide(three, "alcf", RouterMemory(), [arrived("a/a")], Ready(ingested={"a/a"}), NOW).run == []


def test_no_more_than_a_ticks_worth_is_handed_on_in_one_tick(three: Beamline) -> None:
    keys = [f"a/{number}" for number in range(ROUTED_A_TICK + 7)]
    ready = Ready(ingested=keys, outages=down("nersc"))
    first = decide(three, "nersc", RouterMemory(), [arrived(key) for key in keys], ready, NOW)
    second = decide(three, "nersc", first.memory, [], ready, NOW)
    assert (len(first.hand_on), len(second.hand_on)) == (ROUTED_A_TICK, 7)


class Death(Enum):
    """When a tick dies; its memory is lost all the same."""

    NEVER = 0
    BEFORE_EVENTS = 1
    BEFORE_RUNS = 2
    BEFORE_CURSOR = 3


@dataclass
class World:
    """Three routers, and what their ticks have left in the event log."""

    beamline: Beamline
    arrivals: list[str] = field(default_factory=list)
    handed: list[tuple[str, str, str]] = field(default_factory=list)
    runs: list[tuple[str, str]] = field(default_factory=list)
    memories: dict[str, RouterMemory] = field(default_factory=lambda: dict.fromkeys(THREE, RouterMemory()))

    def tick(self, facility: str, outages: Collection[str], death: Death) -> None:
        memory = self.memories[facility]
        log = self.arrivals if facility == THREE[0] else []
        items = [arrived(key) for key in log[memory.after :]]
        items += [
            Arrived(0, key, Arrival.NEW, NOW, by)
            for by, to, key in self.handed[memory.settled :]  # what the position is kept in is no matter here
            if to == facility
        ]
        ready = Ready(
            ingested=self.arrivals,
            begun={key for where, key in self.runs if where == facility},
            handed_on={key for by, _, key in self.handed if by == facility},
            outages=down(*outages),
        )
        known = len(self.handed)
        routing = decide(self.beamline, facility, memory, items, ready, NOW)
        if death is Death.BEFORE_EVENTS:
            return
        self.handed += [(facility, to, key) for key, to in routing.hand_on.items()]
        if death is Death.BEFORE_RUNS:
            return
        self.runs += [(facility, key) for key in routing.run]
        if death is Death.BEFORE_CURSOR:
            return
        self.memories[facility] = routing.memory.model_copy(update={"after": len(log), "settled": known})


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.sampled_from(THREE),
            st.sets(st.sampled_from(THREE)),
            st.sampled_from(list(Death)),
        ),
        max_size=25,
    )
)
def test_whatever_goes_out_and_dies_every_scan_goes_to_one_facility_and_once(
    three: Beamline, ticks: list[tuple[bool, str, set[str], Death]]
) -> None:
    world = World(three)
    for arrives, facility, outages, death in ticks:
        world.arrivals += [f"a/{len(world.arrivals)}"] if arrives else []
        world.tick(facility, outages, death)
    for facility in THREE:
        world.tick(facility, (), Death.NEVER)
    assert sorted(key for _, key in world.runs) == sorted(world.arrivals)


# -- following up ----------------------------------------------------------------------------------------------------


def test_only_arrivals_that_are_old_enough_are_judged_and_nothing_after_a_younger_one() -> None:
    recorded = [arrived("a", recorded=10), arrived("b", recorded=95), arrived("c", recorded=20)]
    assert [item.key for item in old_enough(recorded, now=100, grace_s=50)] == ["a"]


def test_an_arrival_is_overlooked_if_it_is_new_and_nobody_has_begun_it() -> None:
    recorded = [
        arrived("begun", storage_id=1),
        arrived("adopted", Arrival.ADOPTED, storage_id=2),
        arrived("lost", storage_id=3),
    ]
    found, settled = overlooked(recorded, {"begun"}, room=10)
    assert ([item.key for item in found], settled) == (["lost"], 3)


def test_where_there_is_no_room_the_rest_is_judged_later() -> None:
    recorded = [arrived(str(number), storage_id=number) for number in range(1, 5)]
    assert [item.key for item in overlooked(recorded, (), room=2)[0]] == ["1", "2"]
    assert overlooked(recorded, (), room=2)[1] == 2
    assert overlooked(recorded, (), room=0) == ([], None)
