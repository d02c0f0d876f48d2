"""How a step that waits for remote work ends: by a person, by a dying worker, by an error."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from als_assets.step import remote_step
from beamlines.manifest import ManifestError
from resources.database import Database
from resources.errors import OtherSettingsError, ServiceUnavailableError, WorkFailedError
from resources.ledger import Ledger
from resources.owner import Owner
from resources.remote import JobState, Remote, RemoteStatus
from resources.testing import QUICK, MemoryWork, Pulses, SleptClock
from resources.work import Record, WorkKey, WorkState

KEY = WorkKey("bl832/pscratch/tiff", "scan", "settings", "content")
ACTIVE = RemoteStatus(JobState.ACTIVE, "RUNNING")
COMPLETED = RemoteStatus(JobState.COMPLETED, "COMPLETED")


@dataclass
class Waiting:
    """A run whose only step waits for remote work that does not end."""

    ledger: Ledger
    instance: dg.DagsterInstance
    work: MemoryWork = field(default_factory=lambda: MemoryWork(states=[ACTIVE]))
    clock: SleptClock = field(default_factory=SleptClock)

    def __post_init__(self) -> None:
        self.owner = Owner.this_process("run-1")
        self.remote = Remote(self.ledger, self.owner, self.clock)

    def run(self, meanwhile: Callable[[datetime], None]) -> None:
        """Run until ``meanwhile``, called between two polls, ends it; how Dagster sees the end does not matter here."""
        self.clock.on_sleep = meanwhile

        @dg.op
        def wait(context: dg.OpExecutionContext) -> None:
            with remote_step(context, self.remote) as pulse:
                attempt = self.remote.begin(self.work, KEY, QUICK, intact=lambda _: False)
                self.remote.finish(attempt, pulse)

        @dg.job(executor_def=dg.in_process_executor)
        def job() -> None:
            wait()

        with suppress(dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
            job.execute_in_process(instance=self.instance, raise_on_error=False)

    @property
    def dagster_run(self) -> dg.DagsterRun:
        return self.instance.get_runs(limit=1)[0]

    @property
    def said(self) -> list[str]:
        """What people read in the run's log."""
        logs = self.instance.all_logs(self.dagster_run.run_id)
        return [entry.user_message for entry in logs if entry.dagster_event is None]

    @property
    def record(self) -> Record:
        found = self.ledger.last(KEY)
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, and what its first failed step said."""

    status: dg.DagsterRunStatus
    said: str
    metadata: Mapping[str, dg.MetadataValue[Any]]


def ended(waiting: Waiting, *ops: dg.OpDefinition) -> Ended:
    """Run ops that do not depend on each other."""

    @dg.job(executor_def=dg.in_process_executor)
    def job() -> None:
        for op in ops:
            op()

    result = job.execute_in_process(instance=waiting.instance, raise_on_error=False)
    failure = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert failure.user_failure_data is not None
    said = failure.user_failure_data
    return Ended(waiting.dagster_run.status, str(said.description), said.metadata)


def interrupt(_: datetime) -> None:
    """What a signal does to a worker: Dagster raises this wherever its code happens to be."""
    raise dg.DagsterExecutionInterruptedError


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Waiting]:
    ledger = Ledger(Database(f"sqlite:///{tmp_path}/ledger.sqlite"))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Waiting(ledger, instance)
    ledger.database.close()


def test_a_persons_terminate_ends_the_remote_work(waiting: Waiting) -> None:
    def terminate(_: datetime) -> None:
        waiting.instance.report_run_canceling(waiting.dagster_run)
        raise dg.DagsterExecutionInterruptedError

    waiting.run(terminate)
    assert waiting.work.cancelled == ["job-1"]
    assert waiting.record.state is WorkState.CANCELED
    assert waiting.record.evidence == {"handle": "job-1", "detail": "canceled by a person"}


def test_a_terminate_that_reaches_no_worker_is_seen_in_the_runs_status(waiting: Waiting) -> None:
    waiting.run(lambda _: waiting.instance.report_run_canceling(waiting.dagster_run))
    assert waiting.work.cancelled == ["job-1"]
    assert waiting.record.state is WorkState.CANCELED


def test_a_signal_that_comes_while_remote_work_is_being_ended_does_not_stop_that(waiting: Waiting) -> None:
    class Signalled(MemoryWork):
        def cancel(self, handle: str) -> None:
            signal.raise_signal(signal.SIGINT)  # the launcher's own, a moment after the poll saw the run's status
            super().cancel(handle)

    waiting.work = Signalled(states=[ACTIVE])
    waiting.run(lambda _: waiting.instance.report_run_canceling(waiting.dagster_run))
    assert waiting.work.cancelled == ["job-1"]
    assert waiting.record.state is WorkState.CANCELED


def test_a_dying_worker_leaves_the_remote_work_in_flight_for_the_next_run(waiting: Waiting) -> None:
    waiting.run(interrupt)
    assert waiting.work.cancelled == []
    assert waiting.record.state is WorkState.SUBMITTED
    assert waiting.record.owner == waiting.owner.released()


def test_the_next_run_attaches_to_it_at_once_and_submits_nothing(waiting: Waiting) -> None:
    waiting.run(interrupt)
    waiting.work.states = [COMPLETED]
    remote = Remote(waiting.ledger, replace(waiting.owner, run_id="run-2"), SleptClock())
    attempt = remote.begin(waiting.work, KEY, QUICK, intact=lambda _: False)
    assert remote.finish(attempt, Pulses()).state is WorkState.SUCCEEDED
    assert waiting.work.submits == 1
    assert waiting.record.attempt == 1


def test_a_run_that_the_daemon_declared_failed_stops_and_leaves_the_work_to_its_retry(waiting: Waiting) -> None:
    waiting.run(lambda _: waiting.instance.report_run_failed(waiting.dagster_run))
    assert waiting.work.cancelled == []
    assert waiting.record.state is WorkState.SUBMITTED
    assert waiting.record.owner == waiting.owner.released()


@pytest.fixture
def home(waiting: Waiting, tmp_path: Path) -> Iterator[Path]:
    """The folder of a Dagster that keeps its runs in a file."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)) as waiting.instance:
        yield folder


