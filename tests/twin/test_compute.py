"""Globus Compute in the twin, driven by Globus's own clients: what it takes, runs, refuses, and remembers."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import globus_sdk
import httpx
import pytest
from globus_compute_sdk import ShellFunction
from globus_compute_sdk.sdk.client import FunctionRegistrationData
from globus_compute_sdk.serialize import AllCodeStrategies, ComputeSerializer, JSONData
from globus_sdk.transport import RetryConfig

from twin.server import Twin, serve

PATIENCE_S = 60


@contextmanager
def clients(twin: Twin) -> Iterator[tuple[globus_sdk.ComputeClientV2, globus_sdk.ComputeClientV3]]:
    globus, once = twin.world.deployment.globus, RetryConfig(max_retries=0)
    login = globus_sdk.ConfidentialAppAuthClient(globus.client_id, twin.world.client_secret, base_url=globus.auth_url)
    app = globus_sdk.ClientApp("test", login_client=login, config=globus_sdk.GlobusAppConfig(token_storage="memory"))
    options: dict[str, Any] = {"app": app, "base_url": globus.compute_url, "retry_config": once}
    v2, v3 = globus_sdk.ComputeClientV2(**options), globus_sdk.ComputeClientV3(**options)
    with login, app, v2, v3:
        yield v2, v3


class User:
    """Whoever submits shell commands to the twin's endpoint."""

    def __init__(self, twin: Twin, v2: globus_sdk.ComputeClientV2, v3: globus_sdk.ComputeClientV3) -> None:
        self.twin, self.v2, self.v3 = twin, v2, v3
        self.rules: Any = twin.world.beamline.facilities["alcf"]

    def register(self, function: Callable[..., Any] | None = None) -> str:
        shell = function or ShellFunction("{script}", walltime=60, return_dict=True)
        serializer = ComputeSerializer(strategy_code=AllCodeStrategies())
        document = FunctionRegistrationData(function=shell, serializer=serializer).to_dict()
        return str(self.v3.register_function(document)["function_uuid"])

    def submit(self, script: str, **more: Any) -> str:
        serializer, function = ComputeSerializer(strategy_data=JSONData()), self.register()
        payload = serializer.pack_buffers([serializer.serialize([]), serializer.serialize({"script": script})])
        document = {"tasks": {function: [payload]}, "create_queue": False, **more}
        return str(self.v3.submit(self.rules.endpoint, document)["tasks"][function][0])

    def ended(self, task: str) -> Mapping[str, Any]:
        give_up = time.monotonic() + PATIENCE_S
        while (document := self.v2.get_task(task).data)["status"] not in ("success", "failed"):
            assert time.monotonic() < give_up, document
            time.sleep(0.05)
        return dict(document)

    def result(self, task: str) -> Any:
        return ComputeSerializer().deserialize(self.ended(task)["result"])


@pytest.fixture(scope="module")
def module_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    file = Path(__file__).parents[2] / "config" / "twin.yaml"
    with serve(file, tmp_path_factory.mktemp("state")) as twin, clients(twin) as (v2, v3):
        yield User(twin, v2, v3)


@pytest.fixture
def user(module_user: User) -> Iterator[User]:
    assert module_user.twin.compute is not None
    yield module_user
    module_user.twin.control.reset()
    module_user.twin.compute.reset()


def test_what_the_client_has_serialized_really_runs_as_on_a_node(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVELOPERS_SECRET", "x")
    task = user.submit('echo "$GC_TASK_UUID $HOME ${DEVELOPERS_SECRET-none}"; exit 3')
    result = user.result(task)
    told, home, secret = result["stdout"].split()
    assert (told, result["returncode"], secret) == (task, 3, "none")
    assert Path(home).is_relative_to(user.twin.world.state_dir)


def test_a_task_is_found_by_the_group_id_that_its_client_chose_unless_that_is_switched_off(user: User) -> None:
    group = str(uuid.uuid4())
    task = user.submit("true", task_group_id=group)
    assert [one["id"] for one in user.v2.get_task_group(group)["tasks"]] == [task]
    httpx.patch(f"{user.twin.url}/control/compute/conditions", json={"takes_group_ids": False}).raise_for_status()
    other = str(uuid.uuid4())
    user.submit("true", task_group_id=other)
    with pytest.raises(globus_sdk.GlobusAPIError, match="not found"):
        user.v2.get_task_group(other)


def test_a_payload_of_more_than_ten_megabytes_is_refused(user: User) -> None:
    with pytest.raises(globus_sdk.GlobusAPIError) as refused:
        user.submit("x" * (10 * 1024**2 + 1))
    assert refused.value.http_status == 413


def test_a_token_for_another_service_opens_nothing_here(user: User) -> None:
    globus = user.twin.world.deployment.globus
    scope = globus_sdk.TransferClient.scopes.all
    answer = httpx.post(
        f"{globus.auth_url}v2/oauth2/token",
        data={"grant_type": "client_credentials", "scope": str(scope)},
        auth=(globus.client_id, user.twin.world.client_secret),
    )
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert httpx.get(f"{globus.compute_url}v2/version", headers=headers).status_code == 403
    assert httpx.get(f"{globus.compute_url}v2/version").status_code == 401
    assert "api" in user.v2.get_version().data


def test_tasks_and_their_results_outlive_a_restart_of_the_twin(tmp_path: Path) -> None:
    file = Path(__file__).parents[2] / "config" / "twin.yaml"
    with serve(file, tmp_path) as twin, clients(twin) as (v2, v3):
        before = User(twin, v2, v3)
        done = before.submit("echo kept")
        before.ended(done)
        httpx.patch(f"{twin.url}/control/compute/conditions", json={"online": False}).raise_for_status()
        waiting = before.submit("echo later")
    with serve(file, tmp_path) as twin, clients(twin) as (v2, v3):
        after = User(twin, v2, v3)
        assert after.result(done)["stdout"] == "kept\n"
        assert after.result(waiting)["stdout"] == "later\n"
