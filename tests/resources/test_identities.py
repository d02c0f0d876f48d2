"""Deletes are asked for by a client of their own: which one it is, whatever dies or is refused in between."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beamlines.config import ConfigurationError
from beamlines.places import Location
from beamlines.scans import ScanId
from resources.errors import CredentialsRefusedError, ServiceRefusedError
from resources.identities import DELETES, TRANSFERS
from resources.testing import Desk
from resources.work import Record, WorkKey, WorkState
from twin.globus.task import Kind, Task
from twin.server import Twin
from twin.testing import eventually
from twin.traps import Moment, Release, Trap

SUBJECT = ScanId("identities/a.h5")
SUBMIT = "POST */v0.10/delete"
PROJECT = Path(__file__).parents[2]
WORKER = """
import sys
from pathlib import Path
from resources.database import Database
from resources.ledger import Ledger
from resources.settings import load_settings, secret
from resources.testing import Desk
from tests.resources.test_identities import SUBJECT, deletion

state, url, ledger, path = sys.argv[1:]
settings = load_settings(Path("config/twin.yaml"), {"ALS_STATE": state, "ALS_TWIN_URL": url})
globus = settings.deployment.globus
desk = Desk(settings.beamline, globus, secret(globus.client_secret), Ledger(Database(ledger)), run_id="killed")
location = desk.raw("spot832", path)
desk.transfer.delete(SUBJECT, location, deletion(location), desk.pulses, recursive=False)
"""


def deletion(location: Location) -> WorkKey:
    return WorkKey("bl832/spot832/raw#retention 1", location.name, "", "")


def put(desk: Desk, path: str) -> Location:
    location = desk.raw("spot832", path)
    desk.put(location, b"x")
    return location


def deletes(twin: Twin, location: Location) -> list[Task]:
    """The deletes of one file, the newest first."""
    tasks = [task for task in twin.engine.tasks() if task.kind is Kind.DELETE]
    return [task for task in tasks if [item.path for item in task.document.DATA] == [location.on_collection]]  # type: ignore[union-attr]


def last(desk: Desk, location: Location) -> Record:
    record = desk.ledger.last(deletion(location))
    assert record is not None
    return record


@pytest.fixture
def deleter(twin: Twin) -> str:
    client = twin.world.deployment.globus.deletes
    assert client is not None
    return client.client_id


@pytest.fixture
def alone(desk: Desk) -> Iterator[Desk]:
    """The same desk in a deployment that has one client, which may do all."""
    yield (other := desk.but(service=desk.service.model_copy(update={"deletes": None}), run_id="alone"))
    other.identities.close()


def test_copies_and_deletes_are_asked_for_by_different_clients(desk: Desk, twin: Twin, deleter: str) -> None:
    receipt = desk.copy(desk.scan("identities/copied.h5", b"x"))
    location = put(desk, "identities/deleted.h5")
    desk.transfer.delete(SUBJECT, location, deletion(location), desk.pulses, recursive=False)
    copied = twin.engine.find(receipt.task_id)
    assert copied is not None
    assert copied.owner == desk.service.client_id
    assert [task.owner for task in deletes(twin, location)] == [deleter]
    assert last(desk, location).client == deleter


def test_a_delete_by_the_client_that_transfers_is_refused_and_names_that_client(desk: Desk) -> None:
    location = put(desk, "identities/kept.h5")
    transfer = desk.transfer.as_who_transfers()
    with pytest.raises(ServiceRefusedError, match="403 PermissionDenied") as refused:
        transfer.delete(SUBJECT, location, deletion(location), desk.pulses, recursive=False)
    assert refused.value.meaning == f"client {desk.service.client_id} may not do that there"
    assert Path(location.posix).exists()


@contextmanager
def worker(twin: Twin, desk: Desk, path: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Another process that deletes ``path``; killed at the end."""
    arguments = [str(twin.world.state_dir), twin.url, desk.ledger.database.url, path]
    process = subprocess.Popen([sys.executable, "-c", WORKER, *arguments], cwd=PROJECT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_worker_that_dies_between_submit_and_answer_is_followed_as_the_client_that_deletes(
    desk: Desk, twin: Twin, deleter: str
) -> None:
    location = put(desk, "identities/died.h5")
    caught = twin.control.injector.traps.set(Trap(match=SUBMIT, moment=Moment.EXECUTED))
    with worker(twin, desk, "identities/died.h5"):
        assert caught.await_catch(30)
    caught.release(Release.DROP)
    left = last(desk, location)
    assert (left.state, left.handle, left.client) == (WorkState.INTENT, None, deleter)
    receipt = desk.transfer.delete(SUBJECT, location, deletion(location), desk.pulses, recursive=False)
    assert [(task.id, task.owner) for task in deletes(twin, location)] == [(receipt.task_id, deleter)]


def test_what_one_client_has_begun_is_gone_on_with_as_that_one(desk: Desk, alone: Desk, twin: Twin) -> None:
    location = put(desk, "identities/before.h5")
    collection = location.place.collection
    twin.control.board.change({"start_delay_s": 600, "others_may_delete": [collection]})
    begun = alone.transfer.begin_delete(SUBJECT, location, deletion(location), recursive=False)
    alone.remote.release_open()
    task = twin.engine.find(str(begun.attempt.record.handle))
    assert task is not None
    record = last(desk, location)
    assert desk.identities.of(record) is desk.identities.transfers
    resumed = desk.transfer.begin_delete(SUBJECT, location, deletion(location), recursive=False)
    assert resumed.attempt.record.handle == task.id
    assert desk.remote.cancel_open()
    eventually(lambda: task.status == "FAILED")
    assert deletes(twin, location) == [task]


@pytest.mark.parametrize("secret", ["wrong", "", "unreadable"])
def test_without_the_secret_of_the_client_that_deletes_nothing_is_deleted_and_all_else_works(
    desk: Desk, deleter: str, secret: str
) -> None:
    def read() -> str:
        if secret == "unreadable":
            raise ConfigurationError("the file does not exist")
        return secret

    other = desk.but(deletes_secret=read, run_id="no secret")
    location = put(desk, f"identities/{secret or 'empty'}.h5")
    with pytest.raises(CredentialsRefusedError) as refused:
        other.transfer.delete(SUBJECT, location, deletion(location), other.pulses, recursive=False)
    assert deleter in str(refused.value)
    assert Path(location.posix).exists()
    assert other.copy(other.scan(f"identities/copied-{secret}.h5", b"x")).task_id
    assert other.transfer.stat(location).size_bytes == 1
    desk.transfer.delete(SUBJECT, location, deletion(location), desk.pulses, recursive=False)
    assert not Path(location.posix).exists()
    other.identities.close()


def test_the_service_is_called_by_who_sees_the_task(desk: Desk, alone: Desk) -> None:
    assert list(desk.identities.by_service()) == [TRANSFERS, DELETES]
    assert list(alone.identities.by_service()) == [TRANSFERS]
    location = put(desk, "identities/said.h5")
    desk.transfer.delete(SUBJECT, location, deletion(location), desk.pulses, recursive=False)
    record = last(desk, location)
    assert desk.identities.service_of(record) == DELETES
    assert alone.identities.service_of(record) == TRANSFERS
