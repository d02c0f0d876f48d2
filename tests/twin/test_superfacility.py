"""The Superfacility API over real HTTP, driven by the real sfapi_client."""

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sfapi_client import Client
from sfapi_client.compute import Compute
from sfapi_client.exceptions import SfApiError
from sfapi_client.jobs import JobCommand, JobState
from starlette.applications import Starlette
from starlette.routing import Mount

from twin.clock import SettableClock
from twin.faults import Fault, FaultInjector, FaultMiddleware
from twin.scheduler import JobFault, JobQuery, Pace
from twin.scheduler.local import LocalScheduler
from twin.superfacility import Superfacility, create_app, create_control_app, create_key
from twin.superfacility.status import Outage

CLIENT_ID = "alsdevclient1"
DEADLINE_S = 10


@dataclass
class Nersc:
    url: str
    key: Path
    cfs: Path
    clock: SettableClock
    injector: FaultInjector
    scheduler: LocalScheduler
    superfacility: Superfacility

    def client(self, key: Path | None = None) -> Client:
        api = f"{self.url}/superfacility"
        return Client(key=key or self.key, api_base_url=api, token_url=f"{api}/token", wait_interval=0.05)

    def script(self, body: str, head: str = "") -> str:
        directives = f"#SBATCH -q realtime -A als -C cpu -N 1 -t 0:15:00 -o {self.cfs}/%x_%j.out\n"
        return f"#!/bin/bash\n{directives}{head}{body}\n"

    def states(self) -> list[str]:
        return [row["state"] for row in self.scheduler.sacct(JobQuery())]


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secrets") / "superfacility_key.json"
    create_key(path, CLIENT_ID)
    return path


@pytest.fixture
def nersc(tmp_path: Path, key: Path) -> Iterator[Nersc]:
    clock, injector = SettableClock(), FaultInjector()
    cfs = tmp_path / "cfs"
    cfs.mkdir()
    scheduler = LocalScheduler(tmp_path / "slurm", home=tmp_path / "home", images={}, clock=clock, kill_wait_s=0.3)
    keys = {CLIENT_ID: create_key(key, CLIENT_ID)}
    superfacility = Superfacility(scheduler, roots=[cfs], public_keys=keys, clock=clock)
    routes = [
        Mount("/superfacility", create_app(superfacility)),
        Mount("/control/superfacility", create_control_app(superfacility, scheduler)),
    ]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        app = FaultMiddleware(Starlette(routes=routes), injector)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Nersc(url, key, cfs, clock, injector, scheduler, superfacility)
        server.should_exit = True
        thread.join()
    scheduler.close()


@pytest.fixture
def client(nersc: Nersc) -> Iterator[Client]:
    with nersc.client() as client:
        yield client


@pytest.fixture
def perlmutter(client: Client) -> Compute:
    return client.compute("perlmutter")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def test_a_job_is_seen_in_squeue_then_in_sacct_and_its_log_is_read(nersc: Nersc, perlmutter: Compute) -> None:
    gate = nersc.cfs / "gate"
    head = "#SBATCH -J bl832-key --comment 'a key'\n"
    job = perlmutter.submit_job(nersc.script(f"until test -e {gate}; do sleep 0.05; done; echo hello", head))
    assert job.running(timeout=DEADLINE_S) is JobState.RUNNING
    assert (job.name, job.comment, job.qos, job.time_limit) == ("bl832-key", "a key", "realtime", "15:00")
    gate.touch()
    assert job.complete(timeout=DEADLINE_S) is JobState.COMPLETED
    done = perlmutter.job(job.jobid)
    assert (done.state, done.exitcode, done.jobname, done.account) == (JobState.COMPLETED, "0:0", "bl832-key", "als")
    (log,) = perlmutter.ls(f"{nersc.cfs}/bl832-key_{job.jobid}.out")
    assert log.download().read() == "hello\n"
    assert perlmutter.jobs(user="alsdev", command=JobCommand.squeue) == []
    assert [found.jobid for found in perlmutter.jobs(user="alsdev", command=JobCommand.sacct)] == [job.jobid]


