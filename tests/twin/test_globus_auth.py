"""Tokens and consents, through globus_sdk."""

import shutil
from datetime import timedelta
from pathlib import Path

import globus_sdk
import httpx
import pytest

from twin.clock import SettableClock
from twin.server import Twin, serve
from twin.testing import GlobusUser, transfer_client


def token_requests(twin: Twin) -> int:
    return len(twin.control.injector.requests("POST /auth/v2/oauth2/token"))


def test_a_token_that_the_service_forgot_is_renewed_by_the_client(own_globus: GlobusUser) -> None:
    own_globus.client.get_submission_id()
    assert own_globus.control("POST", "/tokens/expire") == {"expired": 1}
    own_globus.client.get_submission_id()
    assert token_requests(own_globus.twin) == 2


def test_a_token_ends_after_its_lifetime(own_globus: GlobusUser, clock: SettableClock) -> None:
    own_globus.client.get_submission_id()
    clock.ahead = timedelta(days=2, seconds=1)
    own_globus.client.get_submission_id()
    answers = own_globus.twin.control.injector.requests("GET */submission_id")
    assert [answer.status for answer in answers] == [200, 401, 200]


def test_a_wrong_secret_gets_no_token(own_globus: GlobusUser) -> None:
    globus = own_globus.twin.world.deployment.globus
    with (
        globus_sdk.ConfidentialAppAuthClient(globus.client_id, "wrong", base_url=globus.auth_url) as login,
        pytest.raises(globus_sdk.AuthAPIError) as refused,
    ):
        login.oauth2_client_credentials_tokens(globus_sdk.TransferClient.scopes.all)
    assert (refused.value.http_status, refused.value.raw_json) == (401, {"error": "invalid_client"})


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer made-up"}])
def test_a_request_without_a_good_token_is_refused(globus: GlobusUser, headers: dict[str, str]) -> None:
    answer = httpx.get(f"{globus.twin.url}/transfer/v0.10/task_list", headers=headers)
    assert answer.status_code == 401
    assert "AuthenticationFailed" in answer.json()["code"]


@pytest.fixture
def consenting_file(tmp_path: Path, deployment_file: Path) -> Path:
    """A deployment whose acquisition machine asks for data_access."""
    shutil.copy(deployment_file, tmp_path)
    text = (deployment_file.parent / "bl832.yaml").read_text()
    changed = text.replace("    role: acquisition\n", "    role: acquisition\n    data_access_consent: true\n")
    (tmp_path / "bl832.yaml").write_text(changed)
    return tmp_path / deployment_file.name


def test_a_collection_may_ask_for_consent_and_names_the_scope(consenting_file: Path, tmp_path: Path) -> None:
    with serve(consenting_file, tmp_path / "state") as twin, transfer_client(twin) as client:
        spot = GlobusUser(twin, client).spot
        with pytest.raises(globus_sdk.TransferAPIError) as refused:
            client.operation_ls(spot, "/raw")
        with pytest.raises(globus_sdk.TransferAPIError) as submit:
            GlobusUser(twin, client).submit("a.h5")
        wanted = refused.value.info.consent_required
        with transfer_client(twin, [spot]) as consenting:
            assert [entry["name"] for entry in consenting.operation_ls(spot, "/raw")] == ["transfer_tests"]
    assert [(error.value.http_status, error.value.code) for error in (refused, submit)] == [
        (403, "ConsentRequired")
    ] * 2
    assert wanted.required_scopes == [
        f"urn:globus:auth:scope:transfer.api.globus.org:all[*https://auth.globus.org/scopes/{spot}/data_access]"
    ]


def test_a_client_may_ask_who_it_is_with_the_token_for_that(globus: GlobusUser) -> None:
    named = globus.twin.world.deployment.globus
    scopes = [globus_sdk.AuthClient.scopes.openid, globus_sdk.AuthClient.scopes.manage_projects]
    with globus_sdk.ConfidentialAppAuthClient(
        named.client_id, globus.twin.world.client_secret, base_url=named.auth_url
    ) as login:
        answer = login.oauth2_client_credentials_tokens([*scopes, globus_sdk.TransferClient.scopes.all])
    tokens = {service: found["access_token"] for service, found in answer.by_resource_server.items()}

    def ask(service: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {tokens[service]}"}
        return httpx.get(f"{named.auth_url}v2/oauth2/userinfo", headers=headers)

    whoever = ask("auth.globus.org").json()
    assert (whoever["sub"], [one["sub"] for one in whoever["identity_set"]]) == (named.client_id, [named.client_id])
    assert ask("transfer.api.globus.org").status_code == 401
