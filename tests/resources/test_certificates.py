"""The log of deletions, on both databases: who may begin, what has ended, and that nothing in it changes unseen."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    Keeper,
    KeeperGoesError,
    KeepsAnotherError,
    NoKeeperOfItError,
)
from resources.chain import EMPTY, ChainBrokenError, Head, What, verify_lines
from resources.database import Database, certificates

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
SCAN = "BLS-00564_x/20260101_120000_a"
RECEIPTS = [{"task": "t-1", "deleted": ["a.h5", "a.h5.manifest.json"], "state": "SUCCEEDED"}]
FIELDS = [column.name for column in certificates.columns]


def deletion(
    asset: str, *keepers: str, partition: str = SCAN, storage_id: int = 10, path: str = "raw/a.h5"
) -> Deletion:
    """Of a copy that other copies of the same partition keep."""
    return Deletion(
        asset=asset,
        partition=partition,
        storage_id=storage_id,
        path=path,
        bytes=10**13,
        files=1,
        rule={"copies": ["data832/raw"], "age": "P35D", "proven": 1},
        reason="old-enough-and-kept-elsewhere",
        keepers=tuple(Keeper(keeper, partition, "ab" * 32, NOW.isoformat(), "job 7") for keeper in keepers),
        author="run 5",
    )


RAW = deletion("data832/raw", "nersc/raw")
SPOT = deletion("spot832/raw", "data832/raw", "nersc/raw")


@pytest.fixture
def database(ledger_url: str) -> Iterator[Database]:
    database = Database(ledger_url)
    yield database
    database.close()


@pytest.fixture
def log(database: Database) -> Certificates:
    return Certificates(database)


def begun(log: Certificates, of: Deletion = RAW, at: datetime = NOW) -> Certificate:
    return log.begin(of, seen=log.head(), at=at)


def filled(log: Certificates) -> Head:
    """Three scans: the deletion of one copy is done, of one given up, of one open; 5 entries each."""
    for number in range(3):
        done, given_up, _ = (
            begun(log, deletion(asset, "nersc/tiff", partition=f"f/{number}"))
            for asset in ("alcf/tiff", "olcf/tiff", "data832/tiff")
        )
        log.finish(done, RECEIPTS, LATER)
        log.give_up(given_up, "the disk is away", LATER)
    return log.head()


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


# -- several at once ---------------------------------------------------------------------------------------------

Act = Callable[[Certificates], object]


def at_once(url: str, acts: Sequence[Act]) -> list[str]:
    """Each in a process of its own, all let go at the same moment; what each has got, in order of its name."""
    processes = multiprocessing.get_context("fork")
    start, answers = processes.Barrier(len(acts)), processes.SimpleQueue()

    def run(act: Act) -> None:
        log = Certificates(Database(url))
        log.head()
        start.wait()
        try:
            answers.put(type(act(log)).__name__)
        except Exception as error:
            answers.put(type(error).__name__)

    workers = [processes.Process(target=run, args=(act,)) for act in acts]
    for worker in workers:
        worker.start()
    results = sorted(answers.get() for _ in workers)
    for worker in workers:
        worker.join()
    return results


def beginning(of: Deletion) -> Act:
    return lambda log: log.begin(of, seen=Head(10**6, ""), at=NOW)


@pytest.mark.parametrize("number", range(5))
def test_of_two_copies_that_keep_each_other_one_goes_when_both_begin_at_once(ledger_url: str, number: int) -> None:
    one, other = deletion("data832/raw", "nersc/raw"), deletion("nersc/raw", "data832/raw")
    results = at_once(ledger_url, [beginning(one), beginning(other)])
    assert results in (["Certificate", "KeeperGoesError"], ["Certificate", "KeepsAnotherError"])
    log = Certificates(Database(ledger_url))
    assert len(log.open()) == 1
    assert log.verify().entries == 1


def test_of_eight_who_begin_the_same_deletion_at_once_one_does(ledger_url: str) -> None:
    assert at_once(ledger_url, [beginning(RAW)] * 8) == ["Certificate"] + ["DeletionOpenError"] * 7


def test_eight_who_begin_different_deletions_at_once_all_do_and_the_chain_is_whole(ledger_url: str) -> None:
    acts = [beginning(deletion("data832/raw", "nersc/raw", partition=f"f/{number}")) for number in range(8)]
    assert at_once(ledger_url, acts) == ["Certificate"] * 8
    assert Certificates(Database(ledger_url)).verify().entries == 8


def test_of_eight_who_end_the_same_deletion_at_once_one_does(log: Certificates, ledger_url: str) -> None:
    certificate = begun(log)
    acts: list[Act] = [
        lambda own: own.finish(certificate, RECEIPTS, LATER),
        lambda own: own.give_up(certificate, "", NOW),
    ]
    assert at_once(ledger_url, acts * 4) == ["Certificate"] + ["DeletionEndedError"] * 7
    assert log.verify().entries == 2


def test_a_deletion_whose_process_was_killed_is_open_until_another_ends_it(ledger_url: str) -> None:
    def begin_and_die() -> None:
        begun(Certificates(Database(ledger_url)))
        os.kill(os.getpid(), 9)

    process = multiprocessing.get_context("fork").Process(target=begin_and_die)
    process.start()
    process.join()
    log = Certificates(Database(ledger_url))
    [left] = log.open()
    assert (process.exitcode, left.deletion) == (-9, RAW)
    log.finish(left, RECEIPTS, LATER)
    assert log.open() == []


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


def test_what_is_gone_of_100_000_is_told_in_seconds(database: Database) -> None:
    log, document = Certificates(database), "x" * 1_500
    rows = [
        {"sequence": number + 1, "what": "begun", "of": None, "scan": f"f/{number}", "asset": "data832/raw"}
        | {"partition": f"f/{number}", "storage_id": number, "at": NOW.isoformat(), "document": document}
        | {"previous": "", "hash": ""}
        for number in range(100_000)
    ]
    with database.engine.begin() as connection:
        connection.execute(sa.insert(certificates), rows)
    began = time.monotonic()
    assert len(log.gone("data832/raw")) == 100_000
    assert time.monotonic() - began < 5


# -- the chain ---------------------------------------------------------------------------------------------------


def test_a_log_that_nobody_touched_is_whole(log: Certificates) -> None:
    assert log.verify() == log.head() == EMPTY
    head = filled(log)
    assert head.entries == 15
    assert log.verify() == log.verify(head) == head == verify_lines(log.export(), known=head)


def changed(value: Any) -> Any:
    """Another value that the column takes."""
    if isinstance(value, str):
        return ("0" if value[:1] != "0" else "1") + value[1:]
    return 1_000 if value is None else value + 1_000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(sequence=st.integers(1, 15), field=st.sampled_from(FIELDS))
def test_one_changed_field_of_any_row_is_found(
    log: Certificates, database: Database, sequence: int, field: str
) -> None:
    if log.head() == EMPTY:
        filled(log)
    row = certificates.c.sequence == sequence
    with database.engine.begin() as connection:
        value = connection.execute(sa.select(certificates.c[field]).where(row)).scalar_one()
        connection.execute(sa.update(certificates).where(row).values({field: changed(value)}))
    with pytest.raises(ChainBrokenError) as broken:
        log.verify()
    moved = changed(value) if field == "sequence" else sequence
    with database.engine.begin() as connection:
        connection.execute(sa.update(certificates).where(certificates.c.sequence == moved).values({field: value}))
    # The last row with another number is missing at its own.
    assert broken.value.sequence == sequence
    assert log.verify().entries == 15


@pytest.mark.parametrize("sequence", range(1, 15))
def test_a_row_that_was_removed_is_found(log: Certificates, database: Database, sequence: int) -> None:
    filled(log)
    with database.engine.begin() as connection:
        connection.execute(sa.delete(certificates).where(certificates.c.sequence == sequence))
    with pytest.raises(ChainBrokenError, match="gap") as broken:
        log.verify()
    assert broken.value.sequence == sequence


def test_a_last_row_that_was_removed_is_found_by_a_head_that_was_noted(log: Certificates, database: Database) -> None:
    head = filled(log)
    with database.engine.begin() as connection:
        connection.execute(sa.delete(certificates).where(certificates.c.sequence == 15))
    assert log.verify().entries == 14
    with pytest.raises(ChainBrokenError, match="missing: there were 15") as broken:
        log.verify(head)
    assert broken.value.sequence == 15


def test_a_log_may_have_grown_since_its_head_was_noted(log: Certificates) -> None:
    head = filled(log)
    begun(log)
    assert log.verify(head).entries == 16


def test_a_part_of_the_log_is_exported_and_verified_after_what_was_verified(log: Certificates) -> None:
    filled(log)
    lines = list(log.export())
    middle = verify_lines(lines[:7])
    assert list(log.export(after=7)) == lines[7:]
    assert verify_lines(log.export(after=7), after=middle) == log.head()


def test_a_log_is_read_in_portions_of_any_size(log: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    head = filled(log)
    for portion in (1, 4, 5, 15, 16):
        monkeypatch.setattr("resources.certificates._ROWS_AT_ONCE", portion)
        assert log.verify() == head == verify_lines(log.export())
