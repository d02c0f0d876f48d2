"""A twin over real HTTP, and a desk from which the real Globus client copies between its places."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from resources.certificates import Certificates
from resources.database import Database
from resources.ledger import Ledger
from resources.testing import Desk
from twin.server import Twin, serve

DEPLOYMENT_FILE = Path(__file__).parents[2] / "config" / "twin.yaml"


@pytest.fixture(scope="module")
def shared_twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    with serve(DEPLOYMENT_FILE, tmp_path_factory.mktemp("state")) as twin:
        yield twin


@pytest.fixture
def twin(shared_twin: Twin) -> Iterator[Twin]:
    """A twin without faults that the tests of one file share; files stay, so every test uses names of its own."""
    shared_twin.control.reset()
    shared_twin.control.board.change({"retry_delay_s": 0.02})
    yield shared_twin
    shared_twin.control.reset()
    for task in shared_twin.engine.tasks():
        shared_twin.engine.cancel(task)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(Database(f"sqlite:///{tmp_path}/ledger.sqlite"))
    yield ledger
    ledger.database.close()


@pytest.fixture
def desk(twin: Twin, ledger: Ledger) -> Iterator[Desk]:
    desk = Desk(twin.world.beamline, twin.world.deployment.globus, lambda: twin.world.client_secret, ledger)
    yield desk
    desk.identities.close()


# -- databases ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PostgresServer:
    """A private PostgreSQL server on a socket in a folder of its own."""

    folder: Path
    programs: Path
    as_other: Sequence[str]

    @property
    def url(self) -> str:
        """Without a database."""
        return f"postgresql+psycopg2://als@/{{database}}?host={self.folder}"

    def run(self, program: str, *arguments: str) -> None:
        command = [*self.as_other, str(self.programs / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        self.run("pg_ctl", "stop", "--mode=immediate")


@contextmanager
def serving_postgres() -> Iterator[PostgresServer]:
    """A server that runs, and whose folder goes in the end; whoever has it stops it."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("no PostgreSQL server on this machine: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="als-postgres-"))
    folder.chmod(0o700)
    as_other: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "nobody")
        as_other = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    server = PostgresServer(folder, programs[-1].parent, as_other)
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    try:
        server.run("initdb", "--username=als", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
        server.run("pg_ctl", "start", "--wait", "--log", str(folder / "log"), "--options", options)
        yield server
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server, without a database."""
    with serving_postgres() as server:
        yield server.url
        server.stop()


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """An empty database of its own."""
    name = f"t{uuid.uuid4().hex}"
    engine = sa.create_engine(postgres_server.format(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return postgres_server.format(database=name)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def database(ledger_url: str) -> Iterator[Database]:
    database = Database(ledger_url)
    yield database
    database.close()


@pytest.fixture
def log(database: Database) -> Certificates:
    return Certificates(database)