def down_between(first: int, last: int, away: Callable[[], None], back: Callable[[], None]) -> Callable[..., None]:
    """Something that is away from one sleep to another."""
    slept = count(1)

    def on_sleep(_: datetime) -> None:
        number = next(slept)
        if number == first:
            away()
        elif number == last:
            back()

    return on_sleep


def without_tables(database: Path) -> tuple[Callable[[], None], Callable[[], None]]:
    """What takes a SQLite database away, and what brings it back."""
    aside = database.with_suffix(".aside")

    def away() -> None:
        database.rename(aside)
        database.mkdir()  # where a folder lies no database can be opened, nor made anew

    def back() -> None:
        database.rmdir()
        aside.rename(database)

    return away, back


def test_the_wait_survives_a_moment_without_dagsters_own_storage(waiting: Waiting, home: Path) -> None:
    waiting.work.states = [ACTIVE] * 6 + [COMPLETED]
    waiting.run(down_between(2, 4, *without_tables(home / "history" / "runs.db")))
    assert waiting.dagster_run.status is dg.DagsterRunStatus.SUCCESS
    assert "Dagster does not tell how this run stands: the wait goes on until it does." in waiting.said
    assert waiting.record.state is WorkState.SUCCEEDED


def test_the_wait_survives_a_moment_without_the_ledger(waiting: Waiting, tmp_path: Path) -> None:
    waiting.work.states = [ACTIVE] * 4 + [COMPLETED]
    waiting.run(down_between(2, 4, *without_tables(tmp_path / "ledger.sqlite")))
    assert waiting.dagster_run.status is dg.DagsterRunStatus.SUCCESS
    assert [line for line in waiting.said if "state unknown: the ledger gave no usable answer" in line]
    assert (waiting.record.state, waiting.record.attempt, waiting.work.submits) == (WorkState.SUCCEEDED, 1, 1)


