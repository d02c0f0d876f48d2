"""What Dagster believes of its runs, brought into line every minute with what their workers say of themselves.

Belongs here: the decision about each run (pure), and one tick in Dagster's terms.
Does not: how a worker tells that it lives (resources.workers, resources.owner), or how remote work is ended
(resources.ending).
Why, and what was refused: docs/decisions/0013-the-reconciler.md.

Nothing remote is ended here but the work of a run that a person has terminated and whose worker cannot do it any more.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

import dagster as dg
from dagster._core.events import JobFailureData, RunFailureReason

from beamlines.config import Beamline
from resources.clock import Clock
from resources.errors import PlatformError
from resources.owner import Owner
from resources.waiting import APPEARS_WITHIN
from resources.work import Record, Worker

EVERY_S = 60
RETRY_GRACE = timedelta(minutes=2)
"""Dagster's daemon looks for runs to be retried every 5 s."""
RETRIES_AGE = timedelta(days=1)
"""An older failure is left alone: by now somebody has dealt with it."""
ENDED_A_TICK = 10
"""A tick has 60 s, and a service that is down takes long to say so."""
RESUBMITTED_TAG = "als/resubmitted"
WILL_RETRY_TAG, RETRIED_AS_TAG, PARENT_TAG = "dagster/will_retry", "dagster/auto_retry_run_id", "dagster/parent_run_id"
DETAIL = "canceled by a person, after its worker had died"

Status = dg.DagsterRunStatus
WORKED_ON = (Status.STARTING, Status.STARTED)
TERMINATED = (Status.CANCELING, Status.CANCELED)


