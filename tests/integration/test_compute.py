"""The facility before a real globus-compute-endpoint and a real RabbitMQ, behind the twin's Globus Compute.

The endpoint starts a user endpoint for the beamline's own configuration, with a worker pool (GlobusComputeEngine) of
this machine. The tests at the end kill it, end it and start it again.
"""

import platform
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from globus_compute_sdk import ShellFunction

from beamlines.layout import Artifact
from beamlines.places import Store
from resources.clock import SystemClock
from resources.database import Database
from resources.errors import WorkFailedError, WorkInterruptedError
from resources.facilities import Output
from resources.facilities.service import Health
from resources.facilities.slurm import quote
from resources.remote import TERMINAL, JobState, RemoteStatus
from resources.settings import Settings, identities_of
from resources.work import Record
from tests.integration.compute_bench import Bench, make_client
from tests.integration.conftest import took
from twin.compute.conditions import ComputeConditions
from twin.compute.endpoints import Endpoints
from twin.compute.queues import Queues
from twin.compute.servers import EndpointLogin, real_endpoint
from twin.compute.testing import ComputeUser, compute_user
from twin.faults import Fault
from twin.server import serve
from twin.testing import eventually

pytestmark = pytest.mark.integration

DEPLOYMENT_FILE = Path(__file__).parents[2] / "config" / "twin.yaml"
IDENTITY = "6bd0c0de-0000-4000-8000-000000000832"
SUBMIT = "POST /compute/v3/endpoints/*/submit"
HOSTILE = "-$(touch pwned); 'rm' \"x\" é 🦷 {braces} @{no} \\"
JSON = "globus_compute_sdk.serialize.JSONData"


@pytest.fixture(scope="module")
def endpoints(broker_url: str) -> Iterator[Endpoints]:
    with closing(Endpoints(Queues(broker_url), IDENTITY)) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def module_bench(
    endpoints: Endpoints, endpoint_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    state = tmp_path_factory.mktemp("state")
    with serve(DEPLOYMENT_FILE, state, endpoints=endpoints) as twin:
        world, began = twin.world, time.monotonic()
        identifier = world.beamline.facilities["alcf"].endpoint
        login = EndpointLogin(twin.url, world.deployment.globus.client_id, world.client_secret)
        with real_endpoint(endpoint_program, identifier, login, lambda: endpoints.is_online(identifier)) as endpoint:
            took["starting globus-compute-endpoint"] = time.monotonic() - began
            database = Database(f"sqlite:///{state}/ledger.sqlite")
            globus = identities_of(Settings(world.deployment, world.beamline)).transfers
            facility = make_client(twin, database, globus, "run-1")
            yield Bench(twin, endpoint, globus, database, facility)
            facility.close()
            globus.close()
            database.close()
            ending = time.monotonic()
        took["ending globus-compute-endpoint"] = time.monotonic() - ending


@pytest.fixture
def bench(module_bench: Bench) -> Iterator[Bench]:
    yield module_bench
    module_bench.heard.clear()
    module_bench.act = lambda *_: None
    module_bench.twin.control.reset()
    assert module_bench.twin.compute is not None
    module_bench.twin.compute.reset()


@pytest.fixture
def restored(bench: Bench) -> Iterator[None]:
    """The endpoint runs again afterwards."""
    yield
    bench.endpoint.start()


@pytest.fixture(scope="module")
def users(module_bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ComputeUser, ComputeUser]]:
    """Of the real endpoint, and of a twin with workers of its own."""
    with (
        serve(DEPLOYMENT_FILE, tmp_path_factory.mktemp("own")) as own,
        compute_user(module_bench.twin) as real_user,
        compute_user(own) as own_user,
    ):
        yield real_user, own_user


def test_a_job_runs_to_its_end_and_what_it_left_is_believed(bench):
    product = bench.twin.world.beamline.places["alcf"].at(Store.RESULTS, "integration/a")
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
    assert (result.state, result.exit_code, result.nodes) == ("completed", 0, (platform.node(),))
    assert abs(SystemClock().now() - result.ended) < timedelta(minutes=1)
    assert (result.log_tail.splitlines()[-1], result.stage_seconds) == ("hello", {"stage": 2.5})
    assert result.manifests[Artifact.TIFF].total_bytes == 3
    assert bench.run("whole", body, (output,)).reused


