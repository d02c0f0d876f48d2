"""How a scan's time divides."""

import pytest

from als.figures import overhead_s, split_of_asset
from als.words import size


def test_time_in_which_nothing_was_at_work_is_ours() -> None:
    assert overhead_s(0, 100, [(10, 30), (50, 60)]) == 70


def test_what_runs_side_by_side_counts_once() -> None:
    assert overhead_s(0, 100, [(10, 30), (20, 40), (15, 18)]) == 70


def test_only_what_lies_between_the_two_times_counts() -> None:
    assert overhead_s(10, 20, [(0, 12), (18, 99), (30, 40)]) == 6


def test_without_outside_work_everything_is_ours() -> None:
    assert overhead_s(5, 8, []) == 3


def test_a_program_on_this_machine_counts_as_a_job() -> None:
    split = split_of_asset({"seconds": 5.0, "remote_began": 100.0, "remote_ended": 103.0})
    assert (split.job_s, split.ours_s) == (3.0, 2.0)


def test_a_transfer_too_short_for_the_services_clock_is_no_job() -> None:
    split = split_of_asset(
        {"seconds": 2.0, "transfer_seconds": 0.0, "globus_task": "t", "remote_began": 1.0, "remote_ended": 1.0}
    )
    assert (split.transfer_s, split.job_s, split.ours_s) == (0.0, 0.0, 2.0)


def test_overhead_is_never_negative_where_clocks_differ() -> None:
    assert split_of_asset({"seconds": 1.0, "job_seconds": 3.0}).ours_s == 0


@pytest.mark.parametrize(
    ("size_bytes", "said"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (268_492_800, "268.5 MB"), (3e13, "30.0 TB")]
)
def test_sizes_read_as_storage_is_sold(size_bytes: float, said: str) -> None:
    assert size(size_bytes) == said
