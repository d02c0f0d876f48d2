"""The facility over the Slurm REST API: what a worker sees of it, from the submit to the end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from resources.clock import SystemClock
from resources.database import Database
from resources.errors import WorkFailedError, WorkInterruptedError, WorkLostError
from resources.facilities import JobResult
from resources.facilities.batch import BatchFacility
from resources.facilities.job import FileTooLargeError, JobSpec
from resources.facilities.service import Entry, read_each
from resources.ledger import Ledger
from resources.owner import Owner
from resources.remote import Patience, Remote, RemoteStatus
from resources.testing import make_gate
from resources.work import Record, WorkKey
from twin.scheduler import JobFault, JobRecord, Pace
from twin.server import SlurmSite

SUBMITS = "POST /slurm_rest/slurm/*/job/submit"


class FilesOnDisk:
    """Files, where the facility's disk is this machine's."""

    look_every = timedelta(seconds=30)

    def list(self, path: str) -> list[Entry]:
        return [Entry(one.name, one.stat().st_size, one.is_dir()) for one in Path(path).iterdir()]

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        return Path(path).read_bytes()[:limit_bytes]

    def read_all(
        self, paths: Sequence[str], *, limit_bytes: int
    ) -> Mapping[str, bytes | FileNotFoundError | FileTooLargeError]:
        return read_each(self, paths, limit_bytes=limit_bytes)


@dataclass
class Worker:
    """One worker's facility, and its ledger."""

    facility: BatchFacility
    ledger: Ledger
    job: JobSpec
    site: SlurmSite
    key: WorkKey
    heard: list[str] = field(default_factory=list)
    act: Callable[[RemoteStatus], None] = lambda _: None

    def run(self, body: str) -> JobResult:
        return self.facility.run(replace(self.job, body=f"{body}\n"), self.key, self.pulse)

    def pulse(self, _: Record, status: RemoteStatus) -> None:
        self.heard.append(f"{status.state}: {status.detail}")
        self.act(status)

    def records(self) -> list[JobRecord]:
        return [job for job in self.site.scheduler.jobs() if self.key.digest in job.request.name]


@pytest.fixture
def worker(bench, tmp_path: Path) -> Iterator[Worker]:
    database, clock = Database(f"sqlite:///{tmp_path}/ledger.sqlite"), SystemClock()
    ledger = Ledger(database)
    remote, gate = Remote(ledger, Owner.this_process("run-1"), clock), make_gate(database, clock)
    short, long = timedelta(seconds=0.05), timedelta(seconds=0.2)
    patience = Patience(first_poll=short, longest_poll=long, deadline=timedelta(minutes=1), appear=5 * long)
    facility = BatchFacility("olcf", bench.client, FilesOnDisk(), remote, clock, gate, patience)
    yield Worker(facility, ledger, bench.job, bench.site, WorkKey("test", bench.name, "", ""))
    database.close()


def test_the_result_is_evidence(worker):
    result = worker.run("echo als-step stage begin 10; echo als-step stage end 12.5; echo hello")
    [record] = worker.records()
    assert (result.facility, result.state, result.exit_code) == ("olcf", "COMPLETED", 0)
    assert (result.job_id, result.name, result.nodes) == (str(record.job_id), record.request.name, record.nodes)
    assert (result.stage_seconds, result.log_tail.splitlines()[-1]) == ({"stage": 2.5}, "hello")
    assert result.submitted <= result.started <= result.ended


@pytest.mark.parametrize("fault", [{"status": 502}, {"drop": True}], ids=["502", "connection closed"])
def test_a_submit_whose_response_is_lost_makes_one_job(worker, bench, fault):
    bench.fault(match=SUBMITS, after=True, **fault)
    assert worker.run("true").state == "COMPLETED"
    assert len(worker.records()) == 1
    assert len(bench.twin.control.injector.requests(SUBMITS)) == 1


def test_a_failure_carries_the_exit_code_and_the_last_words_of_the_program(worker):
    with pytest.raises(WorkFailedError, match=r"FAILED, exit code 7: error: the axis cannot be found"):
        worker.run("echo 'error: the axis cannot be found' >&2; exit 7")


def test_a_node_that_fails_is_no_fault_of_the_job(worker):
    worker.site.scheduler.inject(JobFault(kind="node_fail", match=worker.key.digest))
    with pytest.raises(WorkInterruptedError, match="NODE_FAIL"):
        worker.run("sleep 20")


def test_a_job_that_no_table_shows_yet_is_waited_for(worker):
    def show(status: RemoteStatus) -> None:
        if "not shown" in status.detail:
            worker.site.scheduler.pace = Pace()

    worker.site.scheduler.pace, worker.act = Pace(lag_s=3600), show
    assert worker.run("true").state == "COMPLETED"
    assert "queued: accepted, not shown by the service yet" in worker.heard


def test_a_job_that_vanishes_is_lost_and_never_a_success(worker):
    worker.site.scheduler.inject(JobFault(kind="vanish", match=worker.key.digest))
    with pytest.raises(WorkLostError, match="no longer knows"):
        worker.run("true")


def test_an_api_that_is_away_while_a_job_runs_is_waited_for(worker, bench):
    attempt = worker.facility.begin(replace(worker.job, body="sleep 0.2\n"), worker.key)
    for fault in ({"status": 503}, {"drop": True}, {"status": 429}, {"status": 200, "body": []}):
        bench.fault(match="GET /slurm_rest/*", **fault)
    assert worker.facility.finish(attempt, worker.pulse).state == "COMPLETED"
    assert sum("state unknown" in line for line in worker.heard) == 4
