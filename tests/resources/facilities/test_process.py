"""This machine as a facility: real processes, their ends, and what is known of them afterwards."""

import os
import signal
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from beamlines.facilities import JobResources
from beamlines.places import Place, Role, Store
from beamlines.policy import ExportControl
from resources.clock import SystemClock
from resources.database import IN_MEMORY, Database
from resources.errors import WorkFailedError, WorkInterruptedError
from resources.facilities import JobSpec
from resources.facilities.batch import BatchFacility
from resources.facilities.process import LocalFiles, ProcessJobs, processes_of
from resources.ledger import Ledger
from resources.owner import Owner
from resources.remote import JobState, Patience, Remote
from resources.testing import make_gate
from resources.work import WorkKey
from twin.testing import eventually

QUICK = Patience(timedelta(seconds=0.02), timedelta(seconds=0.05), timedelta(seconds=60), timedelta(seconds=2))


class Desk:
    """One worker, and the folder of logs of its machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, clock, database = folder, SystemClock(), Database(IN_MEMORY)
        self.jobs = ProcessJobs(folder)
        self.place = Place(
            name="here",
            collection="00000000-0000-0000-0000-000000000000",
            collection_root=folder,
            posix_root=folder,
            mount=folder,
            role=Role.DURABLE,
            off_site=False,
            stores={Store.RAW: "raw", Store.RESULTS: "results"},
        )
        remote = Remote(Ledger(database), Owner.this_process("run-1"), clock)
        gate = make_gate(database, clock, ExportControl())
        self.facility = BatchFacility("local", self.jobs, LocalFiles(), remote, clock, gate, QUICK)

    def spec(self, body: str, seconds: float = 60) -> JobSpec:
        resources = JobResources(cpus_per_task=1, time_limit=timedelta(seconds=seconds), logs=self.folder)
        return JobSpec("small", (), self.place, f"{body}\n", resources)

    def run(self, body: str, name: str = "a", act=lambda *_: None, seconds: float = 60):
        return self.facility.run(self.spec(body, seconds), WorkKey("test", name, "", ""), act)

    def started(self, body: str, name: str = "als-0-1") -> str:
        job_id = self.jobs.submit(self.spec(body), name)
        eventually(lambda: self.jobs.find(job_id, since=SystemClock().now()))
        return job_id

    def said(self, job_id: str) -> str:
        out = self.folder / f"{job_id}.out"
        return out.read_text() if out.exists() else ""

    def leader(self, job_id: str) -> int:
        return int((self.folder / f"{job_id}.started").read_text())

    def kill(self, job_id: str) -> None:
        """Every process of a job, also one that is started meanwhile."""
        while pids := processes_of(self.leader(job_id)):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def state(self, job_id: str) -> JobState:
        return self.jobs.job(job_id).job_state


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "logs of jobs")


def test_a_process_is_a_job_with_a_beginning_an_end_and_a_log(desk: Desk) -> None:
    result = desk.run("echo als-step stage begin 10; echo als-step stage end 12; echo out; echo err >&2")
    assert (result.state, result.exit_code, result.stage_seconds) == ("completed", 0, {"stage": 2.0})
    assert result.log_tail.splitlines()[-2:] == ["out", "err"]
    assert result.started is not None
    assert result.ended is not None
    assert result.submitted <= result.started <= result.ended


def test_a_process_that_fails_is_told_with_its_code_and_last_words(desk: Desk) -> None:
    with pytest.raises(WorkFailedError, match="failed, exit code 3: error: no projections"):
        desk.run("echo error: no projections >&2; exit 3")


def test_a_process_that_runs_longer_than_it_may_is_ended(desk: Desk) -> None:
    with pytest.raises(WorkFailedError, match="it ran longer than it may"):
        desk.run("echo $$ >pid; sleep 60", seconds=1)
    assert not psutil.pid_exists(int((desk.folder / "pid").read_text()))


def test_what_a_person_cancels_is_gone_with_all_that_it_has_started(desk: Desk) -> None:
    job_id = desk.started("sleep 61 & sleep 62 & echo started; wait")
    eventually(lambda: "started" in desk.said(job_id))
    desk.facility.cancel(job_id)
    eventually(lambda: desk.state(job_id) is JobState.CANCELED)
    assert [
        p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] in (["sleep", "61"], ["sleep", "62"])
    ] == []


def test_a_process_that_is_killed_with_its_supervisor_is_gone_and_may_be_tried_again(desk: Desk) -> None:
    def kill(record, status) -> None:
        if status.state is JobState.ACTIVE and record.handle:
            desk.kill(record.handle)

    with pytest.raises(WorkInterruptedError, match="gone: its processes ended without a word"):
        desk.run("sleep 60", act=kill)


def test_a_process_goes_on_where_only_its_supervisor_is_killed(desk: Desk) -> None:
    job_id = desk.started("echo started; sleep 60")
    leader = desk.leader(job_id)
    eventually(lambda: "started" in desk.said(job_id))
    os.kill(leader, signal.SIGKILL)
    eventually(lambda: leader not in processes_of(leader))
    assert desk.state(job_id) is JobState.ACTIVE
    desk.kill(job_id)
    eventually(lambda: desk.state(job_id) is JobState.FAILED)


def test_the_same_name_is_started_once_also_while_it_runs_and_after_its_end(desk: Desk) -> None:
    body = "echo once >>count; [[ -e go ]] || sleep 0.2"
    job_id = desk.started(body)
    desk.jobs.submit(desk.spec(body), job_id)
    eventually(lambda: desk.state(job_id) is JobState.COMPLETED)
    second = desk.jobs.submit(desk.spec("echo twice >>count"), job_id)
    eventually(lambda: not desk.jobs._lives(second))
    assert (desk.folder / "count").read_text().splitlines() == ["once"]


def test_a_name_under_which_nothing_was_started_is_not_found(desk: Desk) -> None:
    assert desk.jobs.find("als-0-1", since=SystemClock().now()) is None
    with pytest.raises(LookupError, match="als-0-1"):
        desk.jobs.job("als-0-1")


def test_jobs_are_listed_by_the_beginning_of_their_names(desk: Desk) -> None:
    done, running = desk.started("true", "als-mine-1"), desk.started("sleep 60", "als-mine-2")
    desk.started("true", "als-other-1")
    eventually(lambda: desk.state(done) is JobState.COMPLETED)
    now = SystemClock().now()
    assert [job.name for job in desk.jobs.jobs("als-mine-", since=now - timedelta(hours=1))] == [done, running]
    assert [job.name for job in desk.jobs.jobs("als-mine-", since=now + timedelta(hours=1))] == [running]
    desk.jobs.cancel(running)
