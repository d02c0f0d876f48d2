"""Two clients of Globus at one twin: what each may do, what each sees, and limits of its own."""

from pathlib import Path

import globus_sdk
import pytest

from twin.server import serve
from twin.testing import GlobusUser, transfer_client


def delete(user: GlobusUser, name: str) -> str:
    data = globus_sdk.DeleteData(user.spot)
    data.add_item(f"/raw/{name}")
    return str(user.client.submit_delete(data)["task_id"])


def test_only_the_client_for_that_may_delete(globus: GlobusUser, deleting: GlobusUser) -> None:
    file = globus.source("clients/kept.h5", b"x")
    with pytest.raises(globus_sdk.TransferAPIError) as refused:
        delete(globus, "clients/kept.h5")
    assert (refused.value.http_status, refused.value.code) == (403, "PermissionDenied")
    assert file.exists()
    assert deleting.ended(delete(deleting, "clients/kept.h5"))["status"] == "SUCCEEDED"
    assert not file.exists()


def test_a_collection_may_let_every_client_delete(globus: GlobusUser) -> None:
    file = globus.source("clients/open.h5", b"x")
    globus.control("PATCH", "/conditions", {"others_may_delete": [globus.spot]})
    globus.ended(delete(globus, "clients/open.h5"))
    assert not file.exists()


def test_where_the_deployment_has_one_client_that_may_delete(deployment_file: Path, tmp_path: Path) -> None:
    text = deployment_file.read_text().replace("enforce: true", "enforce: false")
    head, _, rest = text.partition("  deletes:")
    (tmp_path / "bl832.yaml").write_text((deployment_file.parent / "bl832.yaml").read_text())
    (tmp_path / "one.yaml").write_text(head + rest[rest.index("superfacility:") :])
    with serve(tmp_path / "one.yaml", tmp_path / "state") as twin, transfer_client(twin) as client:
        user = GlobusUser(twin, client)
        file = user.source("a.h5", b"x")
        user.ended(delete(user, "a.h5"))
        assert not file.exists()
        assert list((tmp_path / "state/secrets").glob("globus*")) == [tmp_path / "state/secrets/globus_client_secret"]


def test_a_task_is_seen_and_ended_by_who_has_submitted_it_alone(globus: GlobusUser, deleting: GlobusUser) -> None:
    globus.control("PATCH", "/conditions", {"start_delay_s": 600})
    task = delete(deleting, "clients/never.h5")
    for ask in (globus.client.get_task, globus.client.cancel_task):
        with pytest.raises(globus_sdk.TransferAPIError) as refused:
            ask(task)
        assert (refused.value.http_status, refused.value.code) == (404, "TaskNotFound")
    assert task not in {one["task_id"] for one in globus.client.task_list(limit=1000)}
    assert task in {one["task_id"] for one in deleting.client.task_list(limit=1000)}
    deleting.client.cancel_task(task)


def test_the_limits_are_each_clients_own(globus: GlobusUser, deleting: GlobusUser) -> None:
    globus.control("PATCH", "/conditions", {"start_delay_s": 600})
    for number in range(100):
        globus.submit(f"clients/full{number}.h5")
    with pytest.raises(globus_sdk.TransferAPIError) as refused:
        globus.submit("clients/full100.h5")
    assert refused.value.code == "TooManyPendingJobs"
    globus.control("PATCH", "/conditions", {"start_delay_s": 0})
    file = globus.source("clients/goes.h5", b"x")
    assert deleting.ended(delete(deleting, "clients/goes.h5"))["status"] == "SUCCEEDED"
    assert not file.exists()


def test_the_secret_of_one_client_is_not_the_others(globus: GlobusUser) -> None:
    first, second = globus.twin.world.clients.items()
    service = globus.twin.world.deployment.globus
    with (
        globus_sdk.ConfidentialAppAuthClient(second[0], first[1], base_url=service.auth_url) as login,
        pytest.raises(globus_sdk.AuthAPIError, match="401"),
    ):
        login.oauth2_client_credentials_tokens(globus_sdk.TransferClient.scopes.all)
