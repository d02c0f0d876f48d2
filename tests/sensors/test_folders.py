"""Where a tick looks: in turn, within bounds, and nowhere too late."""

from datetime import timedelta

import pytest

from resources.testing import SleptClock
from sensors.folders import (
    CALLS_A_TICK,
    DEPTH_AT_MOST,
    WATCHED_AT_MOST,
    LookFailedError,
    Trail,
    look_around,
    with_activity,
)
from sensors.testing import Disk

INTERVAL_S = 5


@pytest.fixture
def clock() -> SleptClock:
    return SleptClock()


@pytest.fixture
def disk(clock: SleptClock) -> Disk:
    return Disk(clock)


def ticks(disk: Disk, trail: Trail, count: int = 1) -> tuple[Trail, list[list[str]]]:
    """The trail after some ticks, and what each looked at."""
    looks: list[list[str]] = []
    for _ in range(count):
        disk.looks.clear()
        _, trail = look_around(trail, (), disk.look, disk.clock.now)
        looks.append([*disk.looks])
        disk.clock.sleep(INTERVAL_S)
    return trail, looks


def caught_up(disk: Disk, count: int = 20) -> Trail:
    trail, _ = ticks(disk, Trail(), count)
    disk.clock.sleep(3600)
    return trail


def looked_at(looks: list[list[str]]) -> set[str]:
    return {folder for tick in looks for folder in tick}


def test_a_folder_that_changed_is_looked_at_in_the_next_tick(disk: Disk) -> None:
    for number in range(300):
        disk.write(f"{number:03d}/a.h5", 1)
    trail = caught_up(disk, 30)
    disk.write("200/b.h5", 1)
    assert "200" in ticks(disk, trail)[1][0]


def test_a_thousand_folders_of_one_second_are_all_looked_at_though_few_fit_a_tick(disk: Disk) -> None:
    for number in range(1_000):
        disk.write(f"{number:04d}/a.h5", 1)
    disk.clock.sleep(INTERVAL_S)
    _, looks = ticks(disk, Trail(), 90)
    assert len(looked_at(looks)) == 1_001
    assert max(map(len, looks)) <= CALLS_A_TICK + DEPTH_AT_MOST


def test_while_there_is_a_backlog_the_newest_folder_is_still_looked_at_at_once(disk: Disk) -> None:
    for number in range(1_000):
        disk.write(f"{number:04d}/a.h5", 1)
    disk.clock.sleep(INTERVAL_S)
    trail, _ = ticks(disk, Trail(), 3)
    disk.write("0500/b.h5", 1)
    assert "0500" in ticks(disk, trail)[1][0]


def test_a_folder_whose_time_lies_in_the_future_hides_no_other(disk: Disk) -> None:
    disk.write("a/a.h5", 1)
    disk.write("z/a.h5", 1)
    disk.folders["z"] = disk.now + 1e9
    trail = caught_up(disk)
    disk.folders["a"] = disk.now
    trail = Trail(trail.position, trail.watched, "z")
    assert "a" in ticks(disk, trail)[1][0]


@pytest.mark.parametrize("ahead", [timedelta(hours=-3), timedelta(hours=3)])
def test_a_clock_that_is_hours_off_delays_nothing(disk: Disk, ahead: timedelta) -> None:
    disk.ahead = ahead
    for number in range(100):
        disk.write(f"{number:03d}/a.h5", 1)
    trail = caught_up(disk)
    disk.write("050/b.h5", 1)
    assert "050" in ticks(disk, trail)[1][0]


def test_a_change_in_the_second_of_the_last_look_or_of_a_clock_set_back_is_seen(disk: Disk) -> None:
    for number in range(300):
        disk.write(f"{number:03d}/a.h5", 1)
    trail = caught_up(disk, 30)
    disk.write("200/b.h5", 1)
    trail, _ = ticks(disk, trail)
    disk.folders["100"] = trail.position[0]
    disk.folders["150"] = trail.position[0] - 300
    assert {"100", "150"} <= set(ticks(disk, trail)[1][0])


