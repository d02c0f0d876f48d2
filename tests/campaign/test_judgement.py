"""The judge sees each kind of wrong, and nothing where all is right."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from campaign.judgement import RunSeen, Seen, judge
from campaign.outside import JobSeen, Outside, TaskSeen
from resources.owner import Owner
from resources.work import Record, WorkState

BEGAN = datetime(2026, 7, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def task(attempt: int = 1, status: str = "SUCCEEDED", began: float = 0, ended: float | None = 5) -> TaskSeen:
    return TaskSeen(f"als-db-copy-{attempt}", ("/raw/a.h5",), status, at(began), None if ended is None else at(ended))


def job(attempt: int = 1, state: str = "COMPLETED", began: float = 0, ended: float | None = 5) -> JobSeen:
    return JobSeen(f"als-db-job-{attempt}", str(attempt), state, at(began), None if ended is None else at(ended))


def record(key: str, attempt: int = 1, state: WorkState = WorkState.SUCCEEDED) -> Record:
    owner = Owner("here", "boot", 1, 0.0, "run")
    return Record(
        key, attempt, "bl832/x", "a", "", "", state, 1, owner, BEGAN, None, "h", None, BEGAN, BEGAN, installation="db"
    )


RECORDS = tuple(record(key, attempt) for key in ("copy", "job") for attempt in (1, 2))
RIGHT = Seen(
    runs=(RunSeen("SUCCESS"),),
    outside=Outside((task(),), (job(),)),
    records=RECORDS,
    wanted=frozenset({"bl832/x"}),
    materialized=frozenset({"bl832/x"}),
    contents={"bl832/x": {"a": "1"}},
    right={"bl832/x": {"a": "1"}},
)


def outside(*pieces: TaskSeen | JobSeen) -> Seen:
    tasks = tuple(piece for piece in pieces if isinstance(piece, TaskSeen))
    jobs = tuple(piece for piece in pieces if isinstance(piece, JobSeen))
    return replace(RIGHT, outside=Outside(tasks, jobs))


FINE = {
    "all is well": RIGHT,
    "an attempt follows one that failed": outside(task(1, "FAILED"), task(2, began=6, ended=9)),
    "a job follows one that was cancelled": outside(job(1, "CANCELLED"), job(2, began=6, ended=9)),
    "a run was killed, and the next one was not": replace(
        RIGHT, runs=(RunSeen("FAILURE", killed=True), RunSeen("SUCCESS"))
    ),
    "a run stopped with a named error": replace(RIGHT, runs=(RunSeen("FAILURE", ("WorkFailedError",)), *RIGHT.runs)),
    "what was damaged is made again": replace(
        outside(job(1), job(2, began=6, ended=9)), damaged=frozenset({"bl832/x"})
    ),
}
WRONG = {
    "submitted 2 times": outside(task(), task(1, began=6, ended=9)),
    "was started while": outside(job(1, "NODE_FAIL", ended=8), job(2, began=6, ended=9)),
    "did again what": outside(task(1), task(2, began=6, ended=9)),
    "jobs of different work": outside(job(), replace(job(), name="als-db-other-1")),
    "no record knows it": outside(replace(task(), label="als-db-stranger-1")),
    "still runs outside": outside(task(ended=None, status="ACTIVE")),
    "in flight in the ledger": replace(RIGHT, records=(*RECORDS, record("copy", 3, WorkState.SUBMITTED))),
    "was never made": replace(RIGHT, materialized=frozenset()),
    "is not right": replace(RIGHT, contents={"bl832/x": {"a": "2"}}),
    "is recorded as made": replace(RIGHT, contents={"bl832/x": {}}),
    "not complete": replace(RIGHT, runs=(RunSeen("FAILURE", ("WorkFailedError",)),)),
    "has no name": replace(RIGHT, runs=(RunSeen("FAILURE", unnamed=("KeyError: 'a'",)), *RIGHT.runs)),
    "did not end": replace(RIGHT, runs=(RunSeen("FAILURE", killed=True, ended=False), *RIGHT.runs)),
    "without an error": replace(RIGHT, runs=(RunSeen("FAILURE"), *RIGHT.runs)),
    "terminated by a person and is": replace(RIGHT, runs=(RunSeen("FAILURE", ("X",), terminated=True), *RIGHT.runs)),
    "went on": replace(RIGHT, runs=(RunSeen("CANCELED", terminated=True, left_running=("als-db-job-1",)), *RIGHT.runs)),
    "is gone from the acquisition machine": replace(RIGHT, source_is_there=False),
}


@pytest.mark.parametrize("seen", FINE.values(), ids=FINE)
def test_nothing_is_found_where(seen: Seen) -> None:
    assert judge(seen) == []


@pytest.mark.parametrize(("words", "seen"), WRONG.items(), ids=WRONG)
def test_it_is_found_when_something(words: str, seen: Seen) -> None:
    found = judge(seen)
    assert [finding for finding in found if words in finding]
