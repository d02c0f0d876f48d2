"""Ages that a person has set, on both databases."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from beamlines.retention import YOUNGEST, Retention, RetentionRule
from resources.ages import Age, AgeRefusedError, Ages
from resources.database import Database
from resources.errors import NoNoteError

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RAW, TIFF = "data832/raw", "data832/nersc_tiff"
RULES = Retention(rules=(RetentionRule(copies=(RAW, TIFF), age=timedelta(days=35), keepers=("nersc/raw",)),))
WEEK, ODD = timedelta(days=7), timedelta(days=3650, microseconds=1)


@pytest.fixture
def ages(ledger_url: str) -> Iterator[Ages]:
    database = Database(ledger_url)
    yield Ages(database)
    database.close()


def keep(ages: Ages, asset: str, age: timedelta | None, note: str = "the disk is full") -> None:
    ages.set(asset, age, retention=RULES, author="dula", note=note, at=NOW)


def test_where_nobody_has_set_an_age_there_is_none(ages: Ages) -> None:
    assert (ages.now(), ages.history()) == ({}, [])


def test_the_last_age_that_was_set_counts_and_all_are_remembered(ages: Ages) -> None:
    keep(ages, RAW, ODD)
    keep(ages, TIFF, WEEK)
    keep(ages, RAW, YOUNGEST, "again")
    assert ages.now() == {RAW: YOUNGEST, TIFF: WEEK}
    assert ages.history() == [
        Age(RAW, ODD, "dula", "the disk is full", NOW),
        Age(TIFF, WEEK, "dula", "the disk is full", NOW),
        Age(RAW, YOUNGEST, "dula", "again", NOW),
    ]


def test_the_rules_own_age_can_be_given_back(ages: Ages) -> None:
    keep(ages, RAW, WEEK)
    keep(ages, TIFF, WEEK)
    keep(ages, RAW, None)
    assert ages.now() == {TIFF: WEEK}
    assert ages.history()[-1] == Age(RAW, None, "dula", "the disk is full", NOW)


@pytest.mark.parametrize(
    "decide",
    [
        lambda ages: keep(ages, RAW, YOUNGEST - timedelta(microseconds=1)),
        lambda ages: keep(ages, RAW, timedelta()),
        lambda ages: keep(ages, RAW, -WEEK),
        lambda ages: keep(ages, "nersc/raw", WEEK),
        lambda ages: keep(ages, "", None),
    ],
    ids=["too short", "none", "negative", "no rule", "no asset"],
)
def test_what_no_rule_could_say_is_refused(ages: Ages, decide: Callable[[Ages], None]) -> None:
    with pytest.raises(AgeRefusedError):
        decide(ages)
    assert ages.history() == []


def test_who_sets_an_age_says_why(ages: Ages) -> None:
    with pytest.raises(NoNoteError, match="Say why"):
        keep(ages, RAW, WEEK, " ")
    assert ages.history() == []
