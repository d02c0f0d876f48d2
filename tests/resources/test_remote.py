"""The order of claim, intent, look-up, submit, poll and end, with a service in memory and a clock that is slept on."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from resources.errors import (
    DeadlineExceededError,
    EpochLostError,
    ServiceRefusedError,
    ServiceUnavailableError,
    WorkFailedError,
    WorkLostError,
)
from resources.ledger import Ledger
from resources.remote import RemoteStatus
from resources.testing import ACTIVE, BROKEN, DONE, KEY, ME, PATIENCE, Bench, MemoryWork, SleptClock, after, outage
from resources.work import Record, WorkState


@pytest.fixture
def bench(ledger: Ledger) -> Bench:
    return Bench(ledger)


# -- the way of good work ----------------------------------------------------------------------------------------


def test_work_that_ends_well_leaves_a_record_with_its_evidence(bench: Bench) -> None:
    bench.work.states = [ACTIVE, ACTIVE, DONE]
    record = bench.run()
    assert (record.state, record.handle, record.attempt) == (WorkState.SUCCEEDED, "job-1", 1)
    assert record.evidence == {"handle": "job-1", "detail": "done", "files": 7}
    assert [status.detail for status in bench.pulses.statuses] == ["running", "running", "done"]


def test_the_intent_is_stored_before_the_submit_and_the_handle_after_it(bench: Bench) -> None:
    bench.work.submit_faults = [RuntimeError("the power went")]
    with pytest.raises(RuntimeError):
        bench.begin()
    assert (bench.last.intent, bench.last.handle) == ({"prepared": bench.last.name}, None)


def test_the_intervals_between_polls_grow_up_to_the_longest(bench: Bench) -> None:
    times: list[datetime] = []
    bench.clock.on_sleep = times.append
    bench.work.states = [ACTIVE] * 12 + [DONE]
    bench.run()
    gaps = [(b - a).total_seconds() for a, b in pairwise(times)]
    assert gaps == sorted(gaps)
    assert (times[0] - SleptClock().now(), gaps[-1]) == (PATIENCE.first_poll, 30)


def test_work_that_succeeded_is_not_started_again_while_its_result_is_there(bench: Bench) -> None:
    first = bench.run()
    assert bench.other().run() == first
    assert bench.work.submits == 1


def test_work_whose_result_is_gone_is_started_again(bench: Bench) -> None:
    bench.run()
    again = bench.other()
    assert again.finish(again.begin(intact=False)).attempt == 2
    assert bench.work.submits == 2


# -- lost answers ------------------------------------------------------------------------------------------------


def test_a_submit_whose_answer_was_lost_is_found_although_it_appears_late(bench: Bench) -> None:
    bench.work.submit_faults = [None]
    bench.work.shown_from = 2
    assert bench.run().handle == "job-1"
    assert bench.work.submits == 1


def test_a_submit_that_never_arrived_is_repeated_when_the_service_has_had_time_to_show_it(bench: Bench) -> None:
    bench.work.submit_faults = [outage()]
    started = bench.clock.now()
    assert bench.run().handle == "job-1"
    assert bench.work.submits == 2
    assert bench.clock.now() - started >= PATIENCE.appear


def test_while_the_service_is_down_nothing_is_submitted_again(bench: Bench) -> None:
    bench.work.submit_faults = [None]
    bench.work.unanswered = 10
    assert bench.run().handle == "job-1"
    assert bench.work.submits == 1


def test_a_service_that_stays_down_after_a_submit_is_given_up_at_the_deadline(bench: Bench) -> None:
    bench.work.submit_faults = [None]
    bench.work.unanswered = 1_000_000
    with pytest.raises(DeadlineExceededError):
        bench.begin()
    assert bench.last.in_flight


def test_a_refused_submit_is_an_error_and_the_next_run_tries_at_once(bench: Bench) -> None:
    bench.work.submit_faults = [ServiceRefusedError(seen="403", meaning="no", remedy="ask")]
    with pytest.raises(ServiceRefusedError):
        bench.begin()
    assert bench.other().run().attempt == 1


# -- polls -------------------------------------------------------------------------------------------------------


def test_work_that_is_not_shown_yet_is_waited_for(bench: Bench) -> None:
    bench.work.states = [LookupError("no such job"), LookupError("no such job"), DONE]
    assert bench.run().state is WorkState.SUCCEEDED


def test_work_that_stays_missing_is_lost(bench: Bench) -> None:
    bench.work.states = [ACTIVE, LookupError("no such job")]
    with pytest.raises(WorkLostError, match="no such job"):
        bench.run()
    assert bench.last.state is WorkState.FAILED


def test_work_that_was_missing_for_a_moment_is_not_lost_later(bench: Bench) -> None:
    flickering: list[RemoteStatus | Exception] = [LookupError("gone"), ACTIVE] * 5
    bench.work.states = [*flickering, DONE]
    assert bench.run().state is WorkState.SUCCEEDED


def test_an_outage_says_nothing_about_the_work(bench: Bench) -> None:
    bench.work.states = [*[outage() for _ in range(10)], DONE]
    assert bench.run().state is WorkState.SUCCEEDED
    assert bench.pulses.statuses[0].detail == "state unknown: no answer"


def test_work_that_fails_is_an_error_with_the_services_own_word(bench: Bench) -> None:
    bench.work.states = [BROKEN]
    with pytest.raises(WorkFailedError, match="NODE_FAIL"):
        bench.run()
    assert (bench.last.evidence or {})["exit_code"] == 1


def test_after_a_failure_the_next_run_makes_another_attempt(bench: Bench) -> None:
    bench.work.states = [BROKEN]
    with pytest.raises(WorkFailedError):
        bench.run()
    bench.work.states = [DONE]
    assert bench.other().run().attempt == 2


def test_work_that_takes_too_long_is_an_error_and_is_let_go(bench: Bench) -> None:
    bench.work.states = [ACTIVE]
    with pytest.raises(DeadlineExceededError, match="job-1"):
        bench.run()
    assert bench.other().begin(patience=replace(PATIENCE, deadline=timedelta(hours=9))).owned
    assert bench.work.submits == 1


def test_every_poll_is_a_heartbeat(bench: Bench) -> None:
    bench.work.states = [ACTIVE, ACTIVE, ACTIVE, DONE]
    bench.run()
    beats = [record.heartbeat for record in bench.pulses.records]
    assert beats == sorted(set(beats))
    assert len(beats) == 4


# -- several attempts --------------------------------------------------------------------------------------------


def test_of_several_each_is_handed_back_when_it_ends(bench: Bench) -> None:
    slow, quick, bad = (MemoryWork(states=states) for states in ([ACTIVE] * 9 + [DONE], [DONE], [ACTIVE, BROKEN]))
    attempts = [
        bench.remote.begin(work, replace(KEY, partition=name), PATIENCE, intact=lambda _: True)
        for name, work in (("slow", slow), ("quick", quick), ("bad", bad))
    ]
    ended = [(a.key.partition, type(a.outcome).__name__) for a in bench.remote.finish_each(attempts, bench.pulses)]
    assert ended == [("quick", "Record"), ("bad", "WorkFailedError"), ("slow", "Record")]


# -- several workers ---------------------------------------------------------------------------------------------


def test_a_watcher_sees_the_success_of_the_worker_that_it_watches(bench: Bench) -> None:
    owned, watcher = bench.begin(), bench.other()
    watching = watcher.begin()
    bench.clock.on_sleep = after(
        3, lambda: bench.ledger.finish(owned.record, WorkState.SUCCEEDED, {}, bench.clock.now())
    )
    assert watcher.finish(watching).state is WorkState.SUCCEEDED
    assert watcher.pulses.statuses[0].detail == "another run is at it (me)"
    assert bench.work.submits == 1


def test_a_watcher_sees_the_failure_and_makes_no_attempt_of_its_own(bench: Bench) -> None:
    owned, watcher = bench.begin(), bench.other()
    watching = watcher.begin()
    evidence = {"detail": "NODE_FAIL"}
    bench.clock.on_sleep = after(
        1, lambda: bench.ledger.finish(owned.record, WorkState.FAILED, evidence, bench.clock.now())
    )
    with pytest.raises(WorkFailedError, match="NODE_FAIL"):
        watcher.finish(watching)
    assert (bench.work.submits, bench.last.attempt) == (1, 1)


def test_a_watcher_takes_over_when_the_worker_lets_go(bench: Bench) -> None:
    bench.begin()
    watcher = bench.other()
    watching = watcher.begin()
    bench.clock.on_sleep = after(2, bench.remote.release_open)
    assert watcher.finish(watching).owner.run_id == "other"
    assert bench.work.submits == 1


def test_a_watcher_takes_over_from_a_worker_on_another_machine_that_falls_silent(bench: Bench) -> None:
    far = bench.other("far", host="elsewhere", boot="b")
    far.begin()
    record = bench.run()
    assert (record.owner.run_id, record.epoch, bench.work.submits) == ("me", 2, 1)


def test_a_worker_that_has_lost_its_work_stops_without_touching_it(bench: Bench) -> None:
    attempt = bench.begin()
    bench.ledger.take_over(attempt.record, ME, bench.clock.now())
    bench.work.states = [ServiceRefusedError(seen="asked", meaning="touched", remedy="none")]
    with pytest.raises(EpochLostError):
        bench.finish(attempt)


def test_a_worker_that_died_between_submit_and_answer_is_followed_without_a_second_submit(bench: Bench) -> None:
    bench.work.submit_faults = [None]
    dead = bench.other("dead", pid=2**22 + 1)
    record = dead.ledger.claim(KEY, dead.owner, dead.clock.now()).record
    record = dead.ledger.store_intent(record, dead.work.prepare(record.name), dead.clock.now())
    with pytest.raises(ServiceUnavailableError):
        dead.work.submit(record.name, {})
    bench.work.shown_from = 1
    assert bench.run().handle == "job-1"
    assert bench.work.submits == 1


# -- stopping ----------------------------------------------------------------------------------------------------


def test_what_a_person_cancels_is_ended_at_the_service_and_in_the_ledger(bench: Bench) -> None:
    bench.work.states = [ACTIVE]
    bench.begin()
    bench.remote.cancel_open()
    assert bench.work.cancelled == ["job-1"]
    assert bench.last.state is WorkState.CANCELED


def test_what_has_succeeded_before_a_person_cancels_is_not_done_again(bench: Bench) -> None:
    """Of the fault campaign: seed 1, ``nersc:terminate-during:file-listing:2``."""
    bench.work.states = [DONE]
    bench.begin()
    bench.remote.cancel_open()
    assert bench.work.cancelled == []
    assert (bench.last.state, bench.last.evidence) == (
        WorkState.SUCCEEDED,
        {"handle": "job-1", "detail": "done", "files": 7},
    )
    assert bench.run().attempt == 1


def test_what_cannot_be_asked_after_is_cancelled_all_the_same(bench: Bench) -> None:
    bench.work.states = [outage()]
    bench.begin()
    bench.remote.cancel_open()
    assert bench.work.cancelled == ["job-1"]
    assert bench.last.state is WorkState.CANCELED


def test_a_watcher_that_is_cancelled_leaves_the_work_alone(bench: Bench) -> None:
    bench.begin()
    watcher = bench.other()
    watcher.begin()
    watcher.remote.cancel_open()
    assert bench.work.cancelled == []
    assert bench.last.in_flight


def test_a_worker_that_has_lost_its_work_does_not_cancel_it(bench: Bench) -> None:
    attempt = bench.begin()
    bench.ledger.take_over(attempt.record, ME, bench.clock.now())
    bench.remote.cancel_open()
    assert bench.work.cancelled == []
    assert bench.last.in_flight


def test_what_cannot_be_cancelled_is_let_go_and_the_rest_is_cancelled(bench: Bench) -> None:
    class Deaf(MemoryWork):
        def cancel(self, _handle: str) -> None:
            raise outage()

    bench.work.states = [ACTIVE]
    deaf = bench.remote.begin(Deaf(states=[ACTIVE]), replace(KEY, partition="deaf"), PATIENCE, intact=lambda _: True)
    bench.begin()
    with pytest.raises(ServiceUnavailableError):
        bench.remote.cancel_open()
    assert bench.work.cancelled == ["job-1"]
    left = bench.ledger.get(deaf.record.key, 1)
    assert left.in_flight
    assert left.owner == ME.released()


def test_a_pulse_that_raises_ends_the_wait_and_the_work_goes_on(bench: Bench) -> None:
    def stop(_: Record, __: RemoteStatus) -> None:
        raise KeyboardInterrupt

    attempt = bench.begin()
    with pytest.raises(KeyboardInterrupt):
        bench.remote.finish(attempt, stop)
    bench.remote.release_open()
    assert bench.other().run().state is WorkState.SUCCEEDED
    assert bench.work.submits == 1