def test_a_job_that_exits_with_3_is_failed_without_an_exception(nersc: Nersc, perlmutter: Compute) -> None:
    job = perlmutter.submit_job(nersc.script("exit 3"))
    assert job.complete(timeout=DEADLINE_S) is JobState.FAILED
    assert perlmutter.job(job.jobid).exitcode == "3:0"


def test_a_cancelled_job_says_by_whom(nersc: Nersc, client: Client, perlmutter: Compute) -> None:
    job = perlmutter.submit_job(nersc.script("sleep 300"))
    job.running(timeout=DEADLINE_S)
    job.cancel(wait=True)
    (raw,) = client.get("compute/jobs/perlmutter", {"sacct": True, "kwargs": [f"jobid={job.jobid}"]}).json()["output"]
    assert (raw["state"], perlmutter.job(job.jobid).state) == ("CANCELLED by 100832", JobState.CANCELLED)


def test_a_job_past_its_limit_is_a_timeout(nersc: Nersc, perlmutter: Compute) -> None:
    job = perlmutter.submit_job(nersc.script("sleep 300"))
    job.running(timeout=DEADLINE_S)
    nersc.superfacility.tokens.lifetime = timedelta(days=1)
    nersc.clock.ahead = timedelta(minutes=16)
    with nersc.client() as later:
        wait_until(lambda: later.compute("perlmutter").job(job.jobid).state is JobState.TIMEOUT)


def test_the_client_never_sees_the_end_of_a_job_whose_node_failed(nersc: Nersc, perlmutter: Compute) -> None:
    nersc.scheduler.inject(JobFault(kind="node_fail"))
    job = perlmutter.submit_job(nersc.script("sleep 300"))
    wait_until(lambda: nersc.states() == ["NODE_FAIL"])
    with pytest.raises(TimeoutError):
        job.complete(timeout=0.2)
    assert job.state is JobState.NODE_FAIL


def test_a_job_is_not_found_right_after_its_submission(nersc: Nersc, perlmutter: Compute) -> None:
    nersc.scheduler.pace = Pace(lag_s=60)
    job = perlmutter.submit_job(nersc.script("true"))
    with pytest.raises(SfApiError) as error:
        job.update()
    assert error.value.message == f"Job not found: {job.jobid}"
    nersc.scheduler.pace = Pace()
    assert job.complete(timeout=DEADLINE_S) is JobState.COMPLETED


def test_a_lost_response_makes_the_client_create_a_second_job(nersc: Nersc, perlmutter: Compute) -> None:
    nersc.injector.add(Fault(match="POST /superfacility/compute/jobs/*", status=502, after=True))
    job = perlmutter.submit_job(nersc.script("true"))
    assert job.complete(timeout=DEADLINE_S) is JobState.COMPLETED
    assert len(nersc.scheduler.jobs()) == 2


def test_a_task_that_takes_its_time_is_new_at_first(nersc: Nersc, client: Client, perlmutter: Compute) -> None:
    nersc.superfacility.tasks.delay_s = 60
    data = {"job": nersc.script("true"), "isPath": False}
    task_id = client.post("compute/jobs/perlmutter", data).json()["task_id"]
    assert client.get(f"tasks/{task_id}").json() == {"id": task_id, "status": "new", "result": None}
    nersc.clock.ahead = timedelta(seconds=61)
    assert client.get(f"tasks/{task_id}").json()["status"] == "completed"


def test_a_task_that_fails_submits_nothing(nersc: Nersc, perlmutter: Compute) -> None:
    nersc.superfacility.tasks.fail_next(1)
    with pytest.raises(SfApiError):
        perlmutter.submit_job(nersc.script("true"))
    assert nersc.scheduler.jobs() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda script: script.replace("realtime", "nosuchqos"), "Invalid qos specification"),
        (lambda script: script.replace("#SBATCH", "    #SBATCH"), "No architecture specified"),
        (lambda script: script.replace("\n", "\r\n"), "DOS line breaks"),
    ],
)
def test_what_sbatch_refuses_reaches_the_client(
    nersc: Nersc, perlmutter: Compute, change: Callable[[str], str], message: str
) -> None:
    with pytest.raises(SfApiError) as error:
        perlmutter.submit_job(change(nersc.script("true")))
    assert message in error.value.message
    assert nersc.scheduler.jobs() == []


