"""How a scan's time divides."""

from beamlines.seconds import Split, expected, overhead_s, split_of, splits_of


def test_time_in_which_nothing_was_at_work_is_ours() -> None:
    assert overhead_s(0, 100, [(10, 30), (50, 60)]) == 70


def test_what_runs_side_by_side_counts_once() -> None:
    assert overhead_s(0, 100, [(10, 30), (20, 40), (15, 18)]) == 70


def test_only_what_lies_between_the_two_times_counts() -> None:
    assert overhead_s(10, 20, [(0, 12), (18, 99), (30, 40)]) == 6


def test_without_outside_work_everything_is_ours() -> None:
    assert overhead_s(5, 8, []) == 3


def test_a_program_on_this_machine_counts_as_a_job() -> None:
    split = split_of({"seconds": 5.0, "remote_began": 100.0, "remote_ended": 103.0})
    assert (split.job_s, split.ours_s) == (3.0, 2.0)


def test_a_transfer_too_short_for_the_services_clock_is_no_job() -> None:
    split = split_of(
        {"seconds": 2.0, "transfer_seconds": 0.0, "globus_task": "t", "remote_began": 1.0, "remote_ended": 1.0}
    )
    assert (split.transfer_s, split.job_s, split.ours_s) == (0.0, 0.0, 2.0)


def test_overhead_is_never_negative_where_clocks_differ() -> None:
    assert split_of({"seconds": 1.0, "job_seconds": 3.0}).ours_s == 0


def test_a_record_that_says_nothing_of_its_time_is_no_stage() -> None:
    assert split_of({"bytes": 3}) is None
    assert splits_of({"spot832/raw": {"bytes": 3}, "data832/raw": {"seconds": 2.0}}) == {
        "data832/raw": Split(2.0, 0.0, 0.0, 0.0)
    }


def test_the_parts_of_a_stage_are_all_of_it() -> None:
    split = Split(total_s=10, transfer_s=4, queue_s=1, job_s=2)
    assert split.parts == {"ours": 3, "transfer": 4, "queue": 1, "job": 2}


def test_four_scans_tell_nothing_of_the_next_one() -> None:
    assert expected([10.0] * 4) is None


def test_what_is_expected_is_the_median_and_what_nine_of_ten_kept_to() -> None:
    told = expected([float(second) for second in range(1, 12)])
    assert told is not None
    assert (told.median_s, told.most_s, told.scans) == (6.0, 10.0, 11)
