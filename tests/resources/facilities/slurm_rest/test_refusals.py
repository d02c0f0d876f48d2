"""The client of the Slurm REST API against the twin's: what is refused and named, the token, and how the machine is."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from beamlines.deployment import SecretName
from resources.errors import CredentialsRefusedError, ServiceRefusedError, ServiceUnavailableError
from resources.facilities.service import Health, Outage
from resources.remote import JobState
from resources.settings import secret
from twin.scheduler import Pace
from twin.server import serve
from twin.world import NotInTheWorldError

PROJECT = Path(__file__).parents[4]
SUBMITS = "POST /slurm_rest/slurm/*/job/submit"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, CredentialsRefusedError),
        (403, CredentialsRefusedError),
        (408, ServiceUnavailableError),
        (429, ServiceUnavailableError),
        (500, ServiceUnavailableError),
        (503, ServiceUnavailableError),
        (302, ServiceRefusedError),
        (400, ServiceRefusedError),
        (404, ServiceRefusedError),
    ],
)
def test_what_http_says_is_named(bench, status, error):
    for match in ("POST /slurm_rest/*", "GET /slurm_rest/*", "DELETE /slurm_rest/*"):
        bench.fault(match=match, status=status)
    for asking in (bench.submit, bench.client.state, lambda: bench.client.cancel("1")):
        with pytest.raises(error) as caught:
            asking()
        assert type(caught.value) is error
    assert bench.records() == []


@pytest.mark.parametrize(
    ("errors", "error"),
    [
        ([{"error_number": 1007, "error": "Protocol authentication error"}], CredentialsRefusedError),
        ([{"error_number": -1, "error": "Unspecified error"}], ServiceUnavailableError),
        ([{"error_code": 1800, "error": "Unable to contact slurm controller"}], ServiceUnavailableError),
        ([{"error_number": 7000, "error": "Unable to connect to database"}], ServiceUnavailableError),
        ([{"error_number": 2066, "error": "Invalid qos specification"}], ServiceRefusedError),
        ([{"error": "not said"}], ServiceUnavailableError),
        ([{"error_number": 12345, "error": "of a later version"}], ServiceUnavailableError),
        ([{"error_number": [2066], "error": "no number"}], ServiceUnavailableError),
    ],
)
def test_the_errors_in_a_document_count_and_not_its_http_status(bench, errors, error):
    bench.fault(match=SUBMITS, status=500, body={"errors": errors})
    with pytest.raises(error) as caught:
        bench.submit()
    assert type(caught.value) is error
    assert errors[0]["error"] in str(caught.value)


def test_errors_in_a_good_answer_are_errors_too(bench):
    errors = [{"error_number": 7000, "error": "Unable to connect to database"}]
    bench.fault(match="GET */slurmdb/*", status=200, body={"errors": errors, "jobs": []})
    with pytest.raises(ServiceUnavailableError, match="Unable to connect to database"):
        bench.client.find(bench.name, since=now())


@pytest.mark.parametrize(
    "body",
    ["[]", 7, {}, [], {"message": "hello"}, {"jobs": 7}, {"jobs": [{"name": "a"}]}, {"jobs": [[]]}, {"jobs": [None]}],
)
def test_an_answer_that_makes_no_sense_is_no_answer(bench, body):
    bench.fault(match="GET */slurm/*", status=200, body=body)
    with pytest.raises(ServiceUnavailableError):
        bench.client.job("1")


def test_an_answer_to_a_submit_that_names_no_job_leaves_it_open(bench):
    bench.fault(match=SUBMITS, status=200, body={"errors": [], "job_id": 0})
    with pytest.raises(ServiceUnavailableError, match="named no id"):
        bench.submit()


def test_a_controller_that_is_away_is_unavailable_and_the_job_goes_on(bench):
    job_id = bench.submit("sleep 0.3")
    bench.site.scheduler.pace = Pace(controller_down=True)
    for asking in (lambda: bench.client.job(job_id), lambda: bench.client.cancel(job_id), bench.submit):
        with pytest.raises(ServiceUnavailableError):
            asking()
    bench.site.scheduler.pace = Pace()
    assert bench.ended(job_id).job_state is JobState.COMPLETED


def test_a_state_that_nobody_knows_is_unknown_and_says_so(bench):
    shown = {"job_id": 1, "name": "a", "job_state": "EXPLODED", "nodes": "n1"}
    bench.fault(match="GET */slurm/*", status=200, body={"errors": [], "jobs": [shown]})
    seen = bench.client.job("1")
    assert seen.job_state is JobState.UNKNOWN
    assert "does not know" in seen.words


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"queue": "nosuch"}, "Invalid qos specification"),
        ({"account": "nosuch"}, "Invalid account or account/partition combination specified"),
        ({"constraint": "nosuch"}, "Invalid feature specification"),
        ({"cpus_per_task": 4096}, "Requested node configuration is not available"),
    ],
)
def test_what_slurm_refuses_is_refused_in_its_words(bench, resources, message):
    asked = replace(bench.job, resources=bench.job.resources.model_copy(update=resources), body="true\n")
    with pytest.raises(ServiceRefusedError, match=message):
        bench.client.submit(asked, bench.name)
    assert bench.records() == []


def test_a_partition_goes_with_every_job_where_one_is_named(bench):
    with bench.other(partition="batch") as client:
        client.submit(replace(bench.job, body="true\n"), bench.name)
    assert bench.records()[0].request.partition == "batch"
    refused = pytest.raises(ServiceRefusedError, match="Invalid partition name specified")
    with bench.other(partition="nosuch") as client, refused:
        client.submit(replace(bench.job, body="true\n"), bench.name)


def test_a_token_that_is_replaced_is_read_again(bench):
    bench.site.api.tokens.expire_all()
    with pytest.raises(CredentialsRefusedError, match=r"olcf_token.*read each time"):
        bench.submit()
    bench.site.api.tokens.write(Path(bench.twin.world.deployment.slurm_rest["olcf"].token.file))
    bench.ended(bench.submit())


def test_a_token_that_has_ended_is_not_sent(bench):
    ended = bench.site.api.tokens.issue(-timedelta(minutes=1))
    bench.twin.control.injector.clear_log()
    refused = pytest.raises(CredentialsRefusedError, match=r"olcf_token has ended at \d{4}-")
    with bench.other(token=lambda: ended) as client, refused:
        client.state()
    assert bench.twin.control.injector.requests("* /slurm_rest/*") == []


@pytest.mark.parametrize("token", ["", "two\nlines", "café"])
def test_what_cannot_be_a_token_is_not_sent(bench, token):
    refused = pytest.raises(CredentialsRefusedError, match="holds no token")
    with bench.other(token=lambda: token) as client, refused:
        client.state()


def test_a_token_file_that_is_not_there_or_open_to_others_is_named(bench, tmp_path):
    file = tmp_path / "token"
    with bench.other(token=secret(SecretName(file=file))) as client:
        with pytest.raises(CredentialsRefusedError, match="does not exist"):
            client.credentials_until()
        file.write_text("a.b.c")
        file.chmod(0o644)
        with pytest.raises(CredentialsRefusedError, match="mode 0644"):
            client.state()


def test_the_token_goes_in_the_header_that_the_service_wants(bench):
    with bench.other(user=None) as client:
        assert client.state().health is Health.ACTIVE
    with bench.other(user="somebody") as client, pytest.raises(CredentialsRefusedError):
        client.state()


def test_the_end_of_the_credentials_is_read_from_the_token_where_it_says_so(bench):
    until = bench.client.credentials_until()
    assert timedelta(days=29) < until - now() <= timedelta(days=30)
    for token in ("opaque", "a.b.c", "e30.e30.e30"):
        with bench.other(token=lambda token=token: token) as client:
            assert client.credentials_until() is None


def test_the_machine_says_how_it_is(bench):
    assert bench.client.state().said == "active"
    bench.site.scheduler.pace = Pace(nodes=1)
    assert bench.client.state().said == "degraded: 1 of 4 nodes can be used"
    bench.site.scheduler.pace = Pace(nodes=0)
    assert bench.client.state().said == "unavailable: 0 of 4 nodes can be used"
    bench.fault(match="GET */ping", status=200, body={"pings": [{"hostname": "a", "ping": "DOWN"}]})
    assert bench.client.state().said == "unavailable: its controller does not answer"


def test_a_maintenance_that_is_announced_is_an_outage_to_come(bench):
    start = now().replace(microsecond=0) + timedelta(hours=3)
    bench.site.api.maintenance["pm-day"] = (start, start + timedelta(hours=8))
    state = bench.client.state()
    assert state.health is Health.ACTIVE
    assert state.outages == (Outage(start, start + timedelta(hours=8), "maintenance (reservation pm-day)"),)


@pytest.mark.parametrize("version", ["v0.0.37", "v0.0.39", "0.0.38", "v1", ""])
def test_a_version_that_is_not_known_is_refused_before_anything_is_sent(bench, version):
    with pytest.raises(ValueError, match="is no version that is spoken here"):
        bench.other(version=version)


@pytest.mark.parametrize("name", ["", "a b", "a,b", "../a", "a\n#SBATCH -q debug", "A", "é", "$(id)"])
def test_a_name_that_could_be_anything_but_a_name_is_refused(bench, name):
    with pytest.raises(ValueError, match="is no job name"):
        bench.client.submit(replace(bench.job, body="true\n"), name)


@pytest.mark.parametrize("job_id", ["../jobs", "1/..", "?a=b", "%2e%2e", "é", "1 2"])
def test_an_id_that_is_none_reaches_no_other_address(bench, job_id):
    bench.twin.control.injector.clear_log()
    with pytest.raises((LookupError, ServiceRefusedError)):
        bench.client.job(job_id)
    for entry in bench.twin.control.injector.requests():
        assert entry.request.startswith(("GET /slurm_rest/slurm/v0.0.38/job/", "GET /slurm_rest/slurmdb/v0.0.38/job/"))


def test_the_twin_writes_no_token_outside_its_own_folder(configuration, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "bl832.yaml").write_text((configuration.parent / "bl832.yaml").read_text())
    text = configuration.read_text().replace("${ALS_STATE}/secrets/olcf_token", f"{elsewhere}/token")
    (elsewhere / "twin.yaml").write_text(text)
    with (
        pytest.raises(NotInTheWorldError, match=r"slurm_rest\.olcf\.token"),
        serve(elsewhere / "twin.yaml", tmp_path / "s"),
    ):
        pass
    assert not (elsewhere / "token").exists()


def test_importing_the_client_is_cheap():
    code = "import sys, resources.facilities.slurm_rest; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0
