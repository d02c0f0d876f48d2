"""The log of deletions, on both databases: several at once, and that nothing in it changes unseen."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.certificates import (
    Certificates,
    Deletion,
)
from resources.chain import EMPTY, ChainBrokenError, Head, verify_lines
from resources.database import Database, certificates
from tests.resources.certifying import LATER, NOW, RAW, RECEIPTS, begun, deletion, filled

FIELDS = [column.name for column in certificates.columns]


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
