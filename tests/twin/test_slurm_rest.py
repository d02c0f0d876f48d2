"""The twin's Slurm REST API over plain HTTP: the shapes and the refusals of the real server."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from twin.clock import SettableClock
from twin.faults import FaultInjector, FaultMiddleware
from twin.scheduler import Cluster, Pace
from twin.scheduler.local import LocalScheduler
from twin.server import open_listener, running
from twin.slurm_rest import SlurmRest, SlurmTokens, create_app, create_control_app
from twin.testing import eventually

CLUSTER = Cluster(
    name="frontier",
    user="als",
    zone=ZoneInfo("America/New_York"),
    partition="batch",
    qos=("normal", "debug"),
    default_qos="normal",
    accounts=("als832",),
    features=("nvme",),
    needs_constraint=False,
)
REAL = Path(__file__).parents[1] / "resources/facilities/slurm_rest/answers/v0.0.38.json"


@dataclass
class Site:
    url: str
    folder: Path
    api: SlurmRest
    scheduler: LocalScheduler
    clock: SettableClock
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, document: Any = None, **changes: str) -> httpx.Response:
        return httpx.request(method, f"{self.url}{path}", json=document, headers=self.headers | changes)

    def document(self, script: str = "#!/bin/bash\necho done\n", **changes: Any) -> dict[str, Any]:
        folder = str(self.folder)
        job = {
            "name": "als-1",
            "account": "als832",
            "current_working_directory": folder,
            "environment": {"PATH": "/usr/bin:/bin"},
            "standard_output": f"{folder}/%x_%j.out",
            "time_limit": 15,
        }
        return {"script": script, "job": job | changes}

    def submit(self, script: str = "#!/bin/bash\necho done\n", **changes: Any) -> int:
        answer = self.ask("POST", "/slurm/v0.0.38/job/submit", self.document(script, **changes))
        assert answer.status_code == 200, answer.text
        return int(answer.json()["job_id"])

    def job(self, job_id: int) -> dict[str, Any]:
        [job] = self.ask("GET", f"/slurm/v0.0.38/job/{job_id}").json()["jobs"]
        return job

    def accounted(self, job_id: int) -> dict[str, Any]:
        [job] = self.ask("GET", f"/slurmdb/v0.0.38/job/{job_id}").json()["jobs"]
        return job

    def ended(self, job_id: int) -> dict[str, Any]:
        eventually(lambda: self.job(job_id)["job_state"] not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"))
        return self.job(job_id)

    def control(self, method: str, path: str, document: Any = None) -> httpx.Response:
        return httpx.request(method, f"{self.url}/control/slurm_rest{path}", json=document)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    clock = SettableClock()
    scheduler = LocalScheduler(
        tmp_path / "slurm", home=tmp_path / "home", images={}, clock=clock, cluster=CLUSTER, kill_wait_s=0.3
    )
    tokens = SlurmTokens("als", clock)
    api = SlurmRest(scheduler, CLUSTER, tokens, clock, lambda: scheduler.pace.nodes)
    controls = Mount("/control/slurm_rest", create_control_app(api, scheduler))
    app = FaultMiddleware(Starlette(routes=[controls, Mount("/", create_app(api))]), FaultInjector(clock))
    headers = {"X-SLURM-USER-NAME": "als", "X-SLURM-USER-TOKEN": tokens.issue()}
    with open_listener() as listener, running(app, listener):
        yield Site(url_of(listener), tmp_path, api, scheduler, clock, headers)
    scheduler.close()


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def errors(answer: httpx.Response) -> list[dict[str, Any]]:
    return answer.json()["errors"]


def test_a_job_has_the_fields_of_the_real_server_with_values_of_the_same_type(site):
    job_id = site.submit("#!/bin/bash\nexit 3\n")
    real = json.loads(REAL.read_text())["failed"]
    for ours, theirs in ((site.ended(job_id), real["controller"]), (site.accounted(job_id), real["accounting"])):
        for key in ours.keys() & theirs.keys():
            assert type(ours[key]) is type(theirs[key]), key
    assert site.job(job_id)["exit_code"] == real["controller"]["exit_code"] == 768
    assert site.accounted(job_id)["exit_code"] == real["accounting"]["exit_code"]
    assert site.accounted(job_id)["state"] == real["accounting"]["state"]
    assert site.accounted(job_id)["time"].keys() <= real["accounting"]["time"].keys()


def test_times_are_true_seconds_wherever_the_cluster_is(site):
    before = datetime.now(UTC).timestamp() - 1
    job = site.ended(site.submit())
    assert before <= job["submit_time"] <= job["start_time"] <= job["end_time"] <= datetime.now(UTC).timestamp()


def test_lines_of_the_script_for_sbatch_are_not_read(site):
    script = "#!/bin/bash\n#SBATCH -J other\n#SBATCH -q nosuch\necho 'one'\n#SBATCH -A nosuch\n"
    job = site.ended(site.submit(script))
    assert (job["name"], job["qos"], job["account"], job["job_state"]) == ("als-1", "normal", "als832", "COMPLETED")


def test_a_job_has_the_environment_that_it_was_given_and_slurms(site):
    environment = {"PATH": "/usr/bin:/bin", "A": "x, y='z' $HOME", "B C": "left out"}
    job_id = site.submit("#!/bin/bash\nenv\n", environment=environment)
    site.ended(job_id)
    printed = (site.folder / f"als-1_{job_id}.out").read_text().splitlines()
    assert "A=x, y='z' $HOME" in printed
    assert f"SLURM_JOB_ID={job_id}" in printed
    assert not any(line.startswith(("HOME=", "USER=", "B C=")) for line in printed)


@pytest.mark.parametrize(
    ("changes", "status", "number"),
    [
        ({"qos": "nosuch"}, 500, 2066),
        ({"account": "nosuch"}, 500, 2045),
        ({"constraints": "nosuch"}, 500, 2029),
        ({"partition": "nosuch"}, 500, 2000),
        ({"environment": {}}, 400, 2127),
        ({"exclusive": "true"}, 400, 9001),
        ({"exclusive": True}, 400, 9001),
        ({"nosuch": 1}, 400, 9001),
        ({"time_limit": "15"}, 400, 9001),
        ({"nodes": 1}, 400, 9001),
        ({"name": "a\n#SBATCH --qos=debug"}, 400, 9001),
    ],
)
def test_what_the_real_server_refuses_is_refused_with_its_number(site, changes, status, number):
    answer = site.ask("POST", "/slurm/v0.0.38/job/submit", site.document(**changes))
    assert answer.status_code == status
    assert number in [error.get("error_code", error.get("error_number")) for error in errors(answer)]
    assert site.scheduler.jobs() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"job": 7, "script": "x"}', b'{"job": {}}'])
def test_what_is_no_document_is_refused(site, body):
    answer = httpx.post(f"{site.url}/slurm/v0.0.38/job/submit", content=body, headers=site.headers)
    assert answer.status_code == 400
    assert errors(answer)


def test_a_job_that_nobody_knows_is_an_error_with_a_number(site):
    assert [error["error_number"] for error in errors(site.ask("GET", "/slurm/v0.0.38/job/7"))] == [2017]
    assert [error["error_number"] for error in errors(site.ask("DELETE", "/slurm/v0.0.38/job/7"))] == [2017]
    accounting = site.ask("GET", "/slurmdb/v0.0.38/job/7")
    assert (accounting.status_code, [error["error_number"] for error in errors(accounting)]) == (200, [9003])
    assert site.ask("GET", "/slurm/v0.0.38/job/abc").status_code == 400


def test_the_controller_forgets_what_has_ended_and_accounting_does_not(site):
    job_id = site.submit()
    site.ended(job_id)
    site.clock.ahead = timedelta(minutes=6)
    assert errors(site.ask("GET", f"/slurm/v0.0.38/job/{job_id}"))
    assert site.ask("GET", "/slurm/v0.0.38/jobs").json()["jobs"] == []
    assert site.accounted(job_id)["state"]["current"] == "COMPLETED"


def test_accounting_is_asked_by_names_and_since_a_time(site):
    one, two = site.submit(name="als-1"), site.submit(name="als-2")
    site.ended(one)
    site.ended(two)

    def found(query: str) -> list[int]:
        return [job["job_id"] for job in site.ask("GET", f"/slurmdb/v0.0.38/jobs?{query}").json()["jobs"]]

    assert found("") == [one, two]
    assert found("job_name=als-2") == [two]
    assert found("job_name=als-1%2Cals-2") == [one, two]
    later = int(datetime.now(UTC).timestamp()) + 60
    assert found(f"start_time=uts{later}") == []
    assert errors(site.ask("GET", f"/slurmdb/v0.0.38/jobs?start_time={later}"))[0]["error_number"] == 9000


def test_a_controller_that_is_away_says_so_and_accounting_too(site):
    site.scheduler.pace = Pace(controller_down=True)
    for path in ("ping", "jobs", "job/1"):
        answer = site.ask("GET", f"/slurm/v0.0.38/{path}")
        assert (answer.status_code, errors(answer)[0]["error_number"]) == (500, -1)
    answer = site.ask("POST", "/slurm/v0.0.38/job/submit", site.document())
    assert errors(answer)[0]["error_code"] == 1800
    assert errors(site.ask("GET", "/slurmdb/v0.0.38/jobs"))[0]["error_number"] == 7000


@pytest.mark.parametrize(
    "headers",
    [
        {"X-SLURM-USER-TOKEN": "a.b.c"},
        {"X-SLURM-USER-TOKEN": ""},
        {"X-SLURM-USER-NAME": "somebody"},
    ],
)
def test_a_token_that_is_not_good_opens_nothing(site, headers):
    for method, path in (("GET", "/slurm/v0.0.38/ping"), ("POST", "/slurm/v0.0.38/job/submit")):
        assert site.ask(method, path, site.document(), **headers).status_code == 401
    assert site.ask("GET", "/slurmdb/v0.0.38/jobs", **headers).status_code == 401
    assert site.scheduler.jobs() == []


def test_a_token_ends_and_can_be_refused_before(site):
    site.clock.ahead = timedelta(days=31)
    assert site.ask("GET", "/slurm/v0.0.38/ping").status_code == 401
    site.headers["X-SLURM-USER-TOKEN"] = site.api.tokens.issue()
    assert site.ask("GET", "/slurm/v0.0.38/ping").status_code == 200
    site.control("POST", "/tokens/expire")
    assert site.ask("GET", "/slurm/v0.0.38/ping").status_code == 401


def test_another_version_is_not_there(site):
    assert site.ask("GET", "/slurm/v0.0.40/ping").status_code == 404


def test_pace_and_faults_of_jobs_are_set_as_at_every_facility(site):
    assert site.control("PATCH", "/pace", {"nodes": 1}).json()["pace"]["nodes"] == 1
    faults = site.control("POST", "/job_faults", {"kind": "exit", "exit_code": 7}).json()["job_faults"]
    assert [fault["kind"] for fault in faults] == ["exit"]
    job_id = site.submit("#!/bin/bash\nsleep 20\n")
    assert site.ended(job_id)["exit_code"] == 7 << 8
    assert [job["job_id"] for job in site.control("GET", "/").json()["jobs"]] == [job_id]
    assert site.control("PATCH", "/pace", {"nosuch": 1}).status_code == 422


def test_maintenance_and_memory_are_set_and_reset(site):
    start = datetime(2026, 12, 1, 12, tzinfo=UTC)
    wanted = {"name": "pm", "start": start.isoformat(), "end": (start + timedelta(hours=8)).isoformat()}
    assert site.control("POST", "/maintenance", wanted).status_code == 200
    [shown] = site.ask("GET", "/slurm/v0.0.38/reservations").json()["reservations"]
    assert (shown["name"], shown["start_time"], "MAINT" in shown["flags"]) == ("pm", int(start.timestamp()), True)
    assert site.control("POST", "/maintenance", wanted | {"end": wanted["start"]}).status_code == 422
    assert site.control("POST", "/memory", {"remembered_s": 1}).json()["remembered_s"] == 1
    after = site.control("POST", "/reset").json()
    assert (after["maintenance"], after["remembered_s"]) == ({}, 300)


def test_nodes_are_up_or_drained_as_the_pace_has_them(site):
    def flags() -> list[list[str]]:
        return [node["state_flags"] for node in site.ask("GET", "/slurm/v0.0.38/nodes").json()["nodes"]]

    assert flags() == [[], [], [], []]
    site.scheduler.pace = Pace(nodes=1)
    assert flags() == [[], ["DRAIN"], ["DRAIN"], ["DRAIN"]]