class Action(StrEnum):
    """What is done about a run."""

    FAIL = "fail"
    CANCEL = "cancel"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run, as far as it matters here."""

    status: Status
    death: str | None = None
    """Why its worker is certainly dead; None where it lives, or nothing is known of it."""
    will_retry: bool = False
    """Dagster has said that it retries this run."""
    retried: bool = False
    """There is a run that was made of it, by whomever, or was and has been deleted."""
    resubmitted: bool = False
    """Dagster has been reminded once already."""
    ended: datetime | None = None


def decide(run: RunSeen, now: datetime) -> Action | None:
    """What is to be done about one run; None for nothing, and for whatever is not certain."""
    if run.status in WORKED_ON and run.death is not None:
        return Action.FAIL
    if run.status is Status.CANCELING and run.death is not None:
        return Action.CANCEL
    forgotten = run.will_retry and not run.retried and not run.resubmitted
    if run.status is Status.FAILURE and forgotten and run.ended is not None:
        return Action.RETRY if RETRY_GRACE <= now - run.ended <= RETRIES_AGE else None
    return None


def left_by_a_person(record: Record, terminated: bool, here: Owner, now: datetime) -> bool:
    """Whether a piece of work in flight is of a run that a person has ended, and nobody is there to end it."""
    if not terminated or not record.owner.is_dead(seen_from=here, heartbeat=record.heartbeat, now=now):
        return False
    return record.handle is not None or record.intent is None or now - record.updated > APPEARS_WITHIN


class Workers(Protocol):
    """What workers say of themselves."""

    def all(self) -> dict[str, Worker]:
        """Everything that is recorded, by run."""

    def forget(self, runs: Collection[str]) -> None:
        """The workers of runs that have ended."""


class Ending(Protocol):
    """Remote work, as far as it may have to be ended."""

    def in_flight(self) -> list[Record]:
        """Everything that may be running in the outside world."""

    def end(self, record: Record, detail: str) -> Record | None:
        """End a piece of work; None where it has ended by itself. Raises PlatformError or LookupError."""


@dataclass(slots=True)
class Reconciliation:
    """One look at all runs, and what was done."""

    instance: dg.DagsterInstance
    workers: Workers
    ending: Ending
    now: datetime
    here: Owner = field(default_factory=lambda: Owner.this_process("reconciler"))
    done: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Remote work comes before its run's end: a run that is canceled is looked at no more for long."""
        deaths = self._deaths()
        self._end_left_work()
        for record in self._records([*WORKED_ON, Status.CANCELING]):
            run = record.dagster_run
            death = deaths.get(run.run_id)
            self._act(run, decide(RunSeen(run.status, death), self.now), death or "")
        for record in self._records([Status.FAILURE], since=self.now - RETRIES_AGE, tags={WILL_RETRY_TAG: "true"}):
            self._act(record.dagster_run, decide(self._failed(record), self.now), "")
        self._forget()

    # -- what is seen ------------------------------------------------------------------------------------------------

    def _deaths(self) -> dict[str, str]:
        """Read before any status: who is dead cannot change the status any more."""
        found = {
            run: worker.owner.death(seen_from=self.here, heartbeat=worker.heartbeat, now=self.now)
            for run, worker in self.workers.all().items()
        }
        return {run: death for run, death in found.items() if death is not None}

    def _records(
        self, statuses: Sequence[Status], since: datetime | None = None, tags: Mapping[str, str] | None = None
    ) -> Sequence[dg.RunRecord]:
        return self.instance.get_run_records(dg.RunsFilter(statuses=statuses, updated_after=since, tags=tags))

    def _failed(self, record: dg.RunRecord) -> RunSeen:
        run = record.dagster_run
        ended = record.end_time
        children = self.instance.get_runs(dg.RunsFilter(tags={PARENT_TAG: run.run_id}), limit=1)
        return RunSeen(
            run.status,
            will_retry=run.tags.get(WILL_RETRY_TAG) == "true",
            retried=bool(children) or RETRIED_AS_TAG in run.tags,
            resubmitted=RESUBMITTED_TAG in run.tags,
            ended=None if ended is None else datetime.fromtimestamp(ended, UTC),
        )

    # -- what is done ------------------------------------------------------------------------------------------------

    def _act(self, run: dg.DagsterRun, action: Action | None, death: str) -> None:
        if action is not None and self._status(run) is not run.status:
            return  # a person was faster: the next look sees what they did
        if action is Action.FAIL:
            message = (
                f"The process that worked on this run died: {death}. Its remote work goes on; the next run attaches."
            )
            reason = JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
            self.instance.report_run_failed(run, message, reason)
        elif action is Action.CANCEL:
            message = f"This run was terminated, and the process that worked on it had died: {death}."
            self.instance.report_run_canceled(run, message)
        elif action is Action.RETRY:
            # The daemon read the failure before the run's status said so, and passed it by. It makes a retry of a run
            # only where there is none: saying it again is safe, also should this process die before the tag is there.
            message = "This run was to be retried, and was not: the failure is reported once more, so that it is."
            self.instance.report_run_failed(run, message)
            self.instance.add_run_tags(run.run_id, {RESUBMITTED_TAG: self.now.isoformat(timespec="seconds")})
        if action is not None:
            self.done.append(f"{action}: run {run.run_id}{f' ({death})' if death else ''}")

    def _status(self, run: dg.DagsterRun) -> Status | None:
        found = self.instance.get_run_by_id(run.run_id)
        return None if found is None else found.status

    def _end_left_work(self) -> None:
        for record in self._left_work():
            try:
                ended = self.ending.end(record, DETAIL)
            except (PlatformError, LookupError) as error:
                self.problems.append(f"{record.said} could not be cancelled: {error}")
            else:
                self.done += [f"cancelled {record.said}"] if ended is not None else []

    def _left_work(self) -> Iterator[Record]:
        flying = self.ending.in_flight()
        runs = sorted({record.owner.run_id for record in flying})
        found = self.instance.get_runs(dg.RunsFilter(run_ids=runs)) if runs else []
        terminated = {run.run_id for run in found if run.status in TERMINATED}
        left = (
            record
            for record in flying
            if left_by_a_person(record, record.owner.run_id in terminated, self.here, self.now)
        )
        yield from (record for _, record in zip(range(ENDED_A_TICK), left, strict=False))

    def _forget(self) -> None:
        known = self.workers.all()
        runs = self.instance.get_runs(dg.RunsFilter(run_ids=sorted(known))) if known else []
        self.workers.forget(known.keys() - {run.run_id for run in runs if not run.is_finished})


def reconciler_sensor(beamline: Beamline) -> dg.SensorDefinition:
    """``<beamline>_reconciler``; switched off, runs whose worker has died stay as they are."""

    @dg.sensor(
        name=f"{beamline.name}_reconciler",
        minimum_interval_seconds=EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Fails runs whose worker is dead by its own evidence, has those retried that Dagster has passed "
        "by, and cancels the remote work of terminated runs whose worker cannot.",
    )
    def reconcile(
        context: dg.SensorEvaluationContext,
        workers: dg.ResourceParam[Workers],
        ending: dg.ResourceParam[Ending],
        clock: dg.ResourceParam[Clock],
    ) -> dg.SkipReason:
        reconciliation = Reconciliation(context.instance, workers, ending, clock.now())
        reconciliation.run()
        for done in reconciliation.done:
            context.log.info(done)
        for problem in reconciliation.problems:
            context.log.warning(problem)
        return dg.SkipReason(
            "; ".join([*reconciliation.done, *reconciliation.problems]) or "all runs are as Dagster has them"
        )

    return reconcile
