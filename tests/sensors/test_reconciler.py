"""Runs are failed for what their workers say of themselves, and for nothing else; lost retries are made once."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType, JobFailureData, RunFailureReason
from dagster._core.test_utils import create_run_for_test, create_test_daemon_workspace_context
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon

from resources.globus import Globus
from resources.owner import SILENT_AFTER, Owner
from resources.settings import PROJECT
from resources.testing import Desk, SleptClock
from resources.waiting import APPEARS_WITHIN
from resources.work import CLIENT, Claimed, Record, WorkKey, WorkState
from resources.workers import Workers, recorded
from sensors.reconciler import (
    RESUBMITTED_TAG,
    RETRIES_AGE,
    RETRY_GRACE,
    Action,
    RunSeen,
    decide,
    left_by_a_person,
)
from sensors.testing import Daemon
from tests.sensors.conftest import IN_MEMORY
from twin.server import Twin
from twin.testing import eventually

SENSOR = "bl832_reconciler"
JOB = Path(__file__).with_name("waiting_job.py")
NOW = datetime(2026, 7, 1, tzinfo=UTC)
ME = Owner.this_process("run-1")
GONE = replace(ME, pid=2**22 + 1)
STATUS = dg.DagsterRunStatus
SECOND = timedelta(seconds=1)


# -- the decision ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "action"),
    [
        (STATUS.STARTING, Action.FAIL),
        (STATUS.STARTED, Action.FAIL),
        (STATUS.CANCELING, Action.CANCEL),
        (STATUS.QUEUED, None),
        (STATUS.NOT_STARTED, None),
        (STATUS.SUCCESS, None),
        (STATUS.CANCELED, None),
        (STATUS.FAILURE, None),
    ],
)
def test_a_run_whose_worker_is_dead_ends_as_it_was_to_end(status: dg.DagsterRunStatus, action: Action | None) -> None:
    assert decide(RunSeen(status, death="its process is gone"), NOW) == action


@pytest.mark.parametrize("status", list(STATUS))
def test_a_run_of_whose_worker_no_death_is_known_is_left_alone(status: dg.DagsterRunStatus) -> None:
    assert decide(RunSeen(status), NOW) is None


FORGOTTEN = RunSeen(STATUS.FAILURE, will_retry=True, ended=NOW - RETRY_GRACE)


@pytest.mark.parametrize(
    ("run", "action"),
    [
        (FORGOTTEN, Action.RETRY),
        (replace(FORGOTTEN, ended=NOW - RETRY_GRACE + SECOND), None),
        (replace(FORGOTTEN, ended=NOW - RETRIES_AGE - SECOND), None),
        (replace(FORGOTTEN, ended=None), None),
        (replace(FORGOTTEN, will_retry=False), None),
        (replace(FORGOTTEN, retried=True), None),
        (replace(FORGOTTEN, resubmitted=True), None),
        (replace(FORGOTTEN, status=STATUS.CANCELED), None),
        (replace(FORGOTTEN, status=STATUS.STARTED), None),
    ],
    ids=["forgotten", "too early", "too late", "no end", "not to be", "retried", "once already", "canceled", "started"],
)
def test_a_retry_that_was_forgotten_is_asked_for_once(run: RunSeen, action: Action | None) -> None:
    assert decide(run, NOW) == action


WORK = Record(
    key="k", attempt=1, asset="a", partition="p", settings="", fingerprint="", state=WorkState.SUBMITTED, epoch=1,
    owner=GONE, heartbeat=NOW, intent={"submission_id": "s"}, handle="task", evidence=None, created=NOW, updated=NOW,
    installation="i",
)  # fmt: skip


@pytest.mark.parametrize(
    ("record", "terminated", "left"),
    [
        (WORK, True, True),
        (WORK, False, False),
        (replace(WORK, owner=ME), True, False),
        (replace(WORK, owner=replace(ME, host="elsewhere")), True, False),
        (replace(WORK, owner=ME.released()), True, True),
        (replace(WORK, handle=None), True, False),
        (replace(WORK, handle=None, updated=NOW - APPEARS_WITHIN - SECOND), True, True),
        (replace(WORK, handle=None, intent=None), True, True),
    ],
    ids=["left", "not terminated", "alive", "perhaps alive", "let go", "perhaps submitted", "not shown", "never begun"],
)
def test_the_work_of_a_terminated_run_is_ended_where_its_worker_cannot(
    record: Record, terminated: bool, left: bool
) -> None:
    assert left_by_a_person(record, terminated, ME, NOW) is left


# -- whole ticks -----------------------------------------------------------------------------------------------------


@dataclass
class Watch:
    """An instance as it is deployed, the reconciler, and what workers have recorded."""

    instance: dg.DagsterInstance
    daemon: Daemon
    desk: Desk
    clock: SleptClock

    @property
    def workers(self) -> Workers:
        return Workers(self.desk.ledger.database)

    def run(self, status: dg.DagsterRunStatus, owner: Owner | None, silent: timedelta = timedelta()) -> str:
        """A run, and what its worker has recorded."""
        run = create_run_for_test(self.instance, job_name="waits", status=status)
        if owner is not None:
            self.workers.beat(replace(owner, run_id=run.run_id), self.clock.now() - silent)
        return run.run_id

    def tick(self) -> str:
        return str(self.daemon.tick(SENSOR).skip_message)

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def said(self, run_id: str) -> str:
        """The last that the page of a run shows."""
        events = [entry.dagster_event for entry in self.instance.all_logs(run_id) if entry.dagster_event]
        return str(events[-1].message)

    def work(self, run_id: str, owner: Owner = GONE, handle: str | None = None, client: Globus | None = None) -> Record:
        """A piece of remote work of a run, in flight."""
        ledger, now = self.desk.ledger, self.clock.now()
        claim = ledger.claim(WorkKey("bl832/nersc/raw", run_id, "", ""), replace(owner, run_id=run_id), now)
        assert isinstance(claim, Claimed)
        client = client or self.desk.globus
        intent = {"submission_id": client.new_submission_id(), CLIENT: client.client_id}
        record = ledger.store_intent(claim.record, intent, now)
        return record if handle is None else ledger.store_handle(record, handle, now)


@pytest.fixture
def deployed() -> Iterator[dg.DagsterInstance]:
    """With run retries, as it is deployed."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        shutil.copyfile(PROJECT / "deploy" / "dagster" / "local.yaml", Path(folder) / "dagster.yaml")
        with dg.DagsterInstance.from_config(folder) as instance:
            yield instance


