"""A twin over real HTTP, and the real Globus client that drives it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from twin.clock import SettableClock
from twin.server import Twin, serve
from twin.testing import GlobusUser, transfer_client

DEPLOYMENT_FILE = Path(__file__).parents[2] / "config" / "twin.yaml"
RETRY_DELAY_S = 0.02


@pytest.fixture
def deployment_file() -> Path:
    return DEPLOYMENT_FILE


@pytest.fixture(scope="module")
def module_twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    with serve(DEPLOYMENT_FILE, tmp_path_factory.mktemp("state")) as twin:
        yield twin


@pytest.fixture
def globus(module_twin: Twin) -> Iterator[GlobusUser]:
    """A twin that the tests of one file share; files stay, so every test uses names of its own."""
    module_twin.control.board.change({"retry_delay_s": RETRY_DELAY_S})
    with transfer_client(module_twin) as client:
        yield GlobusUser(module_twin, client)
    module_twin.control.reset()
    for task in module_twin.engine.tasks():
        module_twin.engine.cancel(task)


@pytest.fixture
def deleting(globus: GlobusUser) -> Iterator[GlobusUser]:
    """The client that deletes, at the same twin."""
    with transfer_client(globus.twin, client=globus.twin.world.deployment.globus.deletes) as client:
        yield GlobusUser(globus.twin, client)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def own_globus(tmp_path: Path, clock: SettableClock) -> Iterator[GlobusUser]:
    """A twin of one test, whose clock the test moves."""
    with serve(DEPLOYMENT_FILE, tmp_path, clock=clock) as twin:
        twin.control.board.change({"retry_delay_s": RETRY_DELAY_S})
        with transfer_client(twin) as client:
            yield GlobusUser(twin, client)
