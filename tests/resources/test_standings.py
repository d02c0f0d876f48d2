"""What is kept of each scan apart from its copies, on both databases."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from beamlines.announcements import Announcement
from beamlines.config import Beamline
from beamlines.decisions import Reason
from beamlines.standing import SeenFile, Standing
from resources.announcements import Announcements
from resources.database import Database
from resources.errors import NoNoteError
from resources.settings import PROJECT, load_settings
from resources.standings import Standings

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FILE = SeenFile(1_000_000_000_000, NOW)
LATER = SeenFile(12, NOW + timedelta(seconds=1))
SCAN = "BLS-00564_x/20260101_120000_a"


@pytest.fixture(scope="module")
def beamline() -> Beamline:
    return load_settings(PROJECT / "config" / "twin.yaml", {}).beamline


@pytest.fixture
def database(ledger_url: str) -> Iterator[Database]:
    database = Database(ledger_url)
    yield database
    database.close()


@pytest.fixture
def standings(database: Database) -> Standings:
    return Standings(database)


@pytest.fixture
def inbox(database: Database) -> Announcements:
    return Announcements(database)


def said(standings: Standings) -> list[tuple[str, str, str]]:
    return [(entry.what, entry.author, entry.note) for entry in standings.history(SCAN)]


def restrict(standings: Standings, reason: Reason = Reason.RESTRICTED_BY_OPERATOR) -> None:
    standings.restrict(SCAN, reason, author="dula", note="contract 7", at=NOW)


def test_of_a_scan_that_nobody_knows_nothing_is_known(standings: Standings) -> None:
    assert standings.of(SCAN) == Standing()
    assert standings.of_many([SCAN]) == {}
    assert standings.history(SCAN) == []


def test_each_fact_stays_when_others_come(standings: Standings) -> None:
    standings.arrived([(SCAN, FILE)])
    standings.announced(SCAN, export_control=False, withheld_from=frozenset({"nersc"}), author="spot832", at=NOW)
    standings.inspected(SCAN, proposal="BLS-00564", aborted="3 of 5 frames")
    restrict(standings)
    standings.changed(SCAN, "12 bytes", at=NOW)
    assert standings.of(SCAN) == Standing(
        file=FILE,
        proposal="BLS-00564",
        restricted=Reason.RESTRICTED_BY_OPERATOR,
        withheld_from=frozenset({"nersc"}),
        changed="12 bytes",
        aborted="3 of 5 frames",
    )


def test_thousands_are_read_at_once(standings: Standings) -> None:
    keys = [f"a/{number}" for number in range(1_203)]
    standings.arrived((key, SeenFile(number, NOW)) for number, key in enumerate(keys))
    found = standings.of_many([*keys, "nobody"])
    assert {key: standing.file for key, standing in found.items()} == {
        key: SeenFile(number, NOW) for number, key in enumerate(keys)
    }


@pytest.mark.parametrize("reason", [Reason.RESTRICTED_BY_SIDECAR, Reason.RESTRICTED_WHEN_ANNOUNCED])
def test_a_restriction_stays_until_an_operator_lifts_it(standings: Standings, reason: Reason) -> None:
    restrict(standings, reason)
    restrict(standings)
    assert standings.of(SCAN).restricted is reason
    standings.lift(SCAN, author="dula", note="contract ended", at=NOW)
    assert standings.of(SCAN) == Standing(lifted=True)
    restrict(standings, reason)
    assert standings.of(SCAN) == Standing(restricted=reason)
    assert [what for what, _, _ in said(standings)] == ["restricted", "restricted", "lifted", "restricted"]


def test_what_is_seen_again_and_again_is_logged_once(standings: Standings) -> None:
    for _ in range(3):
        restrict(standings, Reason.RESTRICTED_BY_SIDECAR)
        standings.changed(SCAN, "12 bytes", at=NOW)
    assert [what for what, _, _ in said(standings)] == ["restricted", "changed"]


def test_all_restricted_scans_can_be_listed(standings: Standings) -> None:
    restrict(standings)
    standings.arrived([("b/b", FILE)])
    assert standings.restricted() == [SCAN]


def test_an_accepted_change_is_the_file_from_then_on(standings: Standings) -> None:
    standings.arrived([(SCAN, FILE)])
    standings.changed(SCAN, "12 bytes", at=NOW)
    standings.accept(SCAN, LATER, author="dula", note="only its time was touched", at=NOW)
    assert standings.of(SCAN) == Standing(file=LATER)
    assert said(standings)[-1] == ("accepted", "dula", "only its time was touched")


@pytest.mark.parametrize(
    "decide",
    [
        lambda of: of.restrict(SCAN, Reason.RESTRICTED_BY_OPERATOR, author="dula", note=" ", at=NOW),
        lambda of: of.lift(SCAN, author="dula", note="", at=NOW),
        lambda of: of.accept(SCAN, LATER, author="dula", note="\n", at=NOW),
    ],
)
def test_a_person_who_decides_says_why(standings: Standings, decide: Callable[[Standings], None]) -> None:
    with pytest.raises(NoNoteError, match="Say why"):
        decide(standings)
    assert standings.of(SCAN) == Standing()


# -- announcements -----------------------------------------------------------------------------------------------


def test_a_repeated_announcement_is_one_and_can_only_restrict(
    inbox: Announcements, standings: Standings, beamline: Beamline
) -> None:
    for export_control in (False, True, False):
        message = Announcement(path=f"/global/raw/{SCAN}.h5", export_control=export_control)
        assert inbox.take(message, beamline, author="spot832", at=NOW).key == SCAN
    assert [announced.scan for announced in inbox.open(after=0, limit=10)] == [SCAN]
    assert standings.of(SCAN).restricted is Reason.RESTRICTED_WHEN_ANNOUNCED


def test_of_eight_who_announce_a_scan_at_once_one_announcement_is_kept(ledger_url: str, beamline: Beamline) -> None:
    start, errors = threading.Barrier(8), []

    def announce() -> None:
        database = Database(ledger_url)
        try:
            start.wait()
            message = Announcement(path=f"/global/raw/{SCAN}.h5", export_control=True)
            Announcements(database).take(message, beamline, author="spot832", at=NOW)
        except Exception as error:
            errors.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=announce) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    database = Database(ledger_url)
    assert len(Announcements(database).open(after=0, limit=10)) == 1
    assert Standings(database).of(SCAN).restricted is Reason.RESTRICTED_WHEN_ANNOUNCED
    database.close()


def test_those_that_cannot_be_dealt_with_hold_up_no_others(inbox: Announcements, beamline: Beamline) -> None:
    for number in range(7):
        inbox.take(Announcement(path=f"/global/raw/a/{number}.h5"), beamline, author="spot832", at=NOW)
    first = inbox.open(after=0, limit=3)
    second = inbox.open(after=first[-1].id, limit=3)
    third = inbox.open(after=second[-1].id, limit=3)
    assert [item.scan for item in (*first, *second, *third)] == [f"a/{number % 7}" for number in range(9)]


def test_a_settled_announcement_is_done_and_the_scan_can_be_announced_again(
    inbox: Announcements, beamline: Beamline
) -> None:
    message = Announcement(path=f"/global/raw/{SCAN}.h5")
    inbox.take(message, beamline, author="spot832", at=NOW)
    [waiting] = inbox.open(after=0, limit=10)
    inbox.settle([waiting.id])
    assert inbox.open(after=0, limit=10) == []
    inbox.take(message, beamline, author="spot832", at=NOW)
    [again] = inbox.open(after=0, limit=10)
    inbox.expire(again, "it is not there")
    assert inbox.open(after=0, limit=10) == []
