"""A SciCat over real HTTP, the real client before it, and an entry to be put there."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from beamlines.catalogue.entries import Entry, ListedFile, Lying, Picture, Taken, Whereabouts
from beamlines.catalogue.identity import raw_pid
from beamlines.catalogue.rules import Restricted
from beamlines.scans import ScanId
from resources.catalogue import Account, Catalogue, ScicatSession
from resources.clock import SystemClock
from resources.database import IN_MEMORY, Database
from resources.gate import Gate
from resources.testing import make_gate
from twin.scicat import Scicat
from twin.scicat.models import check
from twin.server import Twin

NOW = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ON_SITE = Lying("raw", "data832", "/data/raw/BLS-00564_user/scan.h5", on_site=True)
AT_NERSC = Lying("raw", "nersc", "/global/cfs/raw/BLS-00564_user/scan.h5", on_site=False)


@pytest.fixture
def scicat(twin: Twin) -> Iterator[Scicat]:
    assert twin.scicat is not None
    twin.scicat.reset()
    check("CredentialsDto", {"username": "", "password": ""})  # which imports the models, and takes a second
    for held in twin.scicat.all():
        twin.scicat.delete(held["dataset"]["pid"])
    yield twin.scicat
    twin.scicat.reset()


@pytest.fixture
def gate() -> Iterator[Gate]:
    with closing(Database(IN_MEMORY)) as database:
        yield make_gate(database, SystemClock())


@pytest.fixture
def connect(twin: Twin, scicat: Scicat, gate: Gate) -> Iterator[Callable[..., Catalogue]]:
    """Make a client of the catalogue; each has a session of its own."""
    made: list[Catalogue] = []
    service = twin.world.deployment.catalogue
    assert service is not None
    file = Path(str(service.password.file))

    def connected(
        *, url: str = service.url, password: str | None = None, restricted: Restricted = Restricted.ABSENT
    ) -> Catalogue:
        account = Account(service.username, lambda: file.read_text() if password is None else password)
        session = ScicatSession(url, account, timeout_s=2)
        made.append(Catalogue(session, gate, restricted, service.pid_prefix, service.page))
        return made[-1]

    yield connected
    for catalogue in made:
        catalogue.close()


@pytest.fixture
def catalogue(connect: Callable[..., Catalogue]) -> Catalogue:
    return connect()


def entry_of(scan: ScanId, **changes: object) -> Entry:
    """An entry as an ingester and the platform make it."""
    entry = Entry(
        pid=raw_pid("20.500.00000", "bl832", scan),
        name=scan.name,
        description="a rock",
        keywords=("a", "rock"),
        owner="Unknown",
        contact_email="unknown@example.com",
        owner_group="BLS-00564",
        access_groups=("8.3.2", "BLS-00564"),
        created=NOW,
        whereabouts=Whereabouts((ON_SITE,)),
        metadata={"/a/b.c": {"value": 25.0, "unit": "eV"}, "/list": {"value": [1.0, None], "unit": ""}},
        files=(ListedFile("scan.h5", 1_000, "0" * 64, NOW),),
        origin=Taken("Unknown", "/LBNL/ALS/8.3.2", "BLS-00564", "DX"),
        picture=Picture("first look", PNG),
    )
    return replace(entry, **changes)


@pytest.fixture
def scan(request: pytest.FixtureRequest) -> ScanId:
    return ScanId(f"catalogue/{request.node.name}.h5")


@pytest.fixture
def entry(scan: ScanId) -> Entry:
    return entry_of(scan)
