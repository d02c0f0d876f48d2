"""The twin's SciCat refuses what the backend refuses, keeps what it takes, and shows it harmlessly."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from twin.clock import SettableClock
from twin.scicat import Scicat
from twin.server import Twin, serve
from twin.testing import eventually

RAW: dict[str, Any] = {
    "type": "raw",
    "ownerGroup": "8.3.2",
    "accessGroups": ["8.3.2"],
    "owner": "Unknown",
    "contactEmail": "unknown@example.com",
    "sourceFolder": "/data/raw",
    "creationTime": "2026-01-01T00:00:00.000Z",
    "datasetName": "scan",
    "principalInvestigator": "Unknown",
    "creationLocation": "/LBNL/ALS/8.3.2",
}
DERIVED: dict[str, Any] = {
    **{name: value for name, value in RAW.items() if name not in ("principalInvestigator", "creationLocation")},
    "type": "derived",
    "investigator": "Unknown",
    "inputDatasets": ["20.500/a"],
    "usedSoftware": ["x 1"],
}
BLOCK: dict[str, Any] = {
    "size": 1,
    "chkAlg": "sha256",
    "dataFileList": [{"path": "a.h5", "size": 1, "time": "2026-01-01T00:00:00Z", "chk": "0"}],
}
PICTURE = {"ownerGroup": "8.3.2", "caption": "a picture", "thumbnail": "data:image/png;base64,AAAA"}


@pytest.fixture
def scicat(module_twin: Twin) -> Iterator[Scicat]:
    assert module_twin.scicat is not None
    yield module_twin.scicat
    module_twin.scicat.reset()


@pytest.fixture
def client(module_twin: Twin, scicat: Scicat) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{module_twin.url}/scicat/api/v3/", timeout=20) as made:
        made.headers["authorization"] = f"Bearer {log_in(module_twin, made).json()['access_token']}"
        yield made


def log_in(twin: Twin, client: httpx.Client, **changes: str) -> httpx.Response:
    service = twin.world.deployment.catalogue
    assert service is not None
    password = Path(str(service.password.file)).read_text()
    return client.post("auth/login", json={"username": service.username, "password": password, **changes})


def refused(answer: httpx.Response, says: str) -> None:
    assert answer.status_code == 400, answer.text
    assert says in json.dumps(answer.json()["message"])
    assert answer.json()["error"] == "Bad Request"


def created(client: httpx.Client, **changes: Any) -> str:
    answer = client.post("Datasets", json={**RAW, **changes})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["pid"]).replace("/", "%2F")


@pytest.mark.parametrize("document", [RAW, DERIVED], ids=["raw", "derived"])
def test_what_the_backend_takes_is_taken(client: httpx.Client, document: dict[str, Any]) -> None:
    answer = client.post("Datasets", json=document)
    assert answer.status_code == 201
    pid = answer.json()["pid"].replace("/", "%2F")
    assert client.get(f"Datasets/{pid}").json()["datasetName"] == "scan"


@pytest.mark.parametrize("name", sorted(set(RAW) - {"accessGroups"}))
def test_what_a_raw_dataset_must_have_is_asked_for(client: httpx.Client, name: str) -> None:
    answer = client.post("Datasets", json={key: value for key, value in RAW.items() if key != name})
    refused(answer, name)


@pytest.mark.parametrize("name", ["investigator", "inputDatasets", "usedSoftware"])
def test_what_a_derived_dataset_must_have_is_asked_for(client: httpx.Client, name: str) -> None:
    refused(client.post("Datasets", json={key: value for key, value in DERIVED.items() if key != name}), name)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"unknown": 1}, "property unknown should not exist"),
        ({"owner_group": "a"}, "property owner_group should not exist"),
        ({"datasetlifecycle": {"unknown": 1}}, "should not exist"),
        ({"techniques": [{"pid": "a", "name": "b", "unknown": 1}]}, "should not exist"),
        ({"contactEmail": "Unknown"}, "contactEmail must be an email"),
        ({"contactEmail": "a@b"}, "contactEmail must be an email"),
        ({"contactEmail": "a..b@c.org"}, "contactEmail must be an email"),
        ({"ownerEmail": ""}, "ownerEmail must be an email"),
        ({"creationTime": "yesterday"}, "creationTime"),
        ({"creationTime": 1_700_000_000}, "creationTime must be a valid ISO 8601 date string"),
        ({"datasetlifecycle": {"dateOfDiskPurging": 5}}, "dateOfDiskPurging must be a valid ISO 8601"),
        ({"size": "5"}, "size"),
        ({"isPublished": "false"}, "isPublished"),
        ({"keywords": "a, b"}, "keywords"),
        ({"accessGroups": [1]}, "accessGroups"),
        ({"scientificMetadata": "none"}, "scientificMetadata"),
        ({"type": "simulated"}, "type must be one of the following values"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_the_backend_refuses_is_refused(client: httpx.Client, changes: dict[str, Any], says: str) -> None:
    refused(client.post("Datasets", json={**RAW, **changes}), says)


def test_a_derived_dataset_has_no_instrument(client: httpx.Client) -> None:
    refused(client.post("Datasets", json={**DERIVED, "instrumentId": "8.3.2"}), "instrumentId should not exist")


def test_an_empty_owner_is_taken_as_the_backend_takes_it(client: httpx.Client) -> None:
    assert client.post("Datasets", json={**RAW, "ownerGroup": ""}).status_code == 201


def test_a_pid_is_there_once(client: httpx.Client) -> None:
    assert client.post("Datasets", json={**RAW, "pid": "20.500/once"}).status_code == 201
    assert client.post("Datasets", json={**RAW, "pid": "20.500/once"}).status_code == 409


@pytest.mark.parametrize("name", ["pid", "type", "unknown"])
def test_an_update_names_neither_pid_nor_type(client: httpx.Client, name: str) -> None:
    pid = created(client)
    assert client.patch(f"Datasets/{pid}", json={"owner": "another"}).json()["owner"] == "another"
    refused(client.patch(f"Datasets/{pid}", json={name: "raw"}), f"property {name} should not exist")


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b""])
def test_what_is_no_object_is_refused(client: httpx.Client, body: bytes) -> None:
    assert client.post("Datasets", content=body).status_code == 400


def test_what_is_too_long_is_refused(client: httpx.Client) -> None:
    assert client.post("Datasets", json={**RAW, "description": "x" * 17 * 1024**2}).status_code == 413


def test_files_and_bytes_are_counted_by_the_backend(client: httpx.Client) -> None:
    pid = created(client)
    made = client.post(f"Datasets/{pid}/origdatablocks", json=BLOCK).json()
    assert [client.get(f"Datasets/{pid}").json()[name] for name in ("size", "numberOfFiles")] == [1, 1]
    assert client.delete(f"Datasets/{pid}/origdatablocks/{made['_id']}").status_code == 200
    assert client.get(f"Datasets/{pid}").json()["size"] == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"chkAlg": 5}, "chkAlg"), ({"dataFileList": []}, "dataFileList"), ({"unknown": 1}, "should not exist")],
    ids=["a number", "no file", "unknown"],
)
def test_a_list_of_files_is_refused_as_the_backend_does(
    client: httpx.Client, changes: dict[str, Any], says: str
) -> None:
    refused(client.post(f"Datasets/{created(client)}/origdatablocks", json={**BLOCK, **changes}), says)


@pytest.mark.parametrize("name", ["ownerGroup", "caption"])
def test_a_picture_has_an_owner_and_a_caption(client: httpx.Client, name: str) -> None:
    document = {key: value for key, value in PICTURE.items() if key != name}
    refused(client.post(f"Datasets/{created(client)}/attachments", json=document), name)


@pytest.mark.parametrize("path", ["Datasets/none", "Datasets/none/attachments", "Datasets/none/origdatablocks"])
def test_what_is_not_there_is_not_found(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


# -- accounts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"password": "wrong"}, {"username": "another"}], ids=["password", "name"])
def test_only_the_account_logs_in(module_twin: Twin, client: httpx.Client, changes: dict[str, str]) -> None:
    assert log_in(module_twin, client, **changes).status_code == 401


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer x.y.z"])
def test_without_a_token_nothing_is_answered(client: httpx.Client, token: str) -> None:
    assert client.get("Datasets", headers={"authorization": token}).status_code == 401


def test_a_token_ends(tmp_path: Path, deployment_file: Path) -> None:
    clock = SettableClock()
    with serve(deployment_file, tmp_path, clock=clock) as twin, httpx.Client(timeout=20) as client:
        client.base_url = httpx.URL(f"{twin.url}/scicat/api/v3/")
        client.headers["authorization"] = f"Bearer {log_in(twin, client).json()['id']}"
        assert client.get("Datasets").status_code == 200
        clock.ahead = timedelta(hours=2)
        assert client.get("Datasets").status_code == 401


def test_its_owner_sets_what_goes_wrong(module_twin: Twin, client: httpx.Client) -> None:
    control = f"{module_twin.url}/control/scicat/"
    pid = created(client)
    assert httpx.post(control, json={"may_delete": False}).json()["may_delete"] is False
    assert client.delete(f"Datasets/{pid}").status_code == 403
    assert httpx.post(control, json={"expire_now": True}).status_code == 200
    assert client.get("Datasets").status_code == 401
    assert httpx.post(control, json={"unknown": 1}).status_code == 422
    assert httpx.post(f"{control}reset").json()["may_delete"] is True


# -- what is kept, and how it is shown ---------------------------------------------------------------------------


def test_it_keeps_what_it_has_when_it_is_started_again(tmp_path: Path, deployment_file: Path) -> None:
    with serve(deployment_file, tmp_path) as twin:
        assert twin.scicat is not None
        twin.scicat.create({**RAW, "pid": "20.500/kept"})
        twin.scicat.add_block("20.500/kept", BLOCK)
        twin.scicat.create({**RAW, "pid": "20.500/gone"})
        twin.scicat.delete("20.500/gone")
        before = twin.scicat.all()
    with serve(deployment_file, tmp_path) as twin:
        assert twin.scicat is not None
        assert twin.scicat.all() == before
        assert len(before) == 1


def test_the_pages_show_every_text_harmlessly(module_twin: Twin, scicat: Scicat) -> None:
    hostile = '<script>alert("1")</script>\'"><img src=x onerror=alert(1)>'
    changes = {"datasetName": hostile, "description": hostile, "ownerGroup": hostile, "sourceFolder": hostile}
    made = scicat.create({**RAW, **changes, "pid": "20.500/<b>", "scientificMetadata": {hostile: hostile}})
    scicat.add_picture(made["pid"], {**PICTURE, "caption": hostile, "thumbnail": f"data:,{hostile}"})
    pages = [httpx.get(f"{module_twin.url}/scicat/{path}") for path in ("", "datasets/20.500%2F%3Cb%3E")]
    assert [page.status_code for page in pages] == [200, 200]
    for page in pages:
        assert "alert" in page.text
        assert "<script" not in page.text
        assert "<img src=x" not in page.text
        assert "<b>" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
    missing = httpx.get(f"{module_twin.url}/scicat/datasets/%3Cscript%3E")
    assert missing.status_code == 404
    assert "<script" not in missing.text


def test_many_at_once_lose_nothing(module_twin: Twin, scicat: Scicat, client: httpx.Client) -> None:
    pid = created(client)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post(f"Datasets/{pid}/origdatablocks", json=BLOCK), range(40)))
    assert {answer.status_code for answer in answers} == {201}
    assert eventually(lambda: client.get(f"Datasets/{pid}").json()["numberOfFiles"] == 40)
