"""Why copies stay, as retention has said last, on both databases."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from beamlines.decisions import Reason
from resources.database import Database
from resources.refusals import Refusal, Refusals, Refused

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RAW = "data832/raw"
HELD = Refusal(RAW, "f/a", Reason.HELD, "by dula: for a paper")
YOUNG = Refusal(RAW, "f/a", Reason.TOO_YOUNG, "kept for 35 days")
OTHER = Refusal("nersc/raw", "f/a", Reason.NO_RULE, "no rule")


@pytest.fixture
def refusals(ledger_url: str) -> Iterator[Refusals]:
    database = Database(ledger_url)
    yield Refusals(database)
    database.close()


def test_a_refusal_that_is_said_again_is_no_news_and_counted(refusals: Refusals) -> None:
    assert refusals.record([HELD, OTHER], NOW) == [HELD, OTHER]
    assert refusals.record([HELD], NOW + DAY) == []
    assert refusals.of("f/a") == [Refused(HELD, NOW, NOW + DAY, 2), Refused(OTHER, NOW, NOW, 1)]
    assert refusals.latest(RAW) == [Refused(HELD, NOW, NOW + DAY, 2)]


@pytest.mark.parametrize("other", [YOUNG, Refusal(RAW, "f/a", Reason.HELD, "by als")], ids=["reason", "detail"])
def test_another_reason_or_detail_is_news_and_counted_anew(refusals: Refusals, other: Refusal) -> None:
    refusals.record([HELD], NOW)
    assert refusals.record([other], NOW + DAY) == [other]
    assert refusals.latest(RAW) == [Refused(other, NOW + DAY, NOW + DAY, 1)]
    assert refusals.record([HELD], NOW + 2 * DAY) == [HELD]


def test_of_a_copy_that_is_refused_twice_in_one_pass_the_last_word_counts(refusals: Refusals) -> None:
    assert refusals.record([HELD, YOUNG], NOW) == [YOUNG]
    assert refusals.latest(RAW) == [Refused(YOUNG, NOW, NOW, 1)]


def test_a_pass_without_refusals_records_nothing(refusals: Refusals) -> None:
    assert refusals.record([], NOW) == []
    assert refusals.latest(RAW) == []


def test_what_may_go_again_is_cleared_and_its_next_refusal_is_news(refusals: Refusals) -> None:
    refusals.record([HELD, OTHER], NOW)
    refusals.clear([(RAW, "f/a"), (RAW, "f/unknown")])
    assert refusals.of("f/a") == [Refused(OTHER, NOW, NOW, 1)]
    assert refusals.record([HELD], NOW) == [HELD]


def test_a_detail_with_bytes_that_are_no_text_is_kept_as_escapes_and_is_news_once(refusals: Refusals) -> None:
    hostile = Refusal(RAW, "f/a", Reason.UNKNOWN, "\udcff\0 é")
    assert refusals.record([hostile], NOW) == [hostile]
    assert refusals.record([hostile], NOW) == []
    assert [refused.refusal.detail for refused in refusals.latest(RAW)] == ["\\udcff\\x00 é"]


def test_100_000_are_recorded_and_cleared_in_seconds(refusals: Refusals) -> None:
    many = [Refusal(RAW, f"f/{number}", Reason.HELD, "for a paper") for number in range(100_000)]
    refusals.record(many, NOW)
    began = time.monotonic()
    assert refusals.record(many, NOW + DAY) == []
    assert time.monotonic() - began < 30
    refusals.clear((RAW, refusal.partition) for refusal in many[1:])
    assert refusals.latest(RAW) == [Refused(many[0], NOW, NOW + DAY, 2)]
