"""Polls: their intervals, one question for many, states that nobody knows, and answers that come too late."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from resources.errors import EpochLostError, ServiceRefusedError, UnknownStateError, WorkFailedError
from resources.ledger import Ledger
from resources.remote import Attempt, JobState, RemoteStatus
from resources.testing import ACTIVE, BROKEN, DONE, KEY, ME, PATIENCE, Bench, MemoryWork, SleptClock, after, outage
from resources.waiting import UNKNOWN_GRACE
from resources.work import Record, WorkState

ODD = RemoteStatus(JobState.UNKNOWN, "REWINDING")
HOPELESS = RemoteStatus(JobState.FAILED, "no such file", {"reason": "GONE"}, must_be_cancelled=True)


@pytest.fixture
def bench(ledger: Ledger) -> Bench:
    return Bench(ledger)


# -- intervals ---------------------------------------------------------------------------------------------------


def test_near_the_end_that_earlier_work_lets_expect_the_intervals_are_the_shortest(bench: Bench) -> None:
    times: list[datetime] = []
    bench.clock.on_sleep = times.append
    bench.work.takes = timedelta(seconds=100)
    bench.work.states = [replace(ACTIVE, started=bench.clock.now())] * 52 + [DONE]
    bench.run()
    since_start = [(time - SleptClock().now()).total_seconds() for time in times]
    near = [b - a for a, b in pairwise(since_start) if 80 <= a < 150]
    assert set(near) == {2}
    assert 80 in since_start
    assert [b - a for a, b in pairwise(since_start) if a > 152][:2] == [4.5, 6.75]


def test_work_that_waits_in_a_queue_has_no_end_to_be_expected(bench: Bench) -> None:
    times: list[datetime] = []
    bench.clock.on_sleep = times.append
    bench.work.takes = timedelta(seconds=100)
    bench.work.states = [RemoteStatus(JobState.QUEUED, "PENDING")] * 12 + [DONE]
    bench.run()
    assert (times[-1] - times[-2]).total_seconds() == 30


def test_how_long_it_takes_is_judged_by_the_latest_successes_of_the_same_asset(bench: Bench) -> None:
    heard: list[list[str]] = []

    class Listening(MemoryWork):
        def expected(self, before: Sequence[Record], /) -> timedelta | None:
            heard.append([record.partition for record in before])
            return None

    for name in ("first", "second"):
        attempt = bench.begin(replace(KEY, partition=name))
        bench.clock.sleep(1)
        bench.finish(attempt)
    bench.finish(bench.begin(replace(KEY, asset="bl832/data832/raw")))
    bench.work = Listening(states=[replace(ACTIVE, started=bench.clock.now()), DONE])
    bench.run()
    assert heard == [["second", "first"]]


# -- states that are no end --------------------------------------------------------------------------------------


def test_a_state_that_nobody_knows_is_waited_out_for_a_while(bench: Bench) -> None:
    bench.work.states = [ODD] * 15 + [ACTIVE] + [ODD] * 15 + [DONE]
    began = bench.clock.now()
    patience = replace(PATIENCE, deadline=timedelta(hours=9))
    assert bench.finish(bench.begin(patience=patience)).state is WorkState.SUCCEEDED
    assert bench.clock.now() - began > UNKNOWN_GRACE


def test_a_state_that_stays_unknown_is_an_error_that_quotes_it_and_the_work_is_left_alone(bench: Bench) -> None:
    bench.work.states = [ODD, outage(), ODD]
    began = bench.clock.now()
    with pytest.raises(UnknownStateError, match=r"job-1.*REWINDING"):
        bench.finish(bench.begin(patience=replace(PATIENCE, deadline=timedelta(hours=9))))
    assert bench.clock.now() - began >= UNKNOWN_GRACE
    assert (bench.work.cancelled, bench.last.state) == ([], WorkState.SUBMITTED)
    bench.work.states = [DONE]
    assert bench.other().run().attempt == 1
    assert bench.work.submits == 1


def test_what_its_service_would_try_for_ever_is_cancelled_and_has_failed(bench: Bench) -> None:
    bench.work.states = [HOPELESS, RemoteStatus(JobState.CANCELED, "CANCELED", {"files": 2})]
    with pytest.raises(WorkFailedError, match="no such file"):
        bench.run()
    assert bench.work.cancelled == ["job-1"]
    assert bench.last.evidence == {"handle": "job-1", "detail": "no such file", "files": 2, "reason": "GONE"}


def test_what_succeeds_in_the_moment_before_it_is_cancelled_has_succeeded(bench: Bench) -> None:
    bench.work.states = [HOPELESS, DONE]
    assert bench.run().state is WorkState.SUCCEEDED


# -- several at one service --------------------------------------------------------------------------------------


@dataclass
class Board:
    """A service that tells of several works at once."""

    says: dict[str, RemoteStatus] = field(default_factory=dict)
    faults: list[Exception] = field(default_factory=list)
    looks: list[list[str]] = field(default_factory=list)
    __hash__ = object.__hash__

    def look(self, handles: Sequence[str]) -> dict[str, RemoteStatus]:
        self.looks.append(list(handles))
        if self.faults:
            raise self.faults.pop(0)
        return self.says


def begun_together(bench: Bench, board: Board, names: Sequence[str]) -> list[Attempt]:
    works = [MemoryWork(states=[DONE], shared=board, first=number) for number, _ in enumerate(names)]
    return [
        bench.remote.begin(work, replace(KEY, partition=name), PATIENCE, intact=lambda _: True)
        for name, work in zip(names, works, strict=True)
    ]


def test_several_at_one_service_are_asked_after_in_one_request_a_round(bench: Bench) -> None:
    board = Board({"job-0": ACTIVE, "job-1": ACTIVE, "job-2": ACTIVE})
    attempts = begun_together(bench, board, "abc")
    bench.clock.on_sleep = after(2, lambda: board.says.update({"job-0": DONE, "job-1": DONE, "job-2": BROKEN}))
    ended = [a.record.state for a in bench.remote.finish_each(attempts, bench.pulses)]
    assert ended == [WorkState.SUCCEEDED, WorkState.SUCCEEDED, WorkState.FAILED]
    assert board.looks == [["job-0", "job-1", "job-2"]] * 3
    assert [a.work.polls for a in attempts if isinstance(a.work, MemoryWork)] == [0, 0, 0]


def test_what_the_common_answer_leaves_out_is_asked_for_by_itself(bench: Bench) -> None:
    attempts = begun_together(bench, Board({"job-0": DONE}), "ab")
    assert len(list(bench.remote.finish_each(attempts, bench.pulses))) == 2
    assert [a.work.polls for a in attempts if isinstance(a.work, MemoryWork)] == [0, 1]


def test_a_common_question_without_an_answer_says_nothing_about_any_of_them(bench: Bench) -> None:
    board = Board({"job-0": DONE, "job-1": DONE}, faults=[outage()])
    ended = list(bench.remote.finish_each(begun_together(bench, board, "ab"), bench.pulses))
    assert {a.record.state for a in ended} == {WorkState.SUCCEEDED}
    assert [status.detail for status in bench.pulses.statuses[:2]] == ["state unknown: no answer"] * 2


def test_a_common_question_that_is_refused_ends_the_wait_for_all_of_them(bench: Bench) -> None:
    board = Board(faults=[ServiceRefusedError(seen="403", meaning="no", remedy="ask")])
    ended = list(bench.remote.finish_each(begun_together(bench, board, "ab"), bench.pulses))
    assert [type(a.outcome) for a in ended] == [ServiceRefusedError, ServiceRefusedError]
    assert all(record.owner == ME.released() for record in bench.ledger.in_flight())


def test_one_alone_is_asked_after_by_itself(bench: Bench) -> None:
    board = Board()
    list(bench.remote.finish_each(begun_together(bench, board, "a"), bench.pulses))
    assert board.looks == []


# -- answers that come too late ----------------------------------------------------------------------------------


class Slow(MemoryWork):
    """Each question takes so long that another worker takes the work over meanwhile."""

    def __init__(self, bench: Bench, question: str, **given: Any) -> None:
        super().__init__(**given)
        self.bench, self.question = bench, question

    def taken_during(self, question: str) -> None:
        if question == self.question and self.bench.last.in_flight:
            self.bench.ledger.seize(self.bench.last, self.bench.other().owner, self.bench.clock.now())

    def find(self, name: str, intent: dict[str, Any]) -> str | None:
        self.taken_during("find")
        return super().find(name, intent)

    def permit(self) -> None:
        self.taken_during("permit")

    def status(self, handle: str, seen: Any = None) -> RemoteStatus:
        self.taken_during("status")
        return super().status(handle, seen)


@pytest.mark.parametrize("question", ["find", "permit"])
def test_a_worker_that_lost_its_work_while_it_looked_for_it_submits_nothing(bench: Bench, question: str) -> None:
    bench.work = Slow(bench, question)
    with pytest.raises(EpochLostError):
        bench.begin()
    assert bench.work.submits == 0


def test_a_worker_that_lost_its_work_while_it_asked_after_it_does_not_cancel_it(bench: Bench) -> None:
    bench.work = Slow(bench, "status", states=[HOPELESS])
    with pytest.raises(EpochLostError):
        bench.run()
    assert bench.work.cancelled == []
    assert bench.last.in_flight


def test_a_worker_that_lost_its_work_while_it_asked_after_it_records_no_end(bench: Bench) -> None:
    bench.work = Slow(bench, "status", states=[BROKEN])
    with pytest.raises(EpochLostError):
        bench.run()
    assert (bench.last.in_flight, bench.last.owner.run_id) == (True, "other")


def test_a_worker_that_lost_its_work_while_it_looked_for_what_to_cancel_cancels_nothing(bench: Bench) -> None:
    bench.work = Slow(bench, "none", submit_faults=[RuntimeError("the power went")])
    with pytest.raises(RuntimeError):
        bench.begin()
    bench.work.started[bench.last.name] = "job-1"
    bench.work.question = "find"
    bench.remote.cancel_open()
    assert bench.work.cancelled == []
