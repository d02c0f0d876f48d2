"""Requests that are stopped at a known moment, and how they go on."""

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import globus_sdk
import httpx
import pytest

from twin.testing import GlobusUser, eventually
from twin.traps import Moment, Release, SetTrap, Trap, Traps

MKDIR = """
import sys, globus_sdk
client = globus_sdk.TransferClient(authorizer=globus_sdk.AccessTokenAuthorizer(sys.argv[2]), base_url=sys.argv[1])
client.operation_mkdir(sys.argv[3], sys.argv[4])
"""


def in_background(act: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def token(globus: GlobusUser) -> str:
    service = globus.twin.world.deployment.globus
    secret = globus.twin.world.client_secret
    with globus_sdk.ConfidentialAppAuthClient(service.client_id, secret, base_url=service.auth_url) as login:
        answer = login.oauth2_client_credentials_tokens(requested_scopes=globus_sdk.TransferClient.scopes.all)
    return str(answer.by_resource_server["transfer.api.globus.org"]["access_token"])


def caught(globus: GlobusUser, **trap: Any) -> SetTrap:
    return globus.twin.control.injector.traps.set(Trap(**trap))


def test_the_nth_request_is_held_before_it_is_executed_until_it_is_let_go(globus: GlobusUser) -> None:
    trap = caught(globus, match="POST */mkdir", nth=2)
    globus.client.operation_mkdir(globus.data, "/data/raw/held 1")
    calling = in_background(lambda: globus.client.operation_mkdir(globus.data, "/data/raw/held 2"))
    assert trap.await_catch(10)
    assert (globus.landed("held 1").is_dir(), globus.landed("held 2").is_dir()) == (True, False)
    trap.release()
    calling.join()
    assert globus.landed("held 2").is_dir()


def test_a_request_that_is_dropped_at_its_arrival_is_never_executed(globus: GlobusUser) -> None:
    trap = caught(globus, match="GET /health")
    trap.release(Release.DROP)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{globus.twin.url}/health")
    assert globus.twin.control.injector.requests("GET /health")[-1].status is None


def test_an_answer_is_held_after_the_request_was_executed(globus: GlobusUser) -> None:
    trap = caught(globus, match="POST */mkdir", moment=Moment.EXECUTED)
    calling = in_background(lambda: globus.client.operation_mkdir(globus.data, "/data/raw/executed"))
    assert trap.await_catch(10)
    assert globus.landed("executed").is_dir()
    assert calling.is_alive()
    trap.release()
    calling.join()


def test_an_answer_that_was_sent_is_reported_and_not_held(globus: GlobusUser) -> None:
    trap = caught(globus, match="GET /health", moment=Moment.ANSWERED)
    assert httpx.get(f"{globus.twin.url}/health").status_code == 200
    assert trap.await_catch(10)
    assert trap.request == "GET /health"


def test_what_a_process_has_asked_for_is_executed_although_it_was_killed_meanwhile(globus: GlobusUser) -> None:
    trap = caught(globus, match="POST */mkdir")
    arguments = [str(globus.twin.world.deployment.globus.transfer_url), token(globus), globus.data, "/data/raw/dead"]
    with subprocess.Popen([sys.executable, "-c", MKDIR, *arguments]) as process:
        assert trap.await_catch(20)
        process.kill()
    trap.release()
    assert eventually(globus.landed("dead").is_dir)


def test_traps_are_set_shown_released_and_taken_away_over_the_control_api(globus: GlobusUser) -> None:
    trap = globus.control("POST", "/traps", {"match": "GET /health", "moment": "executed"})
    calling = in_background(lambda: httpx.get(f"{globus.twin.url}/health"))
    (shown,) = eventually(lambda: [one for one in globus.control("GET", "/traps") if one["caught"]])
    assert (shown["id"], shown["request"], shown["released"]) == (trap["id"], "GET /health", None)
    assert globus.control("POST", f"/traps/{trap['id']}/release", {"how": "go_on"})["released"] == "go_on"
    calling.join()
    assert globus.control("DELETE", "/traps") == []
    assert httpx.post(f"{globus.twin.url}/control/traps/{trap['id']}/release", json={}).status_code == 404


def test_a_reset_lets_go_what_is_held(globus: GlobusUser) -> None:
    trap = caught(globus, match="GET /health")
    calling = in_background(lambda: httpx.get(f"{globus.twin.url}/health"))
    assert trap.await_catch(10)
    globus.control("POST", "/reset")
    calling.join()


def test_each_trap_counts_the_requests_that_came_after_it() -> None:
    traps = Traps()
    first = traps.set(Trap(match="GET *", nth=2))
    assert traps.that_stop("GET /a") == []
    second = traps.set(Trap(match="* /b"))
    assert traps.that_stop("GET /b") == [first, second]
    assert traps.that_stop("GET /b") == []