def test_a_script_on_the_machine_is_submitted_by_its_path(nersc: Nersc, perlmutter: Compute) -> None:
    (nersc.cfs / "job.sh").write_text(nersc.script('test "$1" = "a b"'))
    job = perlmutter.submit_job(f"{nersc.cfs}/job.sh", args=["a b"])
    assert job.complete(timeout=DEADLINE_S) is JobState.COMPLETED


def test_a_file_without_a_first_line_is_no_batch_script(nersc: Nersc, perlmutter: Compute) -> None:
    (nersc.cfs / "job.sh").write_text("echo hello\n")
    with pytest.raises(SfApiError) as error:
        perlmutter.submit_job(f"{nersc.cfs}/job.sh")
    assert "This does not look like a batch script" in error.value.message


def test_a_token_that_expired_on_the_server_is_a_403_and_a_new_client_works(nersc: Nersc, perlmutter: Compute) -> None:
    job = perlmutter.submit_job(nersc.script("true"))
    nersc.superfacility.tokens.expire_all()
    with pytest.raises(httpx.HTTPStatusError) as error:
        perlmutter.job(job.jobid)
    assert error.value.response.status_code == 403
    with nersc.client() as again:
        assert again.compute("perlmutter").job(job.jobid).jobid == job.jobid


def test_a_token_ends_with_its_life(nersc: Nersc, client: Client) -> None:
    assert client.user().name == "alsdev"
    nersc.clock.ahead = timedelta(minutes=11)
    with pytest.raises(httpx.HTTPStatusError, match="403"):
        client.user()


def test_a_key_that_the_service_does_not_know_gets_no_token(nersc: Nersc, tmp_path: Path) -> None:
    create_key(tmp_path / "other.json", CLIENT_ID)
    with nersc.client(tmp_path / "other.json") as client, pytest.raises(Exception, match="invalid_client"):
        client.user()


def test_a_red_client_lives_two_days_and_says_so(nersc: Nersc, client: Client) -> None:
    (known,) = client.user().clients()
    left = datetime.fromisoformat(known.expiresAt) - datetime.now(UTC)
    assert timedelta(days=1, hours=23) < left <= timedelta(days=2)
    nersc.clock.ahead = timedelta(days=3)
    with nersc.client() as again, pytest.raises(Exception, match="invalid_client"):
        again.user()


