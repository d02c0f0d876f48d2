"""The ledger's transitions, on both databases, with several workers at once."""

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import psutil
import pytest
import sqlalchemy as sa

from resources.database import Database
from resources.errors import EpochLostError, OtherInputError, OtherSettingsError
from resources.ledger import Ledger
from resources.owner import SILENT_AFTER, Owner, _started
from resources.work import AlreadyDone, Claimed, Record, Watching, WorkKey, WorkState

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
KEY = WorkKey("bl832/data832/raw", "f/a", "settings", "input")
ME = Owner.this_process("me")
OTHER = replace(ME, run_id="other")
GONE = replace(ME, pid=2**22 + 1, run_id="gone")

Result = TypeVar("Result")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = Ledger(Database(ledger_url))
    yield ledger
    ledger.database.close()


def claimed(ledger: Ledger, key: WorkKey = KEY, owner: Owner = ME) -> Record:
    claim = ledger.claim(key, owner, NOW)
    assert isinstance(claim, Claimed)
    return claim.record


def at_once(url: str, actions: Sequence[Callable[[Ledger], Result]]) -> list[Result | Exception]:
    """Each action in a thread with its own connection, all let go at the same moment."""
    start = threading.Barrier(len(actions))
    results: dict[int, Result | Exception] = {}

    def act(number: int, action: Callable[[Ledger], Result]) -> None:
        ledger = Ledger(Database(url))
        start.wait()
        try:
            results[number] = action(ledger)
        except Exception as error:
            results[number] = error
        finally:
            ledger.database.close()

    threads = [threading.Thread(target=act, args=item) for item in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(len(actions))]


def claiming(key: WorkKey, owner: Owner) -> Callable[[Ledger], object]:
    return lambda ledger: ledger.claim(key, owner, NOW)


def kinds(results: Sequence[object]) -> list[str]:
    return sorted(type(result).__name__ for result in results)


# -- several at once ---------------------------------------------------------------------------------------------


def test_of_eight_who_claim_new_work_at_once_one_has_it(ledger_url: str) -> None:
    owners = [replace(ME, run_id=f"run-{number}") for number in range(8)]
    results = at_once(ledger_url, [claiming(KEY, owner) for owner in owners])
    assert kinds(results) == ["Claimed"] + ["Watching"] * 7
    winner = next(result.record.owner for result in results if isinstance(result, Claimed))
    assert {result.record.owner for result in results if isinstance(result, Watching)} == {winner}


def test_of_eight_who_take_over_from_a_dead_worker_at_once_one_has_it(ledger: Ledger) -> None:
    left = claimed(ledger, owner=GONE)
    owners = [replace(ME, run_id=f"run-{number}") for number in range(8)]
    results = at_once(ledger.database.url, [claiming(KEY, owner) for owner in owners])
    assert kinds(results) == ["Claimed"] + ["Watching"] * 7
    assert ledger.get(left.key, 1).epoch == 2


def test_of_eight_with_settings_of_their_own_at_once_one_is_let_in(ledger_url: str) -> None:
    keys = [replace(KEY, settings=f"settings {number}") for number in range(8)]
    results = at_once(ledger_url, [claiming(key, ME) for key in keys])
    assert kinds(results) == ["Claimed"] + ["OtherSettingsError"] * 7


def test_of_eight_who_end_the_same_work_at_once_one_does(ledger: Ledger) -> None:
    record = claimed(ledger)
    results = at_once(ledger.database.url, [lambda own: own.finish(record, WorkState.SUCCEEDED, {}, NOW)] * 8)
    assert kinds(results) == ["EpochLostError"] * 7 + ["Record"]


def test_eight_who_begin_different_work_at_once_all_have_theirs(ledger_url: str) -> None:
    keys = [replace(KEY, partition=f"f/{number}") for number in range(8)]
    results = at_once(ledger_url, [claiming(key, ME) for key in keys])
    assert kinds(results) == ["Claimed"] * 8