def test_a_nested_folder_is_watched_though_it_changes_no_other_folders_time(disk: Disk) -> None:
    for number in range(300):
        disk.write(f"{number:03d}/a.h5", 1)
    disk.write("000/deep/er/a.h5", 1)
    trail, _ = ticks(disk, Trail(), 30)
    trail = Trail(trail.position, with_activity({}, ["000/deep/er"], 0), trail.swept)
    disk.clock.sleep(3600)
    assert "000/deep/er" in ticks(disk, trail)[1][0]


def test_nested_folders_that_appear_with_their_parents_are_found_in_the_same_tick(disk: Disk) -> None:
    disk.write("old/a.h5", 1)
    trail = caught_up(disk)
    disk.write("new/nested/deeper/a.h5", 1)
    assert "new/nested/deeper" in ticks(disk, trail)[1][0]


def test_a_folder_that_was_moved_in_with_its_old_time_is_found_by_the_sweep(disk: Disk) -> None:
    for number in range(100):
        disk.write(f"{number:03d}/a.h5", 1)
    trail = caught_up(disk)
    disk.make("moved/inside", 12.0)
    disk.folders["moved"] = 12.0
    assert "moved/inside" in looked_at(ticks(disk, trail, 15)[1])


def test_a_folder_that_failed_is_looked_at_again_and_the_others_are_not_held_up(disk: Disk) -> None:
    for number in range(300):
        disk.write(f"{number:03d}/a.h5", 1)
    disk.clock.sleep(INTERVAL_S)
    disk.failing = {"000"}
    trail, looks = ticks(disk, Trail(), 30)
    assert len(looked_at(looks)) == 301
    disk.failing = set()
    disk.clock.sleep(3600)
    trail, looks = ticks(disk, trail)
    assert "000" in looks[0]
    assert "000" not in trail.watched


def test_a_service_that_fails_again_and_again_is_not_asked_any_more_in_this_tick(disk: Disk) -> None:
    for number in range(100):
        disk.write(f"{number:03d}/a.h5", 1)
    disk.failing = {f"{number:03d}" for number in range(100)}
    assert len(ticks(disk, Trail())[1][0]) <= 1 + 3 + 1


def test_with_a_slow_service_a_tick_ends_in_time_and_goes_on_in_the_next(disk: Disk) -> None:
    for number in range(60):
        disk.write(f"{number:03d}/a.h5", 1)
    disk.clock.sleep(INTERVAL_S)

    def slowly(folder: str) -> object:
        disk.clock.sleep(4)
        return disk.look(folder)

    trail = Trail()
    for _ in range(70):
        began = disk.clock.now()
        _, trail = look_around(trail, (), slowly, disk.clock.now)  # type: ignore[arg-type]
        assert disk.clock.now() - began < timedelta(seconds=60)
    assert set(disk.looks) == set(disk.folders)


def test_an_endless_chain_of_folders_is_followed_so_far_and_no_farther(disk: Disk) -> None:
    disk.write("/".join(["loop"] * 40) + "/a.h5", 1)
    disk.write("zebra/a.h5", 1)
    looks = ticks(disk, Trail(), 5)[1]
    assert max(folder.count("/") for folder in looked_at(looks)) == DEPTH_AT_MOST - 1
    assert "zebra" in looked_at(looks)


def test_what_is_remembered_does_not_grow_with_the_number_of_folders(disk: Disk) -> None:
    for number in range(600):
        disk.write(f"{number:03d}/nested/a.h5", 1)
    trail, _ = ticks(disk, Trail(), 30)
    assert len(trail.watched) <= WATCHED_AT_MOST


def test_an_empty_raw_folder_is_taken_for_an_absent_disk_and_forgets_nothing(disk: Disk) -> None:
    disk.write("a/nested/a.h5", 1)
    trail, _ = ticks(disk, Trail(), 2)
    disk.remove("a")
    assert ticks(disk, trail)[0] == trail


def test_a_raw_folder_that_is_not_there_is_a_failure_not_an_empty_listing(disk: Disk) -> None:
    del disk.folders[""]
    with pytest.raises(LookFailedError, match="mounted"):
        look_around(Trail(), (), disk.look, disk.clock.now)