@pytest.fixture
def watch(definitions: dg.Definitions, deployed: dg.DagsterInstance, desk: Desk, clock: SleptClock) -> Watch:
    return Watch(deployed, Daemon(deployed, definitions.get_repository_def(), clock), desk, clock)


@pytest.mark.parametrize(
    ("owner", "silent", "why"),
    [
        (GONE, timedelta(), "is gone"),
        (replace(ME, started=ME.started - 100), timedelta(), "is another now"),
        (replace(ME, boot="before the reboot"), timedelta(), "was booted since"),
        (replace(ME, host="elsewhere"), SILENT_AFTER + SECOND, "nothing was heard of it on elsewhere"),
    ],
    ids=["process gone", "process id given anew", "rebooted", "silent on another host"],
)
def test_a_run_whose_worker_is_dead_is_failed_with_the_reason_and_is_to_be_retried(
    watch: Watch, owner: Owner, silent: timedelta, why: str
) -> None:
    run = watch.run(STATUS.STARTED, owner, silent)
    assert f"fail: run {run}" in watch.tick()
    assert watch.status(run) is STATUS.FAILURE
    assert why in watch.said(run)
    failed = watch.instance.get_run_by_id(run)
    assert failed is not None
    assert failed.tags["dagster/will_retry"] == "true"
    assert watch.workers.all() == {}


@pytest.mark.parametrize(
    ("owner", "silent"),
    [
        (ME, timedelta(days=1)),
        (replace(ME, host="elsewhere"), SILENT_AFTER - SECOND),
        (None, timedelta()),
    ],
    ids=["alive", "heard of on another host", "nothing is recorded"],
)
@pytest.mark.parametrize("status", [STATUS.STARTING, STATUS.STARTED, STATUS.CANCELING])
def test_a_run_whose_worker_lives_or_is_unknown_is_left_as_it_is(
    watch: Watch, owner: Owner | None, silent: timedelta, status: dg.DagsterRunStatus
) -> None:
    run = watch.run(status, owner, silent)
    assert watch.tick() == "all runs are as Dagster has them"
    assert watch.status(run) is status
    assert set(watch.workers.all()) == ({run} if owner else set())


