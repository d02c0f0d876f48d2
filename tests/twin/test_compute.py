"""Globus Compute in the twin, driven by Globus's own clients: what it takes, runs, refuses, and remembers."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import globus_sdk
import httpx
import pytest

from twin.compute.testing import ComputeUser, compute_user
from twin.server import serve


@pytest.fixture(scope="module")
def module_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComputeUser]:
    file = Path(__file__).parents[2] / "config" / "twin.yaml"
    with serve(file, tmp_path_factory.mktemp("state")) as twin, compute_user(twin) as user:
        yield user


@pytest.fixture
def user(module_user: ComputeUser) -> Iterator[ComputeUser]:
    assert module_user.twin.compute is not None
    yield module_user
    module_user.twin.control.reset()
    module_user.twin.compute.reset()


def test_what_the_client_has_serialized_really_runs_as_on_a_node(
    user: ComputeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVELOPERS_SECRET", "x")
    task = user.submit('echo "$GC_TASK_UUID $HOME ${DEVELOPERS_SECRET-none}"; exit 3')
    result = user.result(task)
    told, home, secret = result["stdout"].split()
    assert (told, result["returncode"], secret) == (task, 3, "none")
    assert Path(home).is_relative_to(user.twin.world.state_dir)


def test_a_task_is_found_by_the_group_id_that_its_client_chose_unless_that_is_switched_off(user: ComputeUser) -> None:
    group = str(uuid.uuid4())
    task = user.submit("true", task_group_id=group)
    assert [one["id"] for one in user.v2.get_task_group(group)["tasks"]] == [task]
    httpx.patch(f"{user.twin.url}/control/compute/conditions", json={"takes_group_ids": False}).raise_for_status()
    other = str(uuid.uuid4())
    user.submit("true", task_group_id=other)
    with pytest.raises(globus_sdk.GlobusAPIError, match="not found"):
        user.v2.get_task_group(other)


def test_a_payload_of_more_than_ten_megabytes_is_refused(user: ComputeUser) -> None:
    with pytest.raises(globus_sdk.GlobusAPIError) as refused:
        user.submit("x" * (10 * 1024**2 + 1))
    assert refused.value.http_status == 413


def test_a_token_for_another_service_opens_nothing_here(user: ComputeUser) -> None:
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
    with serve(file, tmp_path) as twin, compute_user(twin) as before:
        done = before.submit("echo kept")
        before.ended(done)
        httpx.patch(f"{twin.url}/control/compute/conditions", json={"online": False}).raise_for_status()
        waiting = before.submit("echo later")
    with serve(file, tmp_path) as twin, compute_user(twin) as after:
        assert after.result(done)["stdout"] == "kept\n"
        assert after.result(waiting)["stdout"] == "later\n"
