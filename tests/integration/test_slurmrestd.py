"""The client of the Slurm REST API before a real slurmrestd, Debian's: what the twin's own is measured by."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import httpx
import pytest

from beamlines.config import parse_beamline
from beamlines.facilities import SlurmResources
from beamlines.scans import ScanId
from resources.clock import SystemClock
from resources.errors import CredentialsRefusedError, ServiceRefusedError, ServiceUnavailableError
from resources.facilities.job import JobSpec
from resources.facilities.service import Health, JobSeen
from resources.facilities.slurm import SlurmRow
from resources.facilities.slurm_documents import read_job
from resources.facilities.slurm_rest import SlurmRest
from resources.remote import TERMINAL, JobState
from twin.scheduler.servers import NODE, SlurmServers
from twin.testing import eventually

pytestmark = pytest.mark.integration

BEAMLINE_FILE = Path(__file__).parents[2] / "config" / "bl832.yaml"
VERSION = "v0.0.38"
LONG_AGO = timedelta(hours=1)


@dataclass
class Bench:
    slurm: SlurmServers
    client: SlurmRest
    job: JobSpec

    def submit(self, name: str, body: str, **resources: object) -> str:
        asked = self.job.resources.model_copy(update=resources)
        return self.client.submit(replace(self.job, body=f"{body}\n", resources=asked), name)

    def until(self, job_id: str, *states: JobState) -> JobSeen:
        def reached() -> JobSeen | None:
            seen = self.client.job(job_id)
            return seen if seen.job_state in states else None

        return eventually(reached)

    def ended(self, job_id: str) -> JobSeen:
        return self.until(job_id, *TERMINAL)


def make_client(slurm: SlurmServers, token: str) -> SlurmRest:
    return SlurmRest(
        f"{slurm.rest_url}/slurm/{VERSION}",
        f"{slurm.rest_url}/slurmdb/{VERSION}",
        VERSION,
        token=lambda: token,
        token_source="the test",
        user="root",
        clock=SystemClock(),
    )


@pytest.fixture(scope="module")
def bench(slurm: SlurmServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    beamline = parse_beamline(BEAMLINE_FILE.read_text(), source="bl832.yaml")
    resources = SlurmResources(
        queue="realtime",
        account="als",
        constraint="cpu",
        nodes=1,
        cpus_per_task=2,
        exclusive=False,
        time_limit=timedelta(minutes=5),
        logs=PurePosixPath(tmp_path_factory.mktemp("logs")),
    )
    job = JobSpec("small", (ScanId("small/a.h5"),), beamline.places["pscratch"], "", resources)
    client = make_client(slurm, slurm.token())
    yield Bench(slurm, client, job)
    client.close()


def test_a_job_is_submitted_seen_and_succeeds(bench):
    job_id = bench.submit("als-one-1", "echo hello; pwd; env", exclusive=True)
    seen = bench.ended(job_id)
    assert (seen.state, seen.exit_code, seen.words, seen.nodes) == ("COMPLETED", 0, "COMPLETED", (NODE,))
    assert seen.submitted <= seen.started <= seen.ended
    assert abs(datetime.now(UTC) - seen.ended) < timedelta(minutes=1)
    log = Path(bench.client.log_paths(bench.job, seen)[0]).read_text()
    assert log.startswith(f"hello\n{bench.job.resources.logs}\n")
    shown = bench.slurm.command("scontrol", "show", "job", job_id)
    for said in ("QOS=realtime", "Account=als", "TimeLimit=00:05:00", "OverSubscribe=NO", "Comment=als-one-1"):
        assert said in shown


def test_a_job_that_fails_carries_its_exit_code(bench):
    seen = bench.ended(bench.submit("als-failing-1", "exit 3"))
    assert (seen.job_state, seen.words, seen.exit_code) == (JobState.FAILED, "FAILED, exit code 3", 3)


def test_accounting_knows_the_state_and_no_exit_code_that_is_not_true(bench):
    job_id = bench.submit("als-failing-2", "exit 3")
    bench.ended(job_id)
    headers = {"X-SLURM-USER-NAME": "root", "X-SLURM-USER-TOKEN": bench.slurm.token()}

    def recorded() -> SlurmRow | None:
        answer = httpx.get(f"{bench.slurm.rest_url}/slurmdb/{VERSION}/job/{job_id}", headers=headers).json()
        rows = [read_job(one) for one in answer["jobs"]]
        # A job that ends at once is called "allocation" there until the record of its start has arrived.
        return rows[0] if rows and rows[0].ended and rows[0].name != "allocation" else None

    row = eventually(recorded)
    assert (row.job_id, row.name, row.words, row.exit_code) == (job_id, "als-failing-2", "FAILED", None)


def test_a_job_that_a_signal_ends_says_which(bench):
    assert bench.ended(bench.submit("als-signal-1", "kill -9 $$")).words == "FAILED, signal 9"


def test_a_job_is_cancelled(bench):
    job_id = bench.submit("als-cancelled-1", "sleep 300")
    bench.until(job_id, JobState.ACTIVE)
    bench.client.cancel(job_id)
    assert bench.ended(job_id).job_state is JobState.CANCELED
    bench.client.cancel(job_id)


def test_a_job_is_found_by_its_name_at_once_and_later(bench):
    job_id = bench.submit("als-found-1", "true")
    assert bench.client.find("als-found-1", since=ago()) == job_id
    bench.ended(job_id)
    assert bench.client.find("als-found-1", since=ago()) == job_id
    assert bench.client.find("als-found", since=ago()) is None
    assert bench.client.find("als-found-1", since=datetime.now(UTC) + 2 * LONG_AGO) is None


def test_jobs_are_listed_by_the_beginning_of_their_names(bench):
    ids = {bench.submit(f"als-many-{number}", "true") for number in (1, 2)}
    assert {seen.job_id for seen in bench.client.jobs("als-many-", since=ago())} == ids


def test_a_job_that_nobody_knows_is_not_found(bench):
    with pytest.raises(LookupError, match="9999"):
        bench.client.job("9999")
    bench.client.cancel("9999")


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"queue": "nosuch"}, "Invalid qos specification"),
        ({"account": "nosuch"}, "Invalid account"),
        ({"constraint": "nosuch"}, "Invalid feature specification"),
    ],
)
def test_what_slurm_refuses_is_refused_in_its_words(bench, resources, message):
    with pytest.raises(ServiceRefusedError, match=message):
        bench.submit("als-refused-1", "true", **resources)
    assert bench.client.find("als-refused-1", since=ago()) is None


def test_a_version_that_the_server_has_not_is_refused(bench):
    url, version = f"{bench.slurm.rest_url}/slurm/v0.0.99", "v0.0.99"
    asked = {"token": bench.slurm.token, "token_source": "the test", "user": "root", "clock": SystemClock()}
    with closing(SlurmRest(url, None, version, **asked)) as client, pytest.raises(ServiceRefusedError, match=version):
        client.state()


def test_a_token_of_another_key_is_refused_by_accounting_and_never_a_success(bench):
    header, claims, signature = bench.slurm.token().split(".")
    forged = f"{header}.{claims}.{signature[::-1]}"
    with closing(make_client(bench.slurm, forged)) as client:
        with pytest.raises(ServiceUnavailableError, match="token"):
            client.state()
        with pytest.raises(CredentialsRefusedError, match="the test"):
            client.find("als-one-1", since=ago())


def test_a_token_says_when_it_ends(bench):
    until = make_client(bench.slurm, bench.slurm.token(lifespan_s=120)).credentials_until()
    assert timedelta(seconds=100) < until - datetime.now(UTC) <= timedelta(seconds=121)


def test_the_machine_says_how_it_is_and_what_maintenance_is_announced(bench):
    state = bench.client.state()
    assert (state.health, state.why, state.outages) == (Health.ACTIVE, "1 of 1 nodes can be used", ())
    bench.slurm.command(
        *("scontrol", "create", "reservation=pm1", "starttime=now+1hour", "duration=120", "users=root"),
        *("nodes=ALL", "flags=maint,ignore_jobs"),
    )
    (outage,) = bench.client.state().outages
    assert outage.end - outage.start == timedelta(hours=2)
    assert "pm1" in outage.why
    bench.slurm.command("scontrol", "delete", "reservation=pm1")


@pytest.fixture
def restored(bench: Bench) -> Iterator[None]:
    yield
    bench.slurm.restore_node()


def test_a_node_that_fails_is_seen_and_ends_its_job_by_no_fault_of_its_own(bench, restored):
    job_id = bench.submit("als-node-1", "sleep 300")
    bench.until(job_id, JobState.ACTIVE)
    bench.slurm.fail_node()
    assert bench.client.state().health is Health.UNAVAILABLE
    seen = bench.ended(job_id)
    assert (seen.state, seen.job_state, seen.interrupted) == ("NODE_FAIL", JobState.FAILED, True)


def ago() -> datetime:
    return datetime.now(UTC) - LONG_AGO
