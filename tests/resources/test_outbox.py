"""Each message is told once, one whom nothing reaches is left in peace, and a lost answer is repeated once."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from beamlines.messages import Kind, News, Told
from resources.database import Database
from resources.outbox import GIVEN_UP_AFTER, SENT_WITHIN, Outbox

NOW = datetime(2026, 7, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NEWS = News("operators", Kind.DONE, "a/b", "nersc", "run-1")


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    database = Database(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield Outbox(database)
    database.close()


def news(about: str, recipient: str = "operators") -> News:
    return News(recipient, Kind.SAFE_AND_SEEN, about, "", "run-1")


def abouts(outbox: Outbox, now: datetime = NOW, recipient: str = "operators") -> list[str]:
    return [item.news.about for item in outbox.due(recipient, now)]


def test_what_was_put_is_due_for_its_recipient_in_order_and_once(outbox: Outbox) -> None:
    outbox.put([news("b"), news("a"), news("a", "others")], NOW)
    outbox.put([news("a"), news("c")], NOW)
    assert abouts(outbox) == ["b", "a", "c"]
    assert abouts(outbox, recipient="others") == ["a"]


def test_one_scan_is_done_at_each_facility(outbox: Outbox) -> None:
    outbox.put([NEWS, News("operators", Kind.DONE, "a/b", "alcf", "run-2"), NEWS], NOW)
    assert [item.news.branch for item in outbox.due("operators", NOW)] == ["nersc", "alcf"]


def test_what_was_told_is_not_due_again_though_it_is_put_again(outbox: Outbox) -> None:
    outbox.put([NEWS], NOW)
    some = outbox.due("operators", NOW)
    assert outbox.claim(some, NOW)
    outbox.sent(some, NOW, "0" * 64)
    outbox.put([NEWS], NOW)
    assert abouts(outbox) == []


def test_of_two_at_once_one_takes_a_message_in_hand_and_of_a_digest_nobody_takes_a_part(outbox: Outbox) -> None:
    outbox.put([news("a"), news("b")], NOW)
    both = outbox.due("operators", NOW)
    assert outbox.claim(both[:1], NOW)
    assert not outbox.claim(both[:1], NOW)
    assert not outbox.claim(both, NOW)
    assert abouts(outbox) == ["b"]


def test_it_is_known_what_went_by_itself_and_what_in_a_digest(outbox: Outbox) -> None:
    outbox.put([news(about) for about in "abcde"], NOW)
    a, b, *digest = outbox.due("operators", NOW)
    for number, some in enumerate(([a], [b], digest)):
        assert outbox.claim(some, NOW)
        outbox.sent(some, NOW + number * MINUTE, "0" * 64)
    assert outbox.told("operators", NOW - MINUTE) == Told([NOW, NOW + MINUTE], [NOW + 2 * MINUTE])
    assert outbox.told("operators", NOW) == Told([NOW + MINUTE], [NOW + 2 * MINUTE])
    assert outbox.told("others", NOW - MINUTE) == Told([], [])


def test_one_whom_nothing_reaches_is_left_in_peace_for_longer_and_longer(outbox: Outbox) -> None:
    outbox.put([news("a"), news("b")], NOW)
    now = NOW
    for pause in (1, 5, 30, 30):
        some = outbox.due("operators", now)[:1]
        assert outbox.claim(some, now)
        assert outbox.not_sent("operators", some, now) == []
        assert abouts(outbox, now + pause * MINUTE - timedelta(seconds=1)) == []
        now += pause * MINUTE
        assert abouts(outbox, now) == ["a", "b"]


def test_after_a_day_it_is_given_up(outbox: Outbox) -> None:
    outbox.put([news("a")], NOW)
    late = NOW + GIVEN_UP_AFTER
    some = outbox.due("operators", late)
    assert outbox.claim(some, late)
    assert outbox.not_sent("operators", some, late) == some
    assert abouts(outbox, late + 365 * timedelta(days=1)) == []


def test_a_lost_answer_is_repeated_once_and_never_again(outbox: Outbox) -> None:
    outbox.put([news("a")], NOW)
    some = outbox.due("operators", NOW)
    assert outbox.claim(some, NOW)
    assert outbox.lost("operators", some, NOW) == []
    assert abouts(outbox) == []
    later = NOW + 5 * MINUTE
    again = outbox.due("operators", later)
    assert outbox.claim(again, later)
    assert outbox.lost("operators", again, later) == again
    assert abouts(outbox, later + timedelta(days=365)) == []


def test_what_a_dead_process_has_taken_in_hand_is_found_and_no_other(outbox: Outbox) -> None:
    outbox.put([news("a"), news("b")], NOW)
    a, b = outbox.due("operators", NOW)
    assert outbox.claim([a], NOW)
    assert outbox.claim([b], NOW + MINUTE)
    assert [item.news.about for item in outbox.left_behind("operators", NOW + SENT_WITHIN)] == ["a"]


def test_what_may_not_be_said_any_more_is_never_due(outbox: Outbox) -> None:
    outbox.put([news("a")], NOW)
    some = outbox.due("operators", NOW)
    assert outbox.claim(some, NOW)
    outbox.withhold(some, NOW)
    outbox.put([news("a")], NOW)
    assert abouts(outbox, NOW + timedelta(days=365)) == []