def test_a_worker_that_ends_while_dagsters_storage_is_away_leaves_the_work_to_the_next_run(
    waiting: Waiting, home: Path
) -> None:
    away, back = without_tables(home / "history" / "runs.db")

    def shut_down(_: datetime) -> None:
        away()
        raise dg.DagsterExecutionInterruptedError

    with suppress(Exception):  # Dagster cannot record the end of the run either
        waiting.run(shut_down)
    back()
    assert waiting.work.cancelled == []
    assert (waiting.record.in_flight, waiting.record.owner) == (True, waiting.owner.released())


def test_a_mistake_in_our_own_code_leaves_the_remote_work_alone(waiting: Waiting) -> None:
    def stumble(_: datetime) -> None:
        raise ZeroDivisionError

    waiting.run(stumble)
    assert waiting.work.cancelled == []
    assert waiting.record.state is WorkState.SUBMITTED
    assert waiting.record.owner == waiting.owner.released()


@pytest.mark.parametrize(
    "error",
    [
        WorkFailedError(seen="it failed", meaning="m", remedy="r"),
        ManifestError("it failed"),
        FileNotFoundError(2, "x", "it failed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_named_error_is_a_final_failure_with_its_own_words(waiting: Waiting, error: Exception) -> None:
    @dg.op
    def fail(context: dg.OpExecutionContext) -> None:
        with remote_step(context, waiting.remote):
            raise error

    failed = ended(waiting, fail)
    assert failed.status is dg.DagsterRunStatus.FAILURE
    assert failed.said.startswith("it failed")
    assert failed.metadata["error"].value == type(error).__name__


def test_other_settings_are_refused_and_the_run_is_no_failure(waiting: Waiting) -> None:
    begun = []

    @dg.op
    def refuse(context: dg.OpExecutionContext) -> None:
        with remote_step(context, waiting.remote):
            raise OtherSettingsError(seen="other settings", meaning="m", remedy="r")

    @dg.op
    def unrelated(context: dg.OpExecutionContext) -> None:
        with remote_step(context, waiting.remote):
            begun.append(context.op.name)

    refused = ended(waiting, refuse, unrelated)
    assert refused.status is dg.DagsterRunStatus.CANCELED
    assert refused.said.startswith("other settings")
    assert begun == []


def test_a_service_that_did_not_answer_is_asked_again_later(waiting: Waiting) -> None:
    @dg.op
    def ask(context: dg.OpExecutionContext) -> None:
        with pytest.raises(dg.RetryRequested) as retry, remote_step(context, waiting.remote):
            raise ServiceUnavailableError(seen="no answer", meaning="m", remedy="r")
        assert retry.value.seconds_to_wait == 30
        assert retry.value.max_retries

    @dg.job(executor_def=dg.in_process_executor)
    def job() -> None:
        ask()

    assert job.execute_in_process(instance=waiting.instance).success


def test_what_the_outside_world_says_is_logged_once_for_each_change(waiting: Waiting) -> None:
    waiting.work.states = [ACTIVE, ACTIVE, ACTIVE, COMPLETED]
    waiting.run(lambda _: None)
    assert waiting.said == [
        "bl832/pscratch/tiff: active, RUNNING [job-1]",
        "bl832/pscratch/tiff: completed, COMPLETED [job-1]",
    ]


def test_new_lines_of_a_remote_log_are_in_the_runs_log(waiting: Waiting) -> None:
    waiting.work.states = [replace(ACTIVE, lines=("(/logs/1.out)", "slice 7")), ACTIVE, COMPLETED]
    waiting.run(lambda _: None)
    assert "bl832/pscratch/tiff [job-1] says:\n(/logs/1.out)\nslice 7" in waiting.said


def test_a_failed_job_shows_the_end_of_its_log_and_where_all_of_it_lies(waiting: Waiting) -> None:
    evidence = {"log_tail": "the axis\ncannot be found", "logs": ["/logs/1.out", "/logs/1.err"]}

    @dg.op
    def fail(context: dg.OpExecutionContext) -> None:
        with remote_step(context, waiting.remote):
            raise WorkFailedError(seen="it failed", meaning="m", remedy="r", evidence=evidence)

    shown = {name: value.value for name, value in ended(waiting, fail).metadata.items()}
    assert shown == {
        "error": "WorkFailedError",
        "log_tail": "the axis\ncannot be found",
        "log_out": "/logs/1.out",
        "log_err": "/logs/1.err",
    }