def test_the_remote_work_of_a_run_that_is_failed_goes_on_for_its_retry(watch: Watch) -> None:
    run = watch.run(STATUS.STARTED, GONE)
    record = watch.work(run, handle="some task")
    watch.tick()
    assert watch.status(run) is STATUS.FAILURE
    assert watch.desk.ledger.get(record.key, 1) == record


def test_a_terminated_run_whose_worker_is_dead_is_canceled_with_its_remote_work(watch: Watch) -> None:
    run = watch.run(STATUS.CANCELING, GONE)
    record = watch.work(run)
    watch.clock.sleep(APPEARS_WITHIN.total_seconds() + 1)
    watch.tick()
    assert watch.status(run) is STATUS.CANCELED
    ended = watch.desk.ledger.get(record.key, 1)
    assert ended.state is WorkState.CANCELED
    assert ended.evidence == {"handle": None, "detail": "canceled by a person, after its worker had died"}


def test_the_delete_of_a_terminated_run_is_canceled_as_the_client_that_asked_for_it(watch: Watch, twin: Twin) -> None:
    run, client = watch.run(STATUS.CANCELING, GONE), watch.desk.identities.deletes
    twin.control.board.change({"start_delay_s": 600})
    record = watch.work(run, client=client)
    task = client.submit_delete(
        watch.desk.beamline.places["data832"].collection,
        "/data/raw/a.h5",
        recursive=False,
        label=record.name,
        submission_id=client.new_submission_id(),
        deadline=datetime.now(UTC) + timedelta(hours=1),
    )
    watch.clock.sleep(APPEARS_WITHIN.total_seconds() + 1)
    watch.tick()
    assert watch.desk.ledger.get(record.key, 1).state is WorkState.CANCELED
    assert client.task(task)["fatal_error"]["code"] == "CANCELED"


@pytest.mark.parametrize("status", [STATUS.CANCELING, STATUS.CANCELED])
def test_remote_work_that_cannot_be_cancelled_now_is_cancelled_later_and_owned_by_nobody_meanwhile(
    watch: Watch, status: dg.DagsterRunStatus
) -> None:
    """Dagster itself calls a run canceled after three minutes of CANCELING, whatever still goes on."""
    run = watch.run(status, GONE)
    record = watch.work(run, handle="00000000-0000-4000-8000-000000000000")
    assert "could not be cancelled" in watch.tick()
    left = watch.desk.ledger.get(record.key, 1)
    assert (left.state, left.owner.pid, left.owner.run_id) == (WorkState.SUBMITTED, 0, run)


def test_the_remote_work_of_a_terminated_run_is_left_to_its_worker_as_long_as_that_lives(watch: Watch) -> None:
    run = watch.run(STATUS.CANCELING, ME)
    record = watch.work(run, owner=ME, handle="some task")
    watch.tick()
    assert watch.desk.ledger.get(record.key, 1) == record


def test_what_was_recorded_of_the_workers_of_runs_that_have_ended_or_are_gone_is_forgotten(watch: Watch) -> None:
    watch.run(STATUS.SUCCESS, ME)
    deleted = watch.run(STATUS.STARTED, ME)
    watch.instance.delete_run(deleted)
    kept = watch.run(STATUS.STARTED, ME)
    watch.tick()
    assert set(watch.workers.all()) == {kept}


# -- a real worker ---------------------------------------------------------------------------------------------------


