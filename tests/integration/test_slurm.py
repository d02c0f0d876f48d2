"""The facility before real Slurm: the twin's Superfacility API over sbatch, squeue, sacct and scancel of Debian.

The tests run in this order: a node that is taken down takes every job with it, and the one whose time runs out runs
beside those in between.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from beamlines.layout import Artifact
from beamlines.places import Store
from beamlines.scans import ScanId
from resources.clock import SystemClock
from resources.database import Database
from resources.errors import ServiceRefusedError, WorkFailedError, WorkInterruptedError
from resources.facilities import Facility, JobResult
from resources.facilities.factory import make_facility
from resources.facilities.job import JobSpec, Output
from resources.facilities.slurm import NAMELESS, quote
from resources.globus import Globus
from resources.ledger import Ledger
from resources.owner import Owner
from resources.remote import Attempt, Remote, RemoteStatus
from resources.settings import login_of
from resources.testing import make_gate
from resources.work import Record, WorkKey
from twin import superfacility
from twin.clock import SettableClock
from twin.faults import Fault, FaultInjector, FaultMiddleware
from twin.scheduler import JobQuery, Row
from twin.scheduler.servers import NODE, SlurmServers
from twin.scheduler.slurm import RealSlurm
from twin.server import SUPERFACILITY_CLIENT, load_world, open_listener, running
from twin.superfacility import Superfacility
from twin.testing import eventually
from twin.world import World

pytestmark = pytest.mark.integration

DEPLOYMENT_FILE = Path(__file__).parents[2] / "config" / "twin.yaml"
SUBMITS = "POST /superfacility/compute/jobs/*"


@dataclass
class Bench:
    """One worker's facility client, and the real cluster at the other end."""

    slurm: SlurmServers
    scheduler: RealSlurm
    world: World
    injector: FaultInjector
    facility: Facility
    heard: list[str] = field(default_factory=list)
    act: Callable[[RemoteStatus], None] = lambda _: None

    def pulse(self, _: Record, status: RemoteStatus) -> None:
        self.heard.append(f"{status.state}: {status.detail}")
        self.act(status)

    def job(self, body: str, outputs: tuple[Output, ...] = ()) -> JobSpec:
        beamline = self.world.beamline
        scan, place = ScanId("small/a.h5"), beamline.places["pscratch"]
        return JobSpec("small", (scan,), place, f"{body}\n", beamline.facilities["nersc"].resources, outputs)

    def run(self, name: str, body: str, outputs: tuple[Output, ...] = ()) -> JobResult:
        return self.facility.run(self.job(body, outputs), key(name), self.pulse)

    def begin(self, name: str, body: str) -> Attempt:
        return self.facility.begin(self.job(body), key(name))

    def recorded(self, name: str) -> list[str]:
        """The states of every job of this work in accounting, once it knows what every job is called."""
        rows = eventually(self._named)
        return [row["state"] for row in rows if key(name).digest in row["jobname"]]

    def _named(self) -> list[Row]:
        rows = self.scheduler.sacct(JobQuery())
        return [] if any(row["jobname"] == NAMELESS for row in rows) else rows


def key(name: str) -> WorkKey:
    return WorkKey("integration", name, "", "")


