"""What is kept of the event log's records, on both databases: replaced, forgotten, and marked as certificates say."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from resources.database import Database
from resources.recorded import Recorded, RecordedCopy

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
A = RecordedCopy("x/a", "x/a", "nersc/raw", 7, NOW, 10, 1, "ab" * 32)
AGAIN = RecordedCopy("x/a", "x/a@best", "nersc/tiff", 8, NOW, 20, 2, None)
B = RecordedCopy("x/b", "x/b", "nersc/raw", 9, NOW, 30, 1, None)


@pytest.fixture
def recorded(ledger_url: str) -> Iterator[Recorded]:
    database = Database(ledger_url)
    yield Recorded(database)
    database.close()


def all_of(recorded: Recorded) -> list[RecordedCopy]:
    return [copy for copies in recorded.by_scan() for copy in copies]


def test_a_newer_record_of_a_copy_replaces_it_alone_and_what_was_gone_is_there_again(recorded: Recorded) -> None:
    recorded.put([A, AGAIN, B])
    recorded.mark_gone("nersc/raw", {"x/a": 7})
    newer = replace(A, storage_id=12, bytes=11, sha256=None)
    recorded.put([newer])
    assert all_of(recorded) == [newer, AGAIN, B]


def test_who_has_followed_the_log_for_longer_puts_nothing_older_over_what_another_has_read(recorded: Recorded) -> None:
    newer = replace(A, storage_id=12, bytes=11)
    recorded.put([newer])
    recorded.put([A, B])
    assert all_of(recorded) == [newer, B]


def test_what_the_log_has_no_more_is_forgotten_of_that_asset_alone(recorded: Recorded) -> None:
    recorded.put([A, replace(A, asset="data832/raw"), B])
    recorded.drop("nersc/raw", ["x/a", "x/never"])
    assert all_of(recorded) == [replace(A, asset="data832/raw"), B]


def test_a_copy_is_gone_by_the_certificate_of_its_record_or_of_a_newer_one(recorded: Recorded) -> None:
    recorded.put([A, B])
    recorded.mark_gone("nersc/raw", {"x/a": 7, "x/b": 8, "x/never": 99})
    assert [copy.gone for copy in all_of(recorded)] == [True, False]


def test_a_copy_whose_certificate_was_given_up_is_there_again(recorded: Recorded) -> None:
    recorded.put([A, B])
    recorded.mark_gone("nersc/raw", {"x/a": 7, "x/b": 9})
    recorded.mark_gone("nersc/raw", {"x/b": 9})
    assert [copy.gone for copy in all_of(recorded)] == [False, True]


def test_of_some_partitions_the_others_stay_as_they_are_marked(recorded: Recorded) -> None:
    recorded.put([A, B])
    recorded.mark_gone("nersc/raw", {"x/a": 7, "x/b": 9})
    recorded.mark_gone("nersc/raw", {}, ["x/b"])
    assert [copy.gone for copy in all_of(recorded)] == [True, False]


def test_of_some_scans_the_copies_of_some_assets_are_told(recorded: Recorded) -> None:
    recorded.put([A, AGAIN, B])
    assert list(recorded.of_scans(["x/a"])) == [[A, AGAIN]]
    assert list(recorded.of_scans(["x/a", "x/b"], ["nersc/raw"])) == [[A], [B]]