def test_eight_processes_that_open_a_new_ledger_at_once_all_can_and_one_has_the_work(ledger_url: str) -> None:
    processes = multiprocessing.get_context("fork")  # threads take turns and do not meet in the moment of creation
    start, end, answers = processes.Barrier(8), processes.Barrier(9), processes.SimpleQueue()

    def claim() -> None:
        owner = Owner.this_process("run")
        start.wait()
        try:
            answers.put(type(Ledger(Database(ledger_url)).claim(KEY, owner, NOW)).__name__)
        except Exception as error:
            answers.put(repr(error))
        end.wait()  # who ends is dead, and its work is taken

    workers = [processes.Process(target=claim) for _ in range(8)]
    for worker in workers:
        worker.start()
    results = sorted(answers.get() for _ in workers)
    end.wait()
    for worker in workers:
        worker.join()
    assert results == ["Claimed"] + ["Watching"] * 7


# -- one after the other -----------------------------------------------------------------------------------------


def test_work_goes_from_intent_over_its_handle_to_its_end(ledger: Ledger) -> None:
    record = ledger.store_intent(claimed(ledger), {"submission_id": "s"}, NOW)
    record = ledger.store_handle(record, "task", NOW)
    record = ledger.finish(record, WorkState.SUCCEEDED, {"files": 1}, NOW + timedelta(seconds=1))
    assert record == ledger.last(KEY)
    assert (record.state, record.handle, record.intent) == (WorkState.SUCCEEDED, "task", {"submission_id": "s"})
    assert (record.evidence, record.created, record.updated) == ({"files": 1}, NOW, NOW + timedelta(seconds=1))


def test_what_is_done_is_said_to_be_done_until_it_is_wanted_again(ledger: Ledger) -> None:
    done = ledger.finish(claimed(ledger), WorkState.SUCCEEDED, {}, NOW)
    assert ledger.claim(KEY, OTHER, NOW) == AlreadyDone(done)
    again = ledger.claim(KEY, OTHER, NOW, redo=True)
    assert isinstance(again, Claimed)
    assert (again.record.attempt, again.record.state) == (2, WorkState.INTENT)


@pytest.mark.parametrize("state", [WorkState.FAILED, WorkState.CANCELED])
def test_after_a_bad_end_there_is_another_attempt(ledger: Ledger, state: WorkState) -> None:
    ledger.finish(claimed(ledger), state, {}, NOW)
    assert claimed(ledger).attempt == 2
    assert [record.attempt for record in ledger.attempts(KEY.asset, KEY.partition)] == [2, 1]


def test_who_lost_the_epoch_can_change_nothing_any_more(ledger: Ledger) -> None:
    old = claimed(ledger, owner=GONE)
    new = claimed(ledger)
    with pytest.raises(EpochLostError):
        ledger.beat(old, NOW)
    with pytest.raises(EpochLostError):
        ledger.finish(old, WorkState.FAILED, {}, NOW)
    assert ledger.last(KEY) == new


def test_what_has_ended_cannot_end_again(ledger: Ledger) -> None:
    record = ledger.finish(claimed(ledger), WorkState.SUCCEEDED, {}, NOW)
    with pytest.raises(EpochLostError):
        ledger.finish(record, WorkState.FAILED, {}, NOW)


def test_other_settings_are_refused_while_work_is_in_flight_and_after_it_succeeded(ledger: Ledger) -> None:
    other = replace(KEY, settings="other")
    record = claimed(ledger)
    with pytest.raises(OtherSettingsError, match="@<another label>"):
        ledger.claim(other, ME, NOW)
    ledger.finish(record, WorkState.SUCCEEDED, {}, NOW)
    with pytest.raises(OtherSettingsError, match="other settings"):
        ledger.claim(other, ME, NOW)


def test_other_settings_are_let_in_after_a_failure(ledger: Ledger) -> None:
    ledger.finish(claimed(ledger), WorkState.FAILED, {}, NOW)
    assert claimed(ledger, replace(KEY, settings="other")).attempt == 1


def test_another_input_is_refused_by_its_own_words(ledger: Ledger) -> None:
    claimed(ledger)
    with pytest.raises(OtherInputError, match="other input"):
        ledger.claim(replace(KEY, fingerprint="other"), ME, NOW)


