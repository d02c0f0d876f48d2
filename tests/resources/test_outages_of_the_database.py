"""What an outage of the platform's own database is called, whoever asks it: on both databases, with real outages."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from beamlines.decisions import Reason
from beamlines.retention import Retention, RetentionRule
from resources.ages import Ages
from resources.announcements import Announcements
from resources.certificates import Certificates, Deletion, Keeper
from resources.chain import EMPTY
from resources.database import Database
from resources.errors import LedgerUnavailableError
from resources.holds import Holds
from resources.ledger import Ledger
from resources.owner import Owner
from resources.recorded import Recorded, RecordedCopy, Suspect, Suspects
from resources.refusals import Refusal, Refusals
from resources.standings import Standings
from resources.work import WorkKey
from resources.workers import Workers
from tests.resources.conftest import serving_postgres

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCAN, COPY = "BLS-00564_x/a", "alcf/raw"
BY = {"author": "someone", "note": "why", "at": NOW}
ME = Owner.this_process("run")
DELETION = Deletion(COPY, SCAN, 7, "alcf:raw/a.h5", 1, 1, {}, "", (Keeper("nersc/raw", SCAN, "ab", "", ""),), "someone")
RULES = Retention(rules=(RetentionRule(copies=(COPY,), age=timedelta(days=35), keepers=("nersc/raw",)),))

Act = Callable[[Database], object]
READING: dict[str, Act] = {
    "ages": lambda database: Ages(database).now(),
    "announcements": lambda database: Announcements(database).open(after=0, limit=10),
    "certificates, head": lambda database: Certificates(database).head(),
    "certificates, open": lambda database: Certificates(database).open(),
    "certificates, chain": lambda database: Certificates(database).verify(),
    "holds": lambda database: Holds(database).active(NOW),
    "ledger": lambda database: Ledger(database).in_flight(),
    "recorded": lambda database: list(Recorded(database).by_scan()),
    "refusals": lambda database: Refusals(database).of(SCAN),
    "standings": lambda database: Standings(database).of(SCAN),
    "suspects": lambda database: Suspects(database).all(),
    "workers": lambda database: Workers(database).all(),
    "the installation": lambda database: database.installation,
}
WRITING: dict[str, Act] = {
    "ages": lambda database: Ages(database).set(COPY, timedelta(days=3), retention=RULES, **BY),
    "certificates": lambda database: Certificates(database).begin(DELETION, seen=EMPTY, at=NOW),
    "holds": lambda database: Holds(database).hold_scan(SCAN, **BY),
    "ledger": lambda database: Ledger(database).claim(WorkKey(COPY, SCAN, "", ""), ME, NOW),
    "recorded": lambda database: Recorded(database).put([RecordedCopy(SCAN, SCAN, COPY, 7, NOW, 1, 1, None)]),
    "refusals": lambda database: Refusals(database).record([Refusal(COPY, SCAN, Reason.HELD, "")], NOW),
    "standings": lambda database: Standings(database).lift(SCAN, **BY),
    "suspects": lambda database: Suspects(database).add(Suspect(COPY, SCAN, 7, NOW, "damaged")),
    "workers": lambda database: Workers(database).beat(ME, NOW),
}


def used(url: str) -> Database:
    """A database that has its tables, and perhaps a connection that it keeps."""
    database = Database(url)
    assert database.installation
    del database.installation
    return database


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def gone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database that was used, and is away now: its file system, or its server."""
    if request.param == "sqlite":
        folder = tmp_path_factory.mktemp("ledger") / "mounted"
        folder.mkdir()
        database = used(f"sqlite:///{folder}/ledger.sqlite")
        folder.rename(folder.with_name("away"))
        yield database
    else:
        with serving_postgres() as server:
            database = used(server.url.format(database="postgres"))
            server.stop()
            yield database
    database.close()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Database]:
    """A database that can be read, and no more."""
    used(f"sqlite:///{tmp_path}/ledger.sqlite").close()
    database = Database(f"sqlite:///file:{tmp_path}/ledger.sqlite?mode=ro&uri=true")
    yield database
    database.close()


@pytest.mark.parametrize("asked", READING)
def test_a_database_that_is_away_is_named_by_whoever_reads(gone: Database, asked: str) -> None:
    with pytest.raises(LedgerUnavailableError):
        READING[asked](gone)


@pytest.mark.parametrize("told", WRITING)
def test_a_database_that_is_away_is_named_by_whoever_writes(gone: Database, told: str) -> None:
    with pytest.raises(LedgerUnavailableError):
        WRITING[told](gone)


@pytest.mark.parametrize("told", WRITING)
def test_a_database_that_takes_nothing_is_named(read_only: Database, told: str) -> None:
    with pytest.raises(LedgerUnavailableError, match="readonly"):
        WRITING[told](read_only)


@pytest.mark.parametrize("asked", READING)
def test_a_database_that_takes_nothing_can_be_read(read_only: Database, asked: str) -> None:
    READING[asked](read_only)
