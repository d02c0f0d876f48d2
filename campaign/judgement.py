"""The judgement: what must hold after a case, whatever has happened in it.

Belongs here: pure functions from what was seen to findings. Does not: seeing (outside, drive).

The words of the issue: the scan is complete or stopped with a named error; no job and no transfer was submitted twice;
none is lost; no wrong product is recorded as made.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from campaign.outside import JobSeen, Outside, TaskSeen
from resources.work import Record

SUCCEEDED = "SUCCEEDED"
COMPLETED = "COMPLETED"


@dataclass(frozen=True)
class RunSeen:
    """How one run of a case ended."""

    status: str
    errors: tuple[str, ...] = ()
    """Names of the errors of the steps that failed."""
    unnamed: tuple[str, ...] = ()
    """Errors of steps that nobody has named: their class and text."""
    killed: bool = False
    terminated: bool = False
    ended: bool = True
    left_running: tuple[str, ...] = ()
    """After a person's Terminate: what was still running outside."""


@dataclass(frozen=True)
class Seen:
    """Everything that is judged."""

    runs: tuple[RunSeen, ...]
    outside: Outside
    records: tuple[Record, ...]
    """The ledger's, of this scan."""
    wanted: frozenset[str]
    """The assets that the case's job makes."""
    materialized: frozenset[str]
    contents: Mapping[str, Mapping[str, str]]
    """Of every asset that is recorded as made: its files as they lie there."""
    right: Mapping[str, Mapping[str, str]]
    """The same of a scan that nothing has disturbed."""
    damaged: frozenset[str] = frozenset()
    """Assets whose files the case itself has damaged after they were made, so that they may be made again."""
    source_is_there: bool = True
    more: tuple[str, ...] = field(default=())
    """What the drive itself has found wrong."""


def judge(seen: Seen) -> list[str]:
    """What is wrong, in sentences; nothing where all holds."""
    return [
        *seen.more,
        *_runs(seen.runs),
        *_twice(seen.outside, may_be_redone=bool(seen.damaged)),
        *_unknown(seen.outside, seen.records),
        *_lost(seen),
        *_wrong(seen),
    ]


def _runs(runs: Iterable[RunSeen]) -> Iterable[str]:
    for number, run in enumerate(runs, 1):
        if not run.ended:
            yield f"run {number} did not end"
        for error in run.unnamed:
            yield f"run {number} stopped with an error that has no name: {error}"
        if run.terminated and run.status not in ("CANCELED", "SUCCESS"):
            yield f"run {number} was terminated by a person and is {run.status}"
        for name in run.left_running:
            yield f"run {number} was terminated by a person, and {name} went on"
        if run.status == "FAILURE" and not (run.killed or run.errors or run.unnamed):
            yield f"run {number} failed without an error of any step"


def _twice(outside: Outside, *, may_be_redone: bool) -> Iterable[str]:
    for what, names in (("transfer", [t.label for t in outside.tasks]), ("job", [j.name for j in outside.jobs])):
        for name, count in Counter(names).items():
            if count > 1:
                yield f"the {what} {name} was submitted {count} times"
    by_paths = sorted(outside.tasks, key=lambda task: (task.paths, task.requested))
    for _, same in groupby(by_paths, key=lambda task: task.paths):
        yield from _one_after_another([_Piece.of_task(task) for task in same], may_be_redone)
    by_work = sorted(outside.jobs, key=lambda job: (_work(job.name), job.submitted))
    for _, attempts in groupby(by_work, key=lambda job: _work(job.name)):
        yield from _one_after_another([_Piece.of_job(job) for job in attempts], may_be_redone)
    if len({_work(job.name) for job in outside.jobs}) > 1:
        yield f"one scan has jobs of different work: {sorted({job.name for job in outside.jobs})}"


def _work(name: str) -> str:
    """A name without its attempt."""
    return name.rpartition("-")[0]


@dataclass(frozen=True)
class _Piece:
    name: str
    began: float
    ended: float | None
    succeeded: bool

    @classmethod
    def of_task(cls, task: TaskSeen) -> "_Piece":
        ended = None if task.ended is None else task.ended.timestamp()
        return cls(f"transfer {task.label}", task.requested.timestamp(), ended, task.status == SUCCEEDED)

    @classmethod
    def of_job(cls, job: JobSeen) -> "_Piece":
        ended = None if job.ended is None else job.ended.timestamp()
        return cls(f"job {job.name}", job.submitted.timestamp(), ended, job.state == COMPLETED)


def _one_after_another(pieces: list[_Piece], may_be_redone: bool) -> Iterable[str]:
    for former, later in pairwise(pieces):
        if former.ended is None or former.ended > later.began:
            yield f"the {later.name} was started while the {former.name} had not ended"
        elif former.succeeded and not may_be_redone:
            yield f"the {later.name} did again what the {former.name} had done"


def _unknown(outside: Outside, records: Iterable[Record]) -> Iterable[str]:
    known = {record.name for record in records}
    for name in [task.label for task in outside.tasks] + [job.name for job in outside.jobs]:
        if name not in known:
            yield f"{name} was started outside, and no record knows it"


def _lost(seen: Seen) -> Iterable[str]:
    if not seen.source_is_there:
        yield "the scan itself is gone from the acquisition machine"
    if not seen.runs or seen.runs[-1].status != "SUCCESS":
        last = seen.runs[-1].status if seen.runs else "never started"
        yield f"nothing stands in the way any more, and the scan is not complete: the last run is {last}"
    for asset in sorted(seen.wanted - seen.materialized):
        yield f"{asset} was never made"
    for name in seen.outside.running:
        yield f"{name} still runs outside when all is done"
    for record in seen.records:
        if record.in_flight:
            yield f"{record.name} ({record.asset}) is in flight in the ledger when all is done"


def _wrong(seen: Seen) -> Iterable[str]:
    for asset in sorted(seen.materialized):
        found, right = seen.contents.get(asset, {}), seen.right.get(asset)
        if right is not None and found != right:
            different = sorted(set(found.items()) ^ set(right.items()))
            yield f"{asset} is recorded as made, and is not right: {different[0][0]!r} and {len(different)} in all"
