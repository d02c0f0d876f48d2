"""When a file is a complete scan: not before it is quiet, and then once, whatever happens on the way."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.testing import SleptClock
from sensors.arrivals import COMPLETE_A_TICK, PENDING_AT_MOST, Memory, Seen, Tick, UnreadableCursorError, tick
from sensors.folders import CALLS_A_TICK, DEPTH_AT_MOST, LookFailedError, Trail
from sensors.testing import Disk

QUIET = timedelta(seconds=12)
INTERVAL_S = 5
MOST_CALLS = CALLS_A_TICK + DEPTH_AT_MOST


@dataclass
class Watch:
    """A sensor without Dagster: it remembers through its cursor alone, and what it has found is known."""

    disk: Disk
    memory: Memory = field(default_factory=Memory)
    found: list[str] = field(default_factory=list)
    most_calls: int = 0
    most_characters: int = 0
    fullest: int = 0

    def tick(self) -> Tick:
        said = tick(self.memory, self.disk.look, self.new_of, self.disk.clock.now, QUIET)
        cursor = said.memory.to_cursor()
        self.memory = Memory.from_cursor(cursor)
        self.found += [complete.path for complete in said.complete]
        self.most_calls = max(self.most_calls, said.calls)
        self.most_characters = max(self.most_characters, len(cursor))
        self.fullest = max(self.fullest, len(self.memory.pending))
        self.disk.clock.sleep(INTERVAL_S)
        return said

    def ticks(self, count: int) -> None:
        for _ in range(count):
            self.tick()

    def new_of(self, paths: Collection[str]) -> Collection[str]:
        return [path for path in paths if path.endswith(".h5") and path not in set(self.found)]


@pytest.fixture
def disk() -> Disk:
    return Disk(SleptClock())


@pytest.fixture
def watch(disk: Disk) -> Watch:
    return Watch(disk)


# -- one file --------------------------------------------------------------------------------------------------------


def test_a_file_is_complete_when_it_was_quiet_between_two_listings(watch: Watch) -> None:
    watch.disk.write("a/a.h5", 10)
    watch.ticks(3)
    assert watch.found == []
    watch.tick()
    assert watch.found == ["a/a.h5"]


def test_a_file_that_grows_is_not_complete(watch: Watch) -> None:
    for size_bytes in range(1, 20):
        watch.disk.write("a/a.h5", size_bytes)
        watch.tick()
    assert watch.found == []


def test_a_file_of_fixed_size_that_is_still_written_to_is_not_complete(watch: Watch) -> None:
    for _ in range(20):
        watch.disk.write("a/a.h5", 1_000)
        watch.tick()
    assert watch.found == []


def test_a_file_that_is_replaced_while_it_is_waited_for_is_waited_for_anew(watch: Watch) -> None:
    watch.disk.write("a/a.h5", 10)
    watch.ticks(2)
    watch.disk.remove("a/a.h5")
    watch.disk.write("a/a.h5", 10)
    watch.ticks(3)
    assert watch.found == []
    watch.tick()
    assert watch.found == ["a/a.h5"]


def test_an_empty_file_is_no_scan_until_something_is_written(watch: Watch) -> None:
    watch.disk.write("a/a.h5", 0)
    watch.ticks(10)
    assert watch.found == []
    watch.disk.write("a/a.h5", 1)
    watch.ticks(4)
    assert watch.found == ["a/a.h5"]


def test_an_empty_file_is_forgotten_after_an_hour_and_still_found_when_it_is_written(watch: Watch) -> None:
    watch.disk.write("a/a.h5", 0)
    watch.tick()
    watch.disk.clock.sleep(3700)
    watch.tick()
    assert not watch.memory.pending
    watch.disk.write("a/a.h5", 1)
    watch.ticks(8)
    assert watch.found == ["a/a.h5"]


def test_a_file_that_vanishes_is_forgotten(watch: Watch) -> None:
    watch.disk.write("a/a.h5", 10)
    watch.disk.write("b/b.h5", 10)
    watch.tick()
    watch.disk.remove("a")
    watch.ticks(6)
    assert watch.found == ["b/b.h5"]
    assert not watch.memory.pending


def test_files_in_raw_itself_are_scans_too(watch: Watch) -> None:
    watch.disk.write("a.h5", 10)
    watch.ticks(4)
    assert watch.found == ["a.h5"]


def test_names_that_are_no_utf8_are_carried_through_the_cursor(watch: Watch) -> None:
    path = 'm\udcffx\n"$(rm)"/\u2620 sc\udc80an;.h5'
    watch.disk.write(path, 10)
    watch.ticks(4)
    assert watch.found == [path]


# -- outages ---------------------------------------------------------------------------------------------------------


def test_a_failed_listing_is_no_empty_one_and_what_waits_goes_on_waiting(watch: Watch) -> None:
    watch.disk.write("a/a.h5", 10)
    watch.tick()
    watch.disk.failing = {"a"}
    watch.ticks(5)
    assert watch.found == []
    watch.disk.failing = set()
    watch.tick()
    assert watch.found == ["a/a.h5"]


def test_a_tick_fails_where_raw_cannot_be_listed(watch: Watch) -> None:
    watch.disk.failing = {""}
    with pytest.raises(LookFailedError):
        watch.tick()


def test_a_disk_that_is_absent_for_a_while_loses_nothing(watch: Watch, disk: Disk) -> None:
    disk.write("a/a.h5", 10)
    watch.tick()
    watch.disk = Disk(disk.clock)
    watch.ticks(50)
    assert watch.found == []
    watch.disk = disk
    watch.tick()
    assert watch.found == ["a/a.h5"]


def test_after_a_day_without_ticks_everything_is_found(watch: Watch) -> None:
    watch.disk.write("a/before.h5", 10)
    watch.tick()
    for number in range(400):
        watch.disk.write(f"{number % 40:02d}/{number}.h5", 10)
        watch.disk.clock.sleep(216)
    watch.ticks(30)
    assert sorted(watch.found) == sorted(watch.disk.files)


def test_after_a_lost_cursor_nothing_is_found_twice(watch: Watch) -> None:
    for number in range(100):
        watch.disk.write(f"{number:02d}/a.h5", 10)
    watch.ticks(12)
    watch.memory = Memory()
    watch.ticks(12)
    assert sorted(watch.found) == sorted(watch.disk.files)


# -- many ------------------------------------------------------------------------------------------------------------


def test_a_thousand_files_at_once_are_found_in_twenty_ticks_and_none_twice(watch: Watch) -> None:
    for number in range(1_000):
        watch.disk.write(f"{number % 5}/{number}.h5", 10)
    watch.ticks(3)
    watch.ticks(20 + 3)
    assert sorted(watch.found) == sorted(watch.disk.files)
    assert watch.fullest == PENDING_AT_MOST
    assert watch.most_calls <= MOST_CALLS


def test_files_that_could_not_be_remembered_do_not_wait_for_the_sweep(watch: Watch) -> None:
    for number in range(400):
        watch.disk.write(f"quiet-{number}/none.txt", 10)
    watch.ticks(40)
    for number in range(1_000):
        watch.disk.write(f"z{number // 100}/{number}.h5", 10)
        watch.disk.clock.sleep(86)
    watch.memory = replace(watch.memory, trail=replace(watch.memory.trail, swept=None))
    watch.ticks(3 + 20 + 4)
    assert len(watch.found) == 1_000


def test_hundreds_of_folders_with_a_nested_one_each_are_all_found(watch: Watch) -> None:
    for number in range(300):
        watch.disk.write(f"{number}/deep/a.h5", 10)
    watch.ticks(160)
    assert sorted(watch.found) == sorted(watch.disk.files)
    assert watch.most_calls <= MOST_CALLS


def test_a_scan_is_found_within_a_minute_while_thousands_are_caught_up_with(watch: Watch) -> None:
    for number in range(2_000):
        watch.disk.write(f"{number}/a.h5", 10)
    watch.ticks(3)
    watch.disk.write("fresh/a.h5", 10)
    watch.ticks(60 // INTERVAL_S)
    assert "fresh/a.h5" in watch.found


def test_empty_files_everywhere_do_not_keep_a_scan_from_being_found(watch: Watch) -> None:
    for number in range(200):
        watch.disk.write(f"{number}/a.h5", 0)
    watch.ticks(20)
    watch.disk.write("fresh/a.h5", 10)
    watch.ticks(25)
    assert watch.found == ["fresh/a.h5"]


def test_no_more_than_a_ticks_worth_is_reported_in_one_tick(watch: Watch) -> None:
    for number in range(COMPLETE_A_TICK + 1):
        watch.disk.write(f"a/{number}.h5", 10)
    watch.ticks(3)
    assert len(watch.tick().complete) == COMPLETE_A_TICK


# -- anything --------------------------------------------------------------------------------------------------------

PATHS = [f"{folder}{name}.h5" for folder in ("", "a/", "b/", "a/c/", "a/c/d/") for name in "xyz"]
FOLDERS = ["a", "b", "a/c", "a/c/d"]
ACTIONS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(PATHS), st.integers(0, 3)),
    st.tuples(st.just("remove"), st.sampled_from(PATHS + FOLDERS), st.just(0)),
    st.tuples(st.just("fail"), st.sampled_from([*FOLDERS, ""]), st.just(0)),
    st.tuples(st.just("heal"), st.just(""), st.just(0)),
    st.tuples(st.just("sleep"), st.just(""), st.sampled_from([1, 30, 4_000, 100_000])),
    st.tuples(st.just("die"), st.just(""), st.just(0)),
    st.tuples(st.just("forget"), st.just(""), st.just(0)),
    st.tuples(st.just("tick"), st.just(""), st.just(0)),
)


@dataclass
class Story:
    """A disk on which anything happens, and what must be true of every report at the time it is made."""

    watch: Watch
    changed: dict[str, float] = field(default_factory=dict)

    def act(self, action: str, path: str, value: int) -> None:
        acts: dict[str, Callable[[], None]] = {
            "write": lambda: self.write(path, value),
            "remove": lambda: self.watch.disk.remove(path) if self.exists(path) else None,
            "fail": lambda: self.watch.disk.failing.add(path),
            "heal": lambda: self.watch.disk.failing.clear(),
            "sleep": lambda: self.watch.disk.clock.sleep(value),
            "die": lambda: self.die(),
            "forget": lambda: setattr(self.watch, "memory", Memory()),
            "tick": lambda: self.tick(),
        }
        acts[action]()

    def exists(self, path: str) -> bool:
        return path in self.watch.disk.files or path in self.watch.disk.folders

    def write(self, path: str, size_bytes: int) -> None:
        if path not in self.watch.found:
            self.watch.disk.write(path, size_bytes)
            self.changed[path] = self.watch.disk.clock.now().timestamp()

    def die(self) -> None:
        memory, found = self.watch.memory, [*self.watch.found]
        self.tick()
        self.watch.memory, self.watch.found = memory, found

    def tick(self) -> None:
        now = self.watch.disk.clock.now().timestamp()
        try:
            said = self.watch.tick()
        except LookFailedError:
            return
        for complete in said.complete:
            assert now - self.changed[complete.path] >= QUIET.total_seconds() - 1
            assert complete.size_bytes == self.watch.disk.files[complete.path][0] > 0
        assert said.calls <= MOST_CALLS


@settings(max_examples=100, deadline=None)
@given(st.lists(ACTIONS, max_size=40), st.sampled_from([timedelta(hours=-2), timedelta(0), timedelta(hours=2)]))
def test_whatever_happens_each_file_that_stops_changing_is_found_once_and_not_before(
    actions: list[tuple[str, str, int]], ahead: timedelta
) -> None:
    story = Story(Watch(Disk(SleptClock(), ahead=ahead)))
    for action in actions:
        story.act(*action)
    story.watch.disk.failing.clear()
    for _ in range(12):
        story.tick()
    expected = {path for path, (size_bytes, _) in story.watch.disk.files.items() if size_bytes > 0}
    assert expected <= set(story.watch.found)
    assert len(set(story.watch.found)) == len(story.watch.found)


# -- the cursor ------------------------------------------------------------------------------------------------------


def test_the_cursor_has_a_bounded_size(watch: Watch) -> None:
    for number in range(1_500):
        watch.disk.write(f"BLS-{number:05d}_user/nested/20260101_000000_sample.h5", 10)
    watch.ticks(60)
    assert watch.most_characters < PENDING_AT_MOST * 200


def test_a_cursor_reads_back_as_it_was() -> None:
    memory = Memory({"a/b\udc80.h5": Seen(10, 1.0, 2.5)}, Trail((3.0, "a\udcff"), {"a/n": 4.0}, "a/s"), settled=5)
    assert Memory.from_cursor(memory.to_cursor()) == memory
    assert memory.to_cursor().isascii()


@pytest.mark.parametrize("text", ["", "null", "{}", '{"pending":{"a":1},"trail":[[0,""],{},null],"settled":0}', "[1"])
def test_a_cursor_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UnreadableCursorError, match="cannot be read"):
        Memory.from_cursor(text)
