"""The log of deletions, on both databases: who may begin, what has ended, and what is gone."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from beamlines.testing import HOSTILE_NAMES
from resources.certificates import (
    Certificate,
    Certificates,
    DeletedBeforeError,
    Deletion,
    DeletionEndedError,
    DeletionOpenError,
    DeletionRefusedError,
    EvidenceOldError,
    Gone,
    KeeperGoesError,
    KeepsAnotherError,
    NoKeeperOfItError,
)
from resources.chain import Head, What, verify_lines
from resources.database import Database
from tests.resources.certifying import LATER, NOW, RAW, RECEIPTS, SCAN, SPOT, begun, deletion

# -- one deletion ------------------------------------------------------------------------------------------------


def test_a_deletion_is_kept_with_all_its_evidence(log: Certificates) -> None:
    certificate = begun(log)
    assert certificate == Certificate(1, RAW, NOW)
    assert log.of(SCAN) == log.open() == [certificate]
    done = log.finish(certificate, RECEIPTS, LATER)
    assert log.of(SCAN) == [done]
    assert (done.deletion, done.state, done.begun) == (RAW, What.DONE, NOW)
    assert done.end is not None
    assert (done.end.at, done.end.said) == (LATER, {"receipts": RECEIPTS})
    assert log.open() == []


def test_of_what_was_given_up_it_is_known_why(log: Certificates) -> None:
    given_up = log.give_up(begun(log), "nobody knows", LATER)
    assert log.of(SCAN) == [given_up]
    assert given_up.end is not None
    assert (given_up.state, given_up.end.said) == (What.GIVEN_UP, {"why": "nobody knows"})
    assert log.open() == []


@pytest.mark.parametrize("first", ["finish", "give_up"])
@pytest.mark.parametrize("second", ["finish", "give_up"])
def test_what_has_ended_cannot_end_again(log: Certificates, first: str, second: str) -> None:
    ends: dict[str, Callable[[Certificate], Certificate]] = {
        "finish": lambda certificate: log.finish(certificate, RECEIPTS, LATER),
        "give_up": lambda certificate: log.give_up(certificate, "why", LATER),
    }
    certificate = begun(log)
    ended = ends[first](certificate)
    with pytest.raises(DeletionEndedError, match="certificate 1"):
        ends[second](certificate)
    assert log.of(SCAN) == [ended]


def test_the_history_of_a_scan_has_its_labels_and_no_namesakes(log: Certificates) -> None:
    mine = [begun(log, replace(RAW, partition=name, keepers=())) for name in (SCAN, f"{SCAN}@best", f"{SCAN}@a")]
    for other in (f"{SCAN}b", f"{SCAN}/b", SCAN.upper(), SCAN.replace("_", "x")):
        begun(log, replace(RAW, partition=other, keepers=()))
    assert log.of(f"{SCAN}@other") == log.of(SCAN) == mine


def test_any_path_can_be_deleted_and_is_read_as_it_was(log: Certificates) -> None:
    hostile = [
        replace(RAW, path=f"{name}\0", note=name, author=name, rule={name: name}, storage_id=number)
        for number, name in enumerate(HOSTILE_NAMES)
    ]
    for one in hostile:
        log.finish(begun(log, one), RECEIPTS, LATER)
    assert [certificate.deletion for certificate in log.of(SCAN)] == hostile
    assert log.verify() == log.head() == verify_lines(log.export())


# -- who may begin -----------------------------------------------------------------------------------------------


def refused(log: Certificates, of: Deletion, kind: type[DeletionRefusedError], seen: Head | None = None) -> None:
    before = log.head()
    with pytest.raises(kind, match="Nothing was deleted"):
        log.begin(of, seen=seen or before, at=LATER)
    assert log.head() == before


def test_a_deletion_that_is_going_on_cannot_begin_again(log: Certificates) -> None:
    begun(log)
    refused(log, RAW, DeletionOpenError)
    refused(log, replace(RAW, storage_id=11), DeletionOpenError)


def test_a_copy_whose_keeper_is_going_stays(log: Certificates) -> None:
    begun(log)
    refused(log, SPOT, KeeperGoesError)


def test_a_copy_that_keeps_another_that_is_going_stays(log: Certificates) -> None:
    begun(log, SPOT)
    refused(log, RAW, KeepsAnotherError)


def test_a_raw_copy_that_a_labelled_product_could_be_made_from_stays_while_that_goes(log: Certificates) -> None:
    product = deletion("data832/nersc_tiff", partition=f"{SCAN}@best")
    begun(log, replace(product, keepers=RAW.keepers))
    refused(log, deletion("nersc/raw", "data832/raw"), KeepsAnotherError)


def test_what_only_shares_a_keeper_or_a_name_may_go_too(log: Certificates) -> None:
    begun(log)
    begun(log, deletion("alcf/raw", "nersc/raw"))
    begun(log, deletion("data832/raw", "nersc/raw", partition=f"{SCAN}b"))
    assert len(log.open()) == 3


def test_when_the_deletion_of_what_it_keeps_has_ended_a_copy_may_go(log: Certificates) -> None:
    log.finish(begun(log, SPOT), RECEIPTS, NOW)
    assert begun(log).state is What.BEGUN


def test_a_deletion_that_was_given_up_can_begin_again(log: Certificates) -> None:
    log.give_up(begun(log), "the disk is away", NOW)
    assert begun(log).sequence == 3


def test_the_same_record_is_deleted_once_and_a_newer_one_again(log: Certificates) -> None:
    log.finish(begun(log), RECEIPTS, NOW)
    refused(log, RAW, DeletedBeforeError)
    assert begun(log, replace(RAW, storage_id=11)).state is What.BEGUN


def test_a_keeper_that_has_gone_since_it_was_read_keeps_nothing(log: Certificates) -> None:
    seen = log.head()
    log.finish(begun(log, deletion("nersc/raw", "data832/raw")), RECEIPTS, NOW)
    refused(log, RAW, EvidenceOldError, seen)


def test_a_keeper_whose_deletion_was_given_up_since_it_was_read_keeps_nothing(log: Certificates) -> None:
    going = begun(log, deletion("nersc/raw", "data832/raw"))
    seen = log.head()
    log.give_up(going, "half of it is gone", NOW)
    refused(log, RAW, EvidenceOldError, seen)
    assert begun(log).state is What.BEGUN


def test_a_copy_that_was_begun_and_given_up_since_its_keepers_were_read_is_looked_at_anew(log: Certificates) -> None:
    seen = log.head()
    log.give_up(begun(log), "half of it is gone", NOW)
    refused(log, RAW, EvidenceOldError, seen)


@pytest.mark.parametrize(
    "of",
    [
        deletion("data832/raw", "nersc/raw", "data832/raw"),
        replace(RAW, keepers=deletion("x/raw", "nersc/raw", partition=f"{SCAN}b").keepers),
    ],
    ids=["itself", "another scan"],
)
def test_a_copy_is_kept_by_other_copies_of_its_scan(log: Certificates, of: Deletion) -> None:
    refused(log, of, NoKeeperOfItError)


# -- what is gone ------------------------------------------------------------------------------------------------


def test_of_each_copy_the_newest_deletion_is_told(log: Certificates) -> None:
    log.finish(begun(log), RECEIPTS, NOW)
    log.give_up(begun(log, replace(RAW, storage_id=11)), "why", LATER)
    begun(log, deletion("data832/raw", "nersc/raw", partition="f/b", storage_id=12))
    begun(log, deletion("alcf/raw", "nersc/raw"))
    assert log.gone("data832/raw") == {
        SCAN: Gone(3, 11, What.GIVEN_UP, LATER),
        "f/b": Gone(5, 12, What.BEGUN, NOW),
    }
    assert log.gone("nersc/raw") == {}


def test_an_end_that_comes_late_is_not_taken_for_that_of_a_newer_deletion(
    log: Certificates, database: Database
) -> None:
    log.finish(begun(log), RECEIPTS, NOW)
    again = begun(log, replace(RAW, storage_id=11))
    assert log.gone("data832/raw")[SCAN] == Gone(again.sequence, 11, What.BEGUN, NOW)
    log.finish(again, RECEIPTS, LATER)
    assert log.gone("data832/raw")[SCAN] == Gone(again.sequence, 11, What.DONE, LATER)


def test_what_was_deleted_since_a_moment_is_what_was_done_since_then(log: Certificates) -> None:
    early = log.finish(begun(log, SPOT), RECEIPTS, NOW)
    late = log.finish(begun(log), RECEIPTS, LATER)
    log.give_up(begun(log, deletion("alcf/raw", "nersc/raw")), "why", LATER)
    begun(log, deletion("olcf/raw", "nersc/raw"))
    assert log.deleted_since(NOW) == [early, late]
    assert log.deleted_since(NOW + timedelta(microseconds=1)) == [late]
    assert log.deleted_since(NOW, "spot832/raw") == [early]
    assert log.deleted_since(LATER + timedelta(microseconds=1)) == []


def test_what_is_gone_is_told_without_reading_any_document(log: Certificates, database: Database) -> None:
    begun(log)
    asked: list[str] = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *about: asked.append(about[2]))
    assert set(log.gone("data832/raw")) == {SCAN}
    assert len(asked) == 1
    assert "document" not in asked[0]
