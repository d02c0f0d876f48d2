"""Faults between a client and the services, as the control API sets them."""

import globus_sdk
import httpx
import pytest

from twin.faults import Fault, FaultInjector
from twin.testing import GlobusUser


def statuses(globus: GlobusUser, match: str) -> list[int | None]:
    return [entry["status"] for entry in globus.control("GET", f"/requests?match={match}")]


def test_a_client_retries_through_errors_and_the_log_shows_each_request(globus: GlobusUser) -> None:
    globus.control("DELETE", "/requests")
    globus.control("POST", "/faults", {"match": "GET */stat", "status": 503, "times": 2})
    globus.client.operation_stat(globus.spot, "/raw")
    assert statuses(globus, "GET */stat") == [503, 503, 200]


def test_a_dropped_connection_has_no_status_and_is_retried(globus: GlobusUser) -> None:
    globus.control("DELETE", "/requests")
    globus.control("POST", "/faults", {"match": "GET */stat", "drop": True})
    globus.client.operation_stat(globus.spot, "/raw")
    assert statuses(globus, "GET */stat") == [None, 200]


def test_a_dropped_connection_is_an_error_of_the_network(globus: GlobusUser) -> None:
    globus.control("POST", "/faults", {"match": "GET /health", "drop": True})
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{globus.twin.url}/health")


def test_a_lost_response_was_executed(globus: GlobusUser) -> None:
    globus.control("POST", "/faults", {"match": "POST */mkdir", "status": 502, "after": True, "body": {"code": "X"}})
    with pytest.raises(globus_sdk.TransferAPIError) as refused:
        globus.client.operation_mkdir(globus.data, "/data/raw/made anyway")
    assert refused.value.code == "ExternalError.MkdirFailed.Exists"
    assert globus.landed("made anyway").is_dir()


def test_a_replaced_response_was_not_executed(globus: GlobusUser) -> None:
    body = {"code": "PermissionDenied", "message": "no"}
    globus.control(
        "POST", "/faults", {"match": "POST */mkdir", "status": 403, "body": body, "headers": {"X-Test": "1"}}
    )
    with pytest.raises(globus_sdk.TransferAPIError) as refused:
        globus.client.operation_mkdir(globus.data, "/data/raw/not made")
    assert (refused.value.code, refused.value.headers["X-Test"]) == ("PermissionDenied", "1")
    assert not globus.landed("not made").exists()


def test_a_late_response_is_the_services_own(globus: GlobusUser) -> None:
    globus.control("POST", "/faults", {"match": "GET */stat", "delay_s": 0.3})
    url = f"{globus.twin.url}/transfer/v0.10/operation/endpoint/{globus.spot}/stat"
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(url, timeout=0.1)
    assert httpx.get(url).status_code == 401


def test_faults_that_wait_are_shown_and_cleared(globus: GlobusUser) -> None:
    globus.control("POST", "/faults", {"match": "GET /health", "status": 500, "times": 3})
    assert httpx.get(f"{globus.twin.url}/health").status_code == 500
    (waiting,) = globus.control("GET", "/faults")
    assert waiting["times"] == 2
    globus.control("DELETE", "/faults")
    assert httpx.get(f"{globus.twin.url}/health").status_code == 200


def test_the_control_api_itself_never_fails(globus: GlobusUser) -> None:
    globus.control("POST", "/faults", {"match": "*", "status": 500, "times": 1000})
    assert globus.control("POST", "/reset")["down"] == []
    assert globus.control("GET", "/faults") == []


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/faults", {"match": "*"}),
        ("/faults", {"match": "*", "status": 500, "drop": True}),
        ("/faults", {"match": "*", "status": 500, "wrong": 1}),
        ("/task_faults", {"name": "a", "code": "NO_SUCH_CODE"}),
    ],
)
def test_a_fault_that_means_nothing_is_refused(globus: GlobusUser, path: str, document: dict[str, object]) -> None:
    answer = httpx.post(f"{globus.twin.url}/control{path}", json=document)
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_conditions_that_mean_nothing_change_nothing(globus: GlobusUser) -> None:
    before = globus.control("GET", "/conditions")
    answer = httpx.patch(
        f"{globus.twin.url}/control/conditions", json={"start_delay_s": 1, "bandwidth_bytes_per_s": -1}
    )
    assert answer.status_code == 422
    assert globus.control("GET", "/conditions") == before


def test_the_first_fault_that_matches_is_taken_and_used_up() -> None:
    injector = FaultInjector()
    injector.add(Fault(match="GET *", status=500))
    injector.add(Fault(match="GET /a", status=501, times=2))
    taken = [injector.take(f"GET {path}") for path in ("/a", "/a", "/b", "/a", "/a")]
    assert [fault and fault.status for fault in taken] == [500, 501, None, 501, None]


def test_a_fault_may_let_some_requests_pass_first() -> None:
    injector = FaultInjector()
    injector.add(Fault(match="GET *", status=500, skip=2))
    taken = [injector.take(request) for request in ("GET /a", "POST /a", "GET /b", "GET /a", "GET /a")]
    assert [fault and fault.status for fault in taken] == [None, None, None, 500, None]


def test_the_time_of_the_twin_is_set_forward_and_never_back(own_globus: GlobusUser) -> None:
    own_globus.control("PATCH", "/clock", {"ahead_s": 3 * 86_400})
    own_globus.client.get_submission_id()
    own_globus.control("PATCH", "/clock", {"ahead_s": 6 * 86_400})
    own_globus.client.get_submission_id()
    answers = own_globus.twin.control.injector.requests("GET */submission_id")
    assert [answer.status for answer in answers] == [200, 401, 200]
    assert httpx.patch(f"{own_globus.twin.url}/control/clock", json={"ahead_s": 0}).status_code == 422