def test_the_endpoint_tells_a_job_by_which_task_it_runs(bench):
    task, _, name = bench.run("told", "true").job_id.partition("/")
    assert (bench.logs / name / f"task.{task}").exists()


def test_a_job_that_fails_carries_its_exit_code_and_last_words(bench):
    with pytest.raises(WorkFailedError, match="failed, exit code 3: error: no projections"):
        bench.run("failing", "echo error: no projections >&2; exit 3")


def test_what_goes_to_the_shell_is_the_text_itself_whatever_it_holds(bench):
    assert bench.run("hostile", f"printf %s {quote(HOSTILE)}").log_tail == HOSTILE
    assert not list(bench.twin.world.state_dir.rglob("pwned"))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"account": "als", "queue": "debug", "evil": "rm"}, r"not allowed \('evil' was unexpected\)"),
        ({"account": "als"}, "'queue' is a required property"),
    ],
)
def test_a_configuration_that_the_endpoints_schema_refuses_is_a_failed_job_with_the_reason(bench, config, reason):
    service = bench.service
    rules = service._rules
    service._rules = rules.model_copy(update={"user_endpoint_config": config})
    seen = bench.until(bench.submit("true"), *TERMINAL)
    service._rules = rules
    assert (seen.job_state, seen.exit_code) == (JobState.FAILED, None)
    assert re.search(f"Unable to start user endpoint process.*{reason}", seen.words)


def test_a_submit_whose_answer_was_lost_is_found_by_its_group_and_nothing_runs_twice(bench):
    bench.twin.control.injector.add(Fault(match=SUBMIT, drop=True, after=True))
    assert bench.run("lost", bench.counting("lost")).exit_code == 0
    assert len(bench.tasks("lost")) == 1
    assert bench.counted("lost").read_text() == "once\n"


def test_where_the_service_knows_no_groups_a_lost_task_is_found_by_its_mark_or_its_double_does_nothing(bench):
    bench.twin.compute.conditions = ComputeConditions(takes_group_ids=False)
    bench.twin.control.injector.add(Fault(match=SUBMIT, drop=True, after=True))
    assert bench.run("marked", bench.counting("marked", "sleep 1")).exit_code == 0
    assert bench.counted("marked").read_text() == "once\n"


def test_a_second_task_of_the_same_name_does_nothing_and_ends_as_the_first_one_does(bench):
    name, spec = f"als-{uuid.uuid4().hex}", bench.job(bench.counting("twice", "sleep 2; exit 5"))
    both = [bench.service.submit(spec, name) for _ in range(2)]
    assert [bench.until(job_id, *TERMINAL).exit_code for job_id in both] == [5, 5]
    assert bench.counted("twice").read_text() == "once\n"


def test_a_job_whose_worker_is_gone_is_followed_by_another_one_by_its_id(bench):
    first = make_client(bench.twin, bench.database, bench.globus, "run-2")
    with closing(first):
        job_id = first.submit(bench.job("echo begun; sleep 1; echo ended"), f"als-{uuid.uuid4().hex}")
    seen = bench.until(job_id, *TERMINAL)
    assert seen.job_state is JobState.COMPLETED
    assert bench.facility.log(bench.service.log_paths(bench.job(""), seen)[0], tail_lines=9) == "begun\nended"


def test_what_a_person_cancels_is_gone_and_says_so(bench):
    job_id = bench.submit("echo $$ >cancelled.pid; exec sleep 600")
    process = bench.process("cancelled.pid")
    bench.service.cancel(job_id)
    bench.until(job_id, JobState.CANCELED)
    eventually(lambda: not process.is_running())


def test_a_job_that_runs_longer_than_it_may_is_ended_there(bench):
    with pytest.raises(WorkFailedError, match="it ran longer than it may"):
        bench.run("long", "echo $$ >long.pid; sleep 600", time_limit=timedelta(seconds=1))
    assert not psutil.pid_exists(int((bench.logs / "long.pid").read_text()))


def test_a_task_ends_as_one_of_the_twins_own_workers_does(users):
    commands = ("echo hello; echo error >&2", "exit 3", "sleep 9")
    shell = ShellFunction("{script}", walltime=0.5, return_dict=True)

    def results(user: ComputeUser) -> list[Mapping[str, Any]]:
        more = {"user_endpoint_config": user.rules.user_endpoint_config, "result_serializers": [JSON]}
        tasks = [user.call(shell, {"script": command}, **more) for command in commands]
        return [{"result": user.result(task), **shape(user.ended(task))} for task in tasks]

    real, own = (results(user) for user in users)
    assert real == own
    assert [one["result"]["returncode"] for one in real] == [0, 3, 124]


