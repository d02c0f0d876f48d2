"""A Dagster instance, a daemon that ticks the real sensors, and a twin that they look at over HTTP."""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from als_assets.definitions import compose
from resources.database import Database
from resources.ledger import Ledger
from resources.settings import Settings
from resources.testing import Desk, SleptClock
from sensors.testing import Daemon
from twin.server import Twin, serve

IN_MEMORY = Path("/dev/shm")
DEPLOYMENT_FILE = Path(__file__).parents[2] / "config" / "twin.yaml"


@pytest.fixture(scope="session")
def shared_twin(tmp_path_factory: pytest.TempPathFactory, loaded_programs: Path) -> Iterator[Twin]:
    with serve(DEPLOYMENT_FILE, tmp_path_factory.mktemp("state"), program=loaded_programs) as twin:
        yield twin


@pytest.fixture
def twin(shared_twin: Twin) -> Iterator[Twin]:
    """A twin without faults, whose acquisition machine is empty."""
    shared_twin.control.reset()
    yield shared_twin
    shared_twin.control.reset()
    raw = Path(shared_twin.world.beamline.places["spot832"].posix_root) / "raw"
    for path in sorted(raw.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.fixture
def desk(twin: Twin, tmp_path: Path) -> Iterator[Desk]:
    ledger = Ledger(Database(f"sqlite:///{tmp_path}/ledger.sqlite"))
    desk = Desk(twin.world.beamline, twin.world.deployment.globus, lambda: twin.world.client_secret, ledger)
    yield desk
    desk.identities.close()
    ledger.database.close()


@pytest.fixture
def clock() -> SleptClock:
    """Files of the twin have true times, so this begins at one; after that only sleeping moves it."""
    return SleptClock(time=datetime.now(UTC))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance on SQLite, in memory where the system has a folder for that: every event is a commit."""
    with (
        tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder,
        dg.instance_for_test(temp_dir=folder) as instance,
    ):
        yield instance


@pytest.fixture
def settings(twin: Twin) -> Settings:
    return Settings(twin.world.deployment, twin.world.beamline)


@pytest.fixture
def resources(desk: Desk, clock: SleptClock) -> dict[str, dg.ResourceDefinition]:
    """What replaces the deployment's own: the desk's clients, and a clock that only sleeping moves."""
    replaced = {
        "transfer": desk.transfer,
        "clock": clock,
        "database": desk.ledger.database,
        "globus": desk.identities,
    }
    return {name: dg.ResourceDefinition.hardcoded_resource(value) for name, value in replaced.items()}


@pytest.fixture
def definitions(settings: Settings, resources: dict[str, dg.ResourceDefinition]) -> dg.Definitions:
    return compose(settings, **resources)


@pytest.fixture
def daemon(definitions: dg.Definitions, instance: dg.DagsterInstance, clock: SleptClock) -> Daemon:
    return Daemon(instance, definitions.get_repository_def(), clock)