@contextmanager
def working(watch: Watch, tmp_path: Path) -> Iterator["tuple[subprocess.Popen[str], str]"]:
    """A process that works on a run, and the run."""
    home = str(watch.instance.root_directory)
    environment = os.environ | {"DAGSTER_HOME": home, "ALS_STATE": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen([sys.executable, str(JOB)], env=environment, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        try:
            yield worker, worker.stdout.readline().strip()
        finally:
            worker.kill()


def test_a_run_whose_process_was_killed_is_failed_and_one_whose_process_works_is_not(
    watch: Watch, tmp_path: Path
) -> None:
    with working(watch, tmp_path) as (worker, run):
        assert watch.workers.all()[run].owner.pid == worker.pid
        assert watch.tick() == "all runs are as Dagster has them"
        assert watch.status(run) is STATUS.STARTED
        worker.send_signal(signal.SIGSTOP)  # silent, and alive
        watch.clock.sleep(SILENT_AFTER.total_seconds() + 1)
        watch.tick()
        assert watch.status(run) is STATUS.STARTED
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        watch.tick()
        assert watch.status(run) is STATUS.FAILURE


def test_the_heart_of_a_worker_beats_though_its_steps_do_not_come_back(desk: Desk, clock: SleptClock) -> None:
    database = desk.ledger.database
    with recorded(database, ME, clock, every_s=0.01):
        first = Workers(database).all()[ME.run_id]
        clock.sleep(60)
        eventually(lambda: Workers(database).all()[ME.run_id].heartbeat > first.heartbeat)
    assert Workers(database).all()[ME.run_id].owner == ME


def test_a_beat_that_cannot_be_recorded_is_said_and_the_next_one_is_recorded(
    desk: Desk, clock: SleptClock, caplog: pytest.LogCaptureFixture
) -> None:
    database = desk.ledger.database
    beat, away = Workers.beat, [True]

    def broken(self: Workers, owner: Owner, now: datetime) -> None:
        if away[0] and owner == ME and now > NOW + SECOND:
            import sqlalchemy as sa

            raise sa.exc.OperationalError("UPDATE workers", {}, Exception("the server is away"))
        beat(self, owner, now)

    clock.time = NOW
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workers, "beat", broken)
        with recorded(database, ME, clock, every_s=0.01):
            clock.sleep(60)
            eventually(lambda: "the server is away" in caplog.text)
            away[0] = False
            eventually(lambda: Workers(database).all()[ME.run_id].heartbeat > NOW)


# -- a retry that Dagster has lost -----------------------------------------------------------------------------------


@pytest.fixture
def workspace(deployed: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("ALS_STATE", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    target = PythonFileTarget(str(JOB), None, str(PROJECT), "waiting")
    with create_test_daemon_workspace_context(target, deployed) as context:
        yield context


def test_a_retry_that_the_daemon_has_passed_by_is_made_once(watch: Watch, workspace: Any) -> None:
    consumer = EventLogConsumerDaemon()

    def consume() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Dagster's own, where it has no cursor yet
            list(consumer.run_iteration(workspace))

    def children(run_id: str) -> list[dg.DagsterRun]:
        return list(watch.instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": run_id})))

    consume()  # it begins with what comes from now on
    run = started_run(watch.instance, workspace)
    failure = DagsterEvent(
        event_type_value=DagsterEventType.RUN_FAILURE.value,
        job_name="waits",
        event_specific_data=JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION),
    )
    with pytest.MonkeyPatch.context() as patch:
        # kill -9 between the two writes of a failure: the event is there, the run's status is not.
        patch.setattr(type(watch.instance.run_storage), "handle_run_event", lambda *_: None)
        watch.instance.report_dagster_event(failure, run.run_id)
        consume()
    watch.instance.run_storage.handle_run_event(run.run_id, failure, watch.clock.now())
    watch.instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    consume()
    assert children(run.run_id) == []
    watch.clock.sleep(RETRY_GRACE.total_seconds() - 10)
    watch.tick()
    consume()
    assert children(run.run_id) == []
    watch.clock.sleep(20)
    assert f"retry: run {run.run_id}" in watch.tick()
    consume()
    [child] = children(run.run_id)
    assert child.status is STATUS.QUEUED
    for _ in range(2):
        watch.clock.sleep(RETRY_GRACE.total_seconds() + 1)
        watch.tick()
        consume()
    assert children(run.run_id) == [child]
    remembered = watch.instance.get_run_by_id(run.run_id)
    assert remembered is not None
    assert RESUBMITTED_TAG in remembered.tags


def started_run(instance: dg.DagsterInstance, workspace: Any) -> dg.DagsterRun:
    """A run as a launcher has made it, which knows the code that it is of."""
    location = workspace.create_request_context().get_code_location("waiting")
    job = location.get_repository("__repository__").get_full_job("waits")
    plan = location.get_execution_plan(
        job, run_config={}, step_keys_to_execute=None, known_state=None, instance=instance
    )
    return create_run_for_test(
        instance,
        job_name="waits",
        status=STATUS.STARTED,
        remote_job_origin=job.get_remote_origin(),
        job_code_origin=job.get_python_origin(),
        job_snapshot=job.job_snapshot,
        execution_plan_snapshot=plan.execution_plan_snapshot,
    )