def test_what_was_released_is_attached_to_at_once(ledger: Ledger) -> None:
    ledger.release(claimed(ledger), NOW)
    taken = claimed(ledger, owner=OTHER)
    assert (taken.attempt, taken.epoch, taken.owner) == (1, 2, OTHER)


def test_the_same_worker_takes_up_its_own_work(ledger: Ledger) -> None:
    claimed(ledger)
    assert claimed(ledger).epoch == 2


def test_a_key_holds_any_text(ledger: Ledger) -> None:
    key = WorkKey("a'; DROP TABLE remote_work; --", 'ünï 🦀\n"', '{"x": 1}', "")
    claimed(ledger, key)
    assert [record.partition for record in ledger.attempts(key.asset, key.partition)] == [key.partition]


def test_all_that_is_in_flight_can_be_listed(ledger: Ledger) -> None:
    ledger.finish(claimed(ledger), WorkState.SUCCEEDED, {}, NOW)
    flying = claimed(ledger, replace(KEY, partition="f/b"))
    assert ledger.in_flight() == [flying]


def test_the_database_itself_lets_only_one_piece_of_work_fly_for_a_partition(ledger: Ledger) -> None:
    record = claimed(ledger)
    ledger.finish(record, WorkState.FAILED, {}, NOW)
    claimed(ledger, replace(KEY, settings="other"))
    engine = sa.create_engine(ledger.database.url)
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(sa.text("UPDATE remote_work SET state = 'intent'"))
    engine.dispose()


# -- who is dead -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "silent_for", "dead"),
    [
        (OTHER, timedelta(days=1), False),
        (GONE, timedelta(), True),
        (replace(OTHER, started=ME.started - 100), timedelta(), True),
        (replace(OTHER, boot="before the reboot"), timedelta(), True),
        (replace(OTHER, host="elsewhere", boot="b"), SILENT_AFTER - timedelta(seconds=1), False),
        (replace(OTHER, host="elsewhere", boot="b"), SILENT_AFTER + timedelta(seconds=1), True),
        (OTHER.released(), timedelta(), True),
        (replace(OTHER, host="elsewhere", boot="b").released(), timedelta(), True),
    ],
    ids=["alive", "pid gone", "pid given anew", "rebooted", "heard of", "silent", "released", "released elsewhere"],
)
def test_work_is_taken_from_the_dead_only(ledger: Ledger, owner: Owner, silent_for: timedelta, dead: bool) -> None:
    record = claimed(ledger, owner=owner if owner.pid else replace(owner, pid=1))
    if owner.pid == 0:
        record = ledger.release(record, NOW)
    claim = ledger.claim(KEY, ME, NOW + silent_for)
    assert isinstance(claim, Claimed if dead else Watching)
    assert claim.record.epoch == (2 if dead else 1)


def test_a_heartbeat_keeps_work_on_another_machine_from_being_taken(ledger: Ledger) -> None:
    far = replace(OTHER, host="elsewhere", boot="b")
    ledger.beat(claimed(ledger, owner=far), NOW + SILENT_AFTER)
    assert isinstance(ledger.claim(KEY, ME, NOW + 1.5 * SILENT_AFTER), Watching)


def test_a_zombie_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        zombie = replace(ME, pid=child.pid, started=_started(psutil.Process(child.pid)), run_id="zombie")
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert zombie.is_dead(seen_from=ME, heartbeat=NOW, now=NOW)


# -- what is forgotten -------------------------------------------------------------------------------------------

LATER = NOW + timedelta(days=1)
CHECK = WorkKey("bl832/flight_check#a to b", "file", "", "file")
GUARDED = (WorkState.SUCCEEDED, WorkState.SUPERSEDED, WorkState.FAILED, WorkState.CANCELED)


def pruned(ledger: Ledger, before: datetime = LATER) -> int:
    return ledger.prune(before=before, checks_before=before, seen_from=ME, now=LATER)


def attempted(ledger: Ledger, *states: WorkState, key: WorkKey = KEY) -> None:
    """One attempt after the other, and how each has ended."""
    for number, state in enumerate(states):
        now = NOW + timedelta(seconds=number)
        claim = ledger.claim(key, ME, now, redo=True)
        assert isinstance(claim, Claimed)
        ledger.finish(claim.record, state, {}, now)


