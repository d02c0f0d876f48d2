"""Intervals between polls: plain values in, plain values out."""

from datetime import timedelta
from itertools import accumulate

import pytest

from resources.waiting import Patience, next_interval, typical

PATIENCE = Patience(first_poll=timedelta(seconds=2), longest_poll=timedelta(seconds=30), deadline=timedelta(hours=1))


def seconds(value: float | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=value)


@pytest.mark.parametrize(
    ("last", "worked", "expected", "then"),
    [
        (0, None, None, 2),
        (2, None, None, 3),
        (24, None, None, 30),
        (30, None, None, 30),
        (30, 100, None, 30),
        (30, None, 100, 30),
        (20, 10, 1000, 30),
        (20, 60, 100, 20),
        (20, 79, 100, 2),
        (20, 80, 100, 2),
        (20, 100, 100, 2),
        (2, 150, 100, 2),
        (2, 151, 100, 3),
        (30, 5000, 100, 30),
        (0, 5, 0, 2),
        (30, -40, 100, 30),
    ],
    ids=[
        "the first",
        "it grows",
        "up to the longest",
        "and no further",
        "nothing is known of how long it takes",
        "it has not begun",
        "the end is far",
        "the next one would reach into the end",
        "but none is shorter than the first",
        "the end begins to be near",
        "the end is due",
        "the end was due",
        "it is overdue: intervals grow again",
        "it is long overdue",
        "work that takes no time",
        "a service whose clock is ahead",
    ],
)
def test_the_next_interval(last: float, worked: float | None, expected: float | None, then: float) -> None:
    interval = next_interval(timedelta(seconds=last), PATIENCE, worked=seconds(worked), expected=seconds(expected))
    assert interval == timedelta(seconds=then)


def test_an_end_that_comes_when_it_is_expected_is_seen_within_the_first_interval() -> None:
    worked, interval, asked = timedelta(), timedelta(), []
    while worked < timedelta(seconds=600):
        interval = next_interval(interval, PATIENCE, worked=worked, expected=timedelta(seconds=600))
        worked += interval
        asked.append(interval)
    near = [gap for gap, at in zip(asked, accumulate(asked, initial=timedelta()), strict=False) if at.seconds >= 480]
    assert set(near) == {PATIENCE.first_poll}
    assert len(asked) - len(near) < 30


def test_what_is_typical_is_the_median_so_that_one_bad_night_does_not_count() -> None:
    assert typical([100, 110, 9000]) == timedelta(seconds=110)
    assert typical([]) is None