@pytest.fixture(scope="module")
def bench(slurm: SlurmServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    state = tmp_path_factory.mktemp("state")
    clock, injector = SettableClock(), FaultInjector()
    with open_listener() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        world = load_world(DEPLOYMENT_FILE, state, {**os.environ, "ALS_TWIN_URL": url})
        public_key = superfacility.create_key(Path(world.deployment.superfacility.key_file), SUPERFACILITY_CLIENT)
        scheduler = RealSlurm(slurm.environment, state)
        roots, keys = [Path(world.deployment.prefixes["nersc"])], {SUPERFACILITY_CLIENT: public_key}
        api = Superfacility(scheduler, roots=roots, public_keys=keys, clock=clock, cluster=slurm.cluster)
        app = FaultMiddleware(Starlette(routes=[Mount("/superfacility", superfacility.create_app(api))]), injector)
        with running(app, listener):
            database = Database(f"sqlite:///{state}/ledger.sqlite")
            remote = Remote(Ledger(database), Owner.this_process("run-1"), SystemClock())
            gate = make_gate(database, SystemClock())
            globus = Globus(login_of(world.deployment))
            facility = make_facility("nersc", world.beamline, world.deployment, remote, gate, SystemClock(), globus)
            yield Bench(slurm, scheduler, world, injector, facility)
            facility.close()
            database.close()


@pytest.fixture(autouse=True)
def fresh(bench: Bench) -> Iterator[None]:
    yield
    bench.heard.clear()
    bench.act = lambda _: None
    bench.injector.clear()


@pytest.fixture
def restored(bench: Bench) -> Iterator[None]:
    """The node works again afterwards; not in the test itself, where it would hide that somebody pressed Ctrl-C."""
    yield
    bench.slurm.restore_node()


def test_a_job_whose_node_fails_is_ended_by_no_fault_of_its_own(bench, restored):
    def fail(status: RemoteStatus) -> None:
        if status.state == "active":
            bench.slurm.fail_node()

    bench.act = fail
    with pytest.raises(WorkInterruptedError, match="NODE_FAIL"):
        bench.run("node", "sleep 300")


@pytest.fixture(scope="module")
def overdue(bench: Bench) -> Attempt:
    """A job whose time runs out while the other tests run: Slurm takes up to half a minute to see it."""
    spec = bench.job("sleep 600")
    spec = replace(spec, resources=spec.resources.model_copy(update={"exclusive": False}))
    attempt = bench.facility.begin(spec, key("overdue"))
    eventually(lambda: bench.facility.status(attempt.record.handle).state == "active")
    bench.slurm.let_time_run_out(attempt.record.handle)
    return attempt


def test_a_job_runs_to_its_end_and_what_it_left_is_believed(bench):
    product = bench.world.beamline.places["pscratch"].at(Store.RESULTS, "integration/a")
    output = Output(Artifact.TIFF, product, product.beside("a.tiff.manifest.json"), "0.1.0")
    manifest = (
        '{"manifest": 1, "artifact": "tiff", "program": {"name": "tomography", "version": "0.1.0"},'
        f' "files": [{{"path": "one.tiff", "bytes": 3, "sha256": "{"b" * 64}"}}], "total_files": 1, "total_bytes": 3}}'
    )
    body = "\n".join(
        [
            "echo als-step stage begin 10; echo als-step stage end 12.5",
            f"mkdir -p {quote(product.posix)}",
            f"printf abc > {quote(product.posix)}/one.tiff",
            f"printf %s {quote(manifest)} > {quote(output.manifest.posix)}",
            "echo hello",
        ]
    )
    result = bench.run("whole", body, (output,))
    assert (result.state, result.exit_code, result.nodes) == ("COMPLETED", 0, (NODE,))
    assert result.submitted <= result.started <= result.ended
    assert abs(SystemClock().now() - result.ended) < timedelta(minutes=1)
    assert (result.log_tail.splitlines()[-1], result.stage_seconds) == ("hello", {"stage": 2.5})
    assert result.manifests[Artifact.TIFF].total_bytes == 3
    assert bench.run("whole", body, (output,)).reused


def test_a_job_that_fails_carries_its_exit_code_and_last_words(bench, overdue):
    with pytest.raises(WorkFailedError, match=r"FAILED, exit code 3: error: the axis cannot be found"):
        bench.run("failing", "echo 'error: the axis cannot be found' >&2; exit 3")


def test_a_job_that_is_cancelled_ends_and_is_no_success(bench, overdue):
    def cancel(status: RemoteStatus) -> None:
        if status.state == "active":
            bench.facility.cancel(attempt.record.handle)

    bench.act = cancel
    attempt = bench.begin("cancelled", "sleep 300")
    with pytest.raises(WorkFailedError, match="canceled"):
        bench.facility.finish(attempt, bench.pulse)
    assert bench.recorded("cancelled") == ["CANCELLED by 0"]


def test_a_submit_whose_response_is_lost_makes_one_job(bench, overdue):
    bench.injector.add(Fault(match=SUBMITS, after=True, drop=True))
    assert bench.run("lost", "true").state == "COMPLETED"
    assert bench.recorded("lost") == ["COMPLETED"]


def test_a_job_is_followed_from_the_moment_of_its_submit(bench, overdue):
    # Accounting hears of a job seconds after its submit, and squeue forgets one minutes after its end.
    attempt = bench.begin("early", "sleep 1")
    assert bench.facility.status(attempt.record.handle).state in ("queued", "active")
    assert bench.facility.finish(attempt, bench.pulse).state == "COMPLETED"
    assert not any("failed" in line for line in bench.heard)


def test_what_sbatch_refuses_is_refused_in_its_words(bench, overdue):
    spec = bench.job("true")
    spec = replace(spec, resources=spec.resources.model_copy(update={"queue": "nosuch"}))
    with pytest.raises(ServiceRefusedError, match="Invalid qos specification"):
        bench.facility.run(spec, key("refused"), bench.pulse)


def test_a_job_past_its_limit_is_a_timeout(bench, overdue):
    with pytest.raises(WorkFailedError, match="TIMEOUT"):
        bench.facility.finish(overdue, bench.pulse)