def test_a_function_that_raises_is_told_as_one_of_the_twins_own_workers_tells_it(users):
    def told(user: ComputeUser) -> list[str]:
        more = {"user_endpoint_config": user.rules.user_endpoint_config}
        document = user.ended(user.call(no_projections, {"rows": 3}, **more))
        lines = document["exception"].splitlines()
        return [*sorted(document), document["status"], lines[0], lines[-1]]

    real, own = (told(user) for user in users)
    assert real == own
    assert real[-1] == "ValueError: no projections in 3 rows"


def test_a_result_of_which_only_python_knows_the_kind_is_not_read_and_the_job_is_believed(bench, users):
    user = users[0]
    task = user.submit("exit 4", user_endpoint_config=user.rules.user_endpoint_config)
    user.ended(task)
    seen = bench.service.job(f"{task}/als-nothing")
    assert (seen.job_state, seen.exit_code) == (JobState.FAILED, None)
    assert "its result is gone, and it has left no mark" in seen.words


def test_a_task_that_the_service_calls_lost_is_believed_by_its_marks(bench):
    job_id = bench.submit("echo $$ >alone.pid; sleep 2; echo ended")
    worker_of(bench.process("alone.pid")).kill()
    eventually(lambda: bench.twin.compute.task(job_id.partition("/")[0])["status"] == "failed")
    assert bench.service.job(job_id).job_state is JobState.ACTIVE
    assert bench.until(job_id, *TERMINAL).job_state is JobState.COMPLETED


def test_a_task_whose_worker_dies_before_its_job_begins_is_told_in_the_engines_words(bench, users):
    user = users[0]
    task = user.submit("kill -9 $PPID", user_endpoint_config=user.rules.user_endpoint_config)
    user.ended(task)
    assert "WorkerLost: Task failure due to loss of worker" in bench.service.job(f"{task}/als-nothing").words


def test_a_job_that_its_endpoint_takes_along_is_interrupted_and_may_be_tried_again(bench, restored):
    def end(_: Record, status: RemoteStatus) -> None:
        if status.state is JobState.ACTIVE:
            bench.endpoint.stop()

    bench.act = end
    with pytest.raises(WorkInterruptedError, match="ended by a signal"):
        bench.run("taken", "sleep 600")


def test_an_endpoint_that_is_offline_is_unavailable_and_tasks_wait_until_it_is_back(bench):
    assert bench.facility.state().health is Health.ACTIVE
    bench.endpoint.stop()
    state = bench.facility.state()
    job_id = bench.submit("true")
    waiting = bench.service.job(job_id)
    bench.endpoint.start()
    assert (state.health, waiting.job_state) == (Health.UNAVAILABLE, JobState.QUEUED)
    assert "is offline" in state.why
    assert bench.until(job_id, *TERMINAL).job_state is JobState.COMPLETED


def test_a_job_whose_node_and_endpoint_are_killed_counts_as_gone_after_its_silence(bench, restored):
    job_id = bench.submit("echo $$ >killed.pid; exec sleep 600")
    process = bench.process("killed.pid")
    bench.endpoint.kill()
    eventually(lambda: not process.is_running())
    assert bench.service.job(job_id).job_state is JobState.ACTIVE
    bench.pass_over_silence(job_id)
    seen = bench.service.job(job_id)
    assert (seen.state, seen.interrupted) == ("gone", True)
    assert eventually(lambda: bench.facility.state().health is Health.UNAVAILABLE)


def worker_of(process: psutil.Process) -> psutil.Process:
    """The engine's process that runs the task."""
    return next(parent for parent in process.parents() if "spawn_main" in " ".join(parent.cmdline()))


def no_projections(rows: int) -> None:
    raise ValueError(f"no projections in {rows} rows")


def shape(document: Mapping[str, Any]) -> dict[str, Any]:
    """What two documents of the same task at two endpoints have in common."""
    details = {name: value for name, value in document["details"].items() if name != "endpoint_id"}
    return {"fields": sorted(document), "status": document["status"], "details": details}