def kept(ledger: Ledger, key: WorkKey = KEY) -> list[int]:
    return [record.attempt for record in ledger.attempts(key.asset, key.partition)]


def test_attempts_that_failed_before_the_same_work_succeeded_are_forgotten(ledger: Ledger) -> None:
    attempted(ledger, WorkState.FAILED, WorkState.CANCELED, WorkState.SUCCEEDED)
    assert pruned(ledger) == 2
    assert kept(ledger) == [3]
    assert isinstance(ledger.claim(KEY, ME, LATER), AlreadyDone)


@pytest.mark.parametrize("state", GUARDED)
def test_the_newest_attempt_is_kept_so_that_no_name_is_given_twice(ledger: Ledger, state: WorkState) -> None:
    attempted(ledger, WorkState.SUCCEEDED, state)
    assert pruned(ledger) == 0
    assert kept(ledger) == [2, 1]


def test_what_has_failed_since_the_last_success_is_kept_for_it_may_have_left_remains(ledger: Ledger) -> None:
    attempted(ledger, WorkState.SUCCEEDED, WorkState.FAILED, WorkState.FAILED)
    assert pruned(ledger) == 0


def test_what_was_superseded_is_kept_for_what_it_copied_is_still_our_own(ledger: Ledger) -> None:
    attempted(ledger, WorkState.FAILED, WorkState.FAILED)
    ledger.supersede(KEY.asset, KEY.partition, NOW)
    attempted(ledger, WorkState.SUCCEEDED)
    assert pruned(ledger) == 0


def test_a_success_of_other_settings_lets_nothing_be_forgotten(ledger: Ledger) -> None:
    attempted(ledger, WorkState.FAILED)
    attempted(ledger, WorkState.SUCCEEDED, key=replace(KEY, settings="other"))
    assert pruned(ledger) == 0


def test_what_is_young_is_kept(ledger: Ledger) -> None:
    attempted(ledger, WorkState.FAILED, WorkState.SUCCEEDED)
    attempted(ledger, WorkState.FAILED, key=CHECK)
    assert pruned(ledger, before=NOW) == 0


@pytest.mark.parametrize("asset", ["bl832/flight_check#a to b", "bl832/doctor#job nersc", "bl832/nersc/proof"])
@pytest.mark.parametrize("state", [WorkState.SUCCEEDED, WorkState.FAILED, WorkState.CANCELED])
def test_of_a_check_nothing_is_kept(ledger: Ledger, asset: str, state: WorkState) -> None:
    key = replace(CHECK, asset=asset)
    attempted(ledger, state, key=key)
    assert pruned(ledger) == 1
    assert kept(ledger, key) == []


@pytest.mark.parametrize(("owner", "count"), [(GONE, 1), (ME, 0)], ids=["dead", "alive"])
def test_what_a_check_has_left_in_flight_is_forgotten_when_its_worker_is_dead(
    ledger: Ledger, owner: Owner, count: int
) -> None:
    claimed(ledger, CHECK, owner)
    flying = claimed(ledger, owner=GONE)
    assert pruned(ledger) == count
    assert flying in ledger.in_flight()


def test_an_asset_that_only_sounds_like_a_check_is_none(ledger: Ledger) -> None:
    attempted(ledger, WorkState.FAILED, key=replace(KEY, asset="bl832/flightXcheck#a"))
    assert pruned(ledger) == 0


def test_the_last_attempt_is_the_last_also_where_its_workers_clock_was_behind(ledger: Ledger) -> None:
    """Seen by the fault campaign, case nersc:product-corrupted: the claim went round for ever."""
    ahead, behind = NOW + timedelta(seconds=30), NOW
    for now, state in ((ahead, WorkState.FAILED), (behind, WorkState.SUCCEEDED)):
        claim = ledger.claim(KEY, ME, now)
        assert isinstance(claim, Claimed)
        ledger.finish(claim.record, state, {}, now)
    last = ledger.last(KEY)
    assert last is not None
    assert last.attempt == 2
    assert isinstance(ledger.claim(KEY, ME, NOW), AlreadyDone)
