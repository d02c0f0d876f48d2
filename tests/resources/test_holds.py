"""What is held, what that covers, and who has released it, on both databases."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given

from beamlines.scans import ScanId
from beamlines.testing import HOSTILE_NAMES, scan_ids
from resources.database import Database
from resources.errors import NoNoteError
from resources.holds import (
    HeldNow,
    Hold,
    HoldKind,
    Holds,
    NotHeldError,
    NotHoldableError,
    Release,
    ScanHold,
    UnusableExpiryError,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
SECOND = timedelta(seconds=1)
SCAN = "BLS-00564_x/first/20260101_120000_a"
RAW = "bl832/data832/raw"
WHO = {"author": "dula", "note": "for a paper"}
FREE = {"author": "als", "note": "it is out", "at": LATER}


@pytest.fixture
def holds(ledger_url: str) -> Iterator[Holds]:
    database = Database(ledger_url)
    yield Holds(database)
    database.close()


def covered(holds: Holds, partition: str = SCAN, asset: str = RAW, now: datetime = NOW) -> bool:
    return holds.active(now).covering(asset, partition) != []


def scan_hold(target: str, kind: HoldKind = HoldKind.FOLDER) -> ScanHold:
    return ScanHold(1, kind, target, NOW, None, "dula", "for a paper")


# -- what covers a copy ------------------------------------------------------------------------------------------


def test_a_registered_copy_is_held_by_itself_alone(holds: Holds) -> None:
    holds.hold(RAW, [SCAN], **WHO, at=NOW)
    assert covered(holds)
    assert not covered(holds, f"{SCAN}b")
    assert not covered(holds, f"{SCAN}@legacy")
    assert not covered(holds, asset="bl832/nersc/raw")


def test_an_asset_is_the_same_with_its_beamline_and_without(holds: Holds) -> None:
    holds.hold(RAW, [SCAN], **WHO, at=NOW)
    assert covered(holds, asset="data832/raw")


def test_a_scan_is_held_with_all_its_copies_and_labels_and_without_its_namesakes(holds: Holds) -> None:
    holds.hold_scan(SCAN, **WHO, at=NOW)
    assert all(covered(holds, name, asset) for name in (SCAN, f"{SCAN}@best") for asset in (RAW, "alcf/tiff"))
    assert not any(covered(holds, name) for name in (f"{SCAN}b", f"{SCAN}/b", SCAN.rpartition("/")[0], SCAN.upper()))


def test_a_folder_is_held_with_all_below_it_and_without_its_namesakes(holds: Holds) -> None:
    holds.hold_folder("a/b", **WHO, at=NOW)
    assert all(covered(holds, name) for name in ("a/b/c", "a/b/c/d/e", "a/b/c@best", "a/b/c/d@best"))
    assert not any(covered(holds, name) for name in ("a/b", "a/bc", "a/bc/d", "a/b~20/c", "b/c", "x/a/b/c", "A/B/c"))


def test_a_hold_is_said_in_words(holds: Holds) -> None:
    holds.hold(RAW, [SCAN], **WHO, at=NOW)
    holds.hold_scan(SCAN, **WHO, at=NOW, until=LATER)
    holds.hold_folder("BLS-00564_x", **WHO, at=NOW)
    since = "is held by dula since 2026-01-01T12:00:00+00:00"
    assert holds.active(NOW).covering(RAW, SCAN) == [
        f"the copy {RAW} of {SCAN} {since}: for a paper",
        f"the scan {SCAN} {since} until 2026-01-01T13:00:00+00:00: for a paper",
        f"the folder BLS-00564_x {since}: for a paper",
    ]


@pytest.mark.parametrize("name", [name for name in HOSTILE_NAMES if name not in (".", "..")])
def test_a_folder_of_any_name_is_that_folder_and_no_other(name: str) -> None:
    database = Database("sqlite://")
    holds = Holds(database)
    holds.hold_folder(f"x/{name}", author=name, note=f"{name}\0!", at=NOW)
    assert covered(holds, ScanId(f"x/{name}/a.h5").key)
    assert not any(
        covered(holds, ScanId(path).key) for path in ("x/y/a.h5", "x/a.h5", f"x/{name}y/a.h5", f"x/{name}.h5")
    )
    database.close()


@given(scan_ids())
def test_every_scan_is_covered_by_its_folder_and_by_those_above(scan: ScanId) -> None:
    parts = scan.key.split("/")
    for depth in range(1, len(parts)):
        target = "/".join(parts[:depth])
        assert HeldNow({}, {}, {target: [scan_hold(target)]}).covering(RAW, f"{scan.key}@best") != []


def test_the_covering_holds_of_800_000_copies_are_all_told() -> None:
    scans = [f"BLS-{number % 1000:05}_x/day/{number}" for number in range(100_000)]
    copies = {("data832/raw", scan): Hold(RAW, scan, NOW, "dula", "adopted") for scan in scans}
    held = HeldNow(
        copies, {scans[7]: [scan_hold(scans[7], HoldKind.SCAN)]}, {"BLS-00009_x": [scan_hold("BLS-00009_x")]}
    )
    assets = ["data832/raw", *(f"place{number}/tiff" for number in range(7))]
    assert sum(held.covering(asset, scan) != [] for scan in scans for asset in assets) == 100_000 + 7 + 7 * 100


# -- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["", "/", "..", ".", "a/..", "../a", "/a", "a/", "a//b", "a/./b", "a\0", "a\ud800"])
def test_what_names_no_folder_below_raw_is_refused(holds: Holds, folder: str) -> None:
    with pytest.raises(NotHoldableError, match="nothing would be held"):
        holds.hold_folder(folder, **WHO, at=NOW)
    assert holds.listed() == []


@pytest.mark.parametrize("scan", ["", "/", "..", "a b", "*", "a@best", "a/", "~41", "é"])
def test_what_names_no_scan_is_refused(holds: Holds, scan: str) -> None:
    with pytest.raises(NotHoldableError, match="nothing would be held"):
        holds.hold_scan(scan, **WHO, at=NOW)
    assert holds.listed() == []


@pytest.mark.parametrize(
    "decide",
    [
        lambda holds: holds.hold_scan(SCAN, author="dula", note=" ", at=NOW),
        lambda holds: holds.hold_folder("a", author="dula", note="\n", at=NOW),
        lambda holds: holds.release(1, author="dula", note="", at=NOW),
        lambda holds: holds.release_copies(RAW, [SCAN], author="dula", note="", at=NOW),
    ],
)
def test_who_holds_or_releases_says_why(holds: Holds, decide: Callable[[Holds], None]) -> None:
    holds.hold(RAW, [SCAN], **WHO, at=NOW)
    held = holds.hold_folder("BLS-00564_x", **WHO, at=NOW)
    with pytest.raises(NoNoteError, match="Say why"):
        decide(holds)
    assert (holds.listed(), holds.count()) == ([held], 1)


@pytest.mark.parametrize("until", [NOW, NOW - SECOND, datetime(2027, 1, 1)], ids=["now", "past", "no zone"])  # noqa: DTZ001
def test_an_end_that_is_none_is_refused(holds: Holds, until: datetime) -> None:
    with pytest.raises(UnusableExpiryError):
        holds.hold_scan(SCAN, **WHO, at=NOW, until=until)
    assert holds.listed() == []


# -- ends --------------------------------------------------------------------------------------------------------


def test_a_hold_ends_at_the_second_and_is_listed_as_expired(holds: Holds) -> None:
    hold = holds.hold_scan(SCAN, **WHO, at=NOW, until=LATER)
    assert covered(holds, now=LATER - SECOND)
    assert not covered(holds, now=LATER)
    assert holds.listed() == [hold]
    assert (hold.is_expired(LATER - SECOND), hold.is_expired(LATER)) == (False, True)


def test_of_two_holds_of_a_scan_one_stays_when_the_other_is_released(holds: Holds) -> None:
    first = holds.hold_scan(SCAN, **WHO, at=NOW)
    second = holds.hold_scan(SCAN, author="als", note="beam time", at=NOW, until=LATER)
    assert len(holds.active(NOW).covering(RAW, SCAN)) == 2
    holds.release(first.id, **FREE)
    assert holds.listed() == [second]
    assert covered(holds)


def test_a_copy_that_is_held_twice_is_held_as_it_was_and_released_once(holds: Holds) -> None:
    holds.hold(RAW, [SCAN], **WHO, at=NOW)
    holds.hold(RAW, [SCAN], author="als", note="again", at=LATER)
    assert [hold.note for hold in holds.of(SCAN)] == ["for a paper"]
    holds.release_copies(RAW, [SCAN], **FREE)
    assert (holds.of(SCAN), holds.count(), covered(holds)) == ([], 0, False)


def test_what_was_released_is_remembered_with_both_reasons(holds: Holds) -> None:
    copies = [SCAN, f"{SCAN}@legacy", f"{SCAN}b", f"{SCAN.upper()}@legacy"]
    holds.hold(RAW, copies, **WHO, at=NOW)
    scan = holds.hold_scan(SCAN, **WHO, at=NOW, until=LATER)
    folder = holds.hold_folder("BLS-00564_x", **WHO, at=NOW)
    other = holds.hold_folder("BLS-00564", **WHO, at=NOW)
    released = [holds.release(hold.id, **FREE) for hold in (scan, folder, other)]
    holds.release_copies(RAW, copies, **FREE)
    assert holds.released(SCAN)[:2] == released[:2]
    assert released[0] == Release(HoldKind.SCAN, None, SCAN, NOW, LATER, *WHO.values(), LATER, "als", "it is out")
    assert holds.released(SCAN)[2:] == [
        Release(HoldKind.COPY, RAW, partition, NOW, None, *WHO.values(), LATER, "als", "it is out")
        for partition in (SCAN, f"{SCAN}@legacy")
    ]
    assert (holds.listed(), covered(holds)) == ([], False)


def test_what_is_not_held_cannot_be_released(holds: Holds) -> None:
    hold = holds.hold_scan(SCAN, **WHO, at=NOW)
    holds.release(hold.id, **FREE)
    for number in (hold.id, hold.id + 1, 0):
        with pytest.raises(NotHeldError, match=f"hold {number}"):
            holds.release(number, **FREE)
    assert len(holds.released(SCAN)) == 1


def test_copies_are_released_all_or_none(holds: Holds) -> None:
    many = [f"f/{number:04}" for number in range(1_203)]
    holds.hold(RAW, many, **WHO, at=NOW)
    with pytest.raises(NotHeldError, match="data832/raw of nobody"):
        holds.release_copies(RAW, [*many, "nobody"], **FREE)
    assert (holds.count(), holds.released(many[0])) == (1_203, [])
    holds.release_copies(RAW, many, **FREE)
    assert (holds.count(), len(holds.released(many[-1]))) == (0, 1)


def test_a_number_is_never_given_to_another_hold(holds: Holds) -> None:
    first = holds.hold_scan(SCAN, **WHO, at=NOW)
    holds.release(first.id, **FREE)
    second = holds.hold_scan(SCAN, **WHO, at=NOW)
    assert second.id != first.id