def test_the_key_file_is_private_and_kept(key: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    assert create_key(key, CLIENT_ID) == create_key(key, CLIENT_ID)
    assert "d" not in create_key(key, CLIENT_ID)
    with pytest.raises(ValueError, match="only 13"):
        create_key(key, "short")


def test_status_and_planned_outages_need_no_login(nersc: Nersc) -> None:
    start = datetime(2026, 12, 1, 14, tzinfo=UTC)
    nersc.superfacility.status.set("perlmutter", "unavailable", "Scheduled Maintenance")
    nersc.superfacility.status.add(Outage(name="perlmutter", start_at=start, end_at=start + timedelta(hours=12)))
    with Client(api_base_url=f"{nersc.url}/superfacility") as anybody:
        assert anybody.resources.status("perlmutter").status.value == "unavailable"
        assert anybody.resources.status()["dtns"].status.value == "active"
        # Six in the morning there, with no word of where that is.
        [outage] = anybody.resources.planned_outages("perlmutter")
        assert outage.start_at == datetime(2026, 12, 1, 6)  # noqa: DTZ001
        assert set(anybody.resources.planned_outages()) == {"perlmutter"}
        assert anybody.resources.outages("perlmutter") == []
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            anybody.resources.status("cori2")


def test_a_controller_that_is_down_fails_a_submission(nersc: Nersc, perlmutter: Compute) -> None:
    nersc.scheduler.pace = Pace(controller_down=True)
    with pytest.raises(SfApiError) as error:
        perlmutter.submit_job(nersc.script("true"))
    assert "Unable to contact slurm controller" in error.value.message


def test_bytes_go_up_and_come_down_as_they_are(nersc: Nersc, perlmutter: Compute) -> None:
    (folder,) = perlmutter.ls(str(nersc.cfs), directory=True)
    (folder / "a.bin").upload(io.BytesIO(b"\x00\xff\n"))
    (found,) = [path for path in folder.ls() if path.name == "a.bin"]
    assert (found.is_file(), found.size) == (True, 3)
    assert found.download(binary=True).read() == b"\x00\xff\n"
    with pytest.raises(SfApiError):
        found.download()


def test_a_file_over_the_limit_is_refused_both_ways(nersc: Nersc, perlmutter: Compute) -> None:
    nersc.superfacility.files.limit_bytes = 3
    (nersc.cfs / "big").write_text("1234")
    (big,) = perlmutter.ls(f"{nersc.cfs}/big")
    with pytest.raises(SfApiError) as down:
        big.download()
    with pytest.raises(SfApiError) as up:
        big.upload(io.BytesIO(b"56789"))
    assert "too large" in down.value.message
    assert "too large" in up.value.message
    assert (nersc.cfs / "big").read_text() == "1234"


@pytest.mark.parametrize("path", ["/etc/passwd", "{cfs}/../home", "{cfs}/link/passwd", "{cfs}2"])
def test_what_is_not_nersc_s_is_denied(nersc: Nersc, perlmutter: Compute, path: str) -> None:
    (nersc.cfs / "link").symlink_to("/etc")
    with pytest.raises(SfApiError) as error:
        perlmutter.ls(path.format(cfs=nersc.cfs))
    assert error.value.message.endswith("Permission denied")
    with pytest.raises(SfApiError):
        perlmutter.submit_job(path.format(cfs=nersc.cfs))


def test_a_missing_file_is_named(nersc: Nersc, perlmutter: Compute) -> None:
    with pytest.raises(SfApiError) as error:
        perlmutter.ls(f"{nersc.cfs}/nothing")
    assert error.value.message == f"ls: cannot access '{nersc.cfs}/nothing': No such file or directory"


@pytest.mark.parametrize("name", ["a b", "é", "it's", "a;b", "[1]"])
def test_a_strange_name_is_listed(nersc: Nersc, perlmutter: Compute, name: str) -> None:
    (nersc.cfs / name).write_text("x")
    assert perlmutter.ls(f"{nersc.cfs}/{name}")[0].download().read() == "x"


@pytest.mark.parametrize(
    ("method", "path", "document", "shown", "expected"),
    [
        ("POST", "/status", {"name": "dtns", "status": "degraded"}, "status", "degraded"),
        ("PATCH", "/pace", {"lag_s": 2.0}, "pace", "2.0"),
        ("POST", "/job_faults", {"kind": "hang", "times": 2}, "job_faults", "hang"),
        ("POST", "/outages", {"name": "dtns", "start_at": "2026-12-01T00:00:00Z"}, "planned", "2026-11-30T16:00:00"),
        ("POST", "/tokens", {"lifetime_s": 5, "expire_now": True}, "token_lifetime_s", "5"),
    ],
)
def test_control_sets_and_reset_undoes(
    nersc: Nersc, method: str, path: str, document: dict[str, Any], shown: str, expected: str
) -> None:
    with httpx.Client(base_url=f"{nersc.url}/control/superfacility") as control:
        before = control.get("/").json()[shown]
        answer = control.request(method, path, json=document)
        assert expected in json.dumps(answer.json()[shown])
        assert control.post("/reset").json()[shown] == before


@pytest.mark.parametrize(
    ("path", "document", "status"),
    [
        ("/status", {"name": "cori2", "status": "active"}, 404),
        ("/job_faults", {"kind": "explode"}, 422),
        ("/tasks", {"delay": 1}, 422),
    ],
)
def test_control_refuses_what_it_does_not_know(nersc: Nersc, path: str, document: dict[str, Any], status: int) -> None:
    assert httpx.post(f"{nersc.url}/control/superfacility{path}", json=document).status_code == status
