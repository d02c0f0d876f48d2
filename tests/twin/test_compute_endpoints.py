"""Endpoints that register at the twin: what is asked of them, and what is made of their messages. Without a broker."""

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import globus_sdk
import httpx
import pytest
from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import EPStatusReport, Result, ResultErrorDetails, Task

from twin.compute.endpoints import Endpoints
from twin.server import Twin, serve

ENDPOINT, IDENTITY = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


class MemoryQueues:
    """What has been sent, in order; nothing comes back by itself."""

    def __init__(self) -> None:
        self.commands: list[Mapping[str, Any]] = []
        self.tasks: list[tuple[str, Task]] = []

    def open(self, endpoint: str) -> dict[str, Any]:
        return {"endpoint_id": endpoint}

    def send_command(self, endpoint: str, command: Mapping[str, Any]) -> None:  # noqa: ARG002
        self.commands.append(command)

    def send_task(self, endpoint: str, message: bytes, headers: Mapping[str, Any]) -> None:  # noqa: ARG002
        self.tasks.append((endpoint, messagepack.unpack(message)))


@pytest.fixture
def queues() -> MemoryQueues:
    return MemoryQueues()


@pytest.fixture
def endpoints(queues: MemoryQueues) -> Endpoints:
    made = Endpoints(queues, IDENTITY)
    made.register(ENDPOINT, {})
    return made


def task(**config: str) -> dict[str, Any]:
    own = {"task_id": str(uuid.uuid4()), "function": str(uuid.uuid4()), "payload": "payload"}
    return {**own, "endpoint": ENDPOINT, "config": config, "result_serializers": []}


def heartbeat(endpoint: str, **state: Any) -> bytes:
    return messagepack.pack(EPStatusReport(endpoint_id=endpoint, global_state=state, task_statuses={}))


def test_an_endpoint_is_online_from_its_heartbeat_until_its_last_word(endpoints: Endpoints) -> None:
    seen = [endpoints.is_online(ENDPOINT)]
    for period_s in (30, 0):
        endpoints._take_heartbeat(heartbeat(ENDPOINT, heartbeat_period=period_s))
        seen.append(endpoints.is_online(ENDPOINT))
    assert seen == [False, True, False]


def test_a_configuration_has_one_user_endpoint_and_is_started_with_every_task(endpoints, queues) -> None:
    for one in (task(queue="debug"), task(queue="debug"), task(queue="other")):
        endpoints.begin(one, "function ")
    first, second, third = (endpoint for endpoint, _ in queues.tasks)
    assert first == second != third
    assert [command["kwargs"]["amqp_creds"]["endpoint_id"] for command in queues.commands] == [first, first, third]
    assert queues.tasks[0][1].task_buffer == "function payload"


def test_a_user_endpoint_that_cannot_start_fails_its_tasks_and_the_next_try_has_other_queues(endpoints, queues) -> None:
    failed, later = task(queue="debug"), task(queue="debug")
    endpoints.begin(failed, "function")
    endpoints._take_heartbeat(heartbeat(queues.tasks[0][0], error="no such queue", heartbeat_period=3))
    endpoints.begin(later, "function")
    assert endpoints.outcome(failed) == {"exception": "no such queue"}
    assert endpoints.outcome(later) is None
    assert queues.tasks[0][0] != queues.tasks[1][0]


def test_of_two_results_of_one_task_the_first_counts(endpoints: Endpoints) -> None:
    one = task()
    details = {"endpoint_id": uuid.UUID(ENDPOINT)}
    wrong = ResultErrorDetails(code="x", user_message="x")
    endpoints._take_result(messagepack.pack(Result(task_id=one["task_id"], data="done", details=details)))
    endpoints._take_result(messagepack.pack(Result(task_id=one["task_id"], data="lost", error_details=wrong)))
    assert endpoints.outcome(one) == {"result": "done", "details": {"endpoint_id": ENDPOINT}}


@pytest.fixture
def twin(endpoints: Endpoints, tmp_path: Path) -> Iterator[Twin]:
    with serve(Path(__file__).parents[2] / "config" / "twin.yaml", tmp_path, endpoints=endpoints) as served:
        yield served


def test_an_endpoint_registers_through_the_proxy_at_the_only_address_that_it_knows(twin: Twin) -> None:
    globus = twin.world.deployment.globus
    with globus_sdk.ConfidentialAppAuthClient(
        globus.client_id, twin.world.client_secret, base_url=globus.auth_url
    ) as login:
        answer = login.oauth2_client_credentials_tokens(str(globus_sdk.ComputeClientV3.scopes.all))
    token = answer.by_resource_server["funcx_service"]["access_token"]
    with httpx.Client(proxy=twin.url, headers={"Authorization": f"Bearer {token}"}) as client:
        again = client.put(f"http://localhost:5000/v3/endpoints/{ENDPOINT}", json={"endpoint_name": "alcf"})
        new = client.post("http://localhost:5000/v3/endpoints", json={"endpoint_name": "other"})
    assert again.json() == {"endpoint_id": ENDPOINT}
    assert new.json()["endpoint_id"] != ENDPOINT
