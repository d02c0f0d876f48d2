"""What is recorded against what lies there, by plain values."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from beamlines.places import Store
from beamlines.reconciliation import (
    CLOCKS_MAY_DIFFER,
    SETTLES_IN,
    Compared,
    Expected,
    Finding,
    Kind,
    Lying,
    Shape,
    compare,
    same_size,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=3)
RAW = Expected("data832/raw", "x/a", 7, "a.h5", "a.h5.manifest.json", Shape.FILE, 10, LONG_AGO)
TIFF = Expected("data832/nersc_tiff", "x/a", 8, "reca", "reca.tiff.manifest.json", Shape.FOLDER, None, LONG_AGO)
FILE = Lying(Shape.FILE, 10, LONG_AGO)
FOLDER = Lying(Shape.FOLDER, 0, LONG_AGO)


def looked(store: Store, expected: list[Expected], **lying: Lying) -> Compared:
    return compare(store, "x", {one.name: one for one in expected}, lying, NOW)


def raw(*expected: Expected, **lying: Lying) -> Compared:
    return looked(Store.RAW, list(expected), **lying)


def results(*expected: Expected, **lying: Lying) -> Compared:
    return looked(Store.RESULTS, list(expected), **lying)


def kinds(compared: Compared) -> list[tuple[Kind, str]]:
    return [(finding.kind, finding.path) for finding in compared.findings]


def test_what_is_there_as_recorded_is_whole() -> None:
    assert raw(RAW, **{"a.h5": FILE}) == Compared(whole=(RAW,))
    assert results(TIFF, **{"reca": FOLDER, "reca.tiff.manifest.json": FILE}) == Compared(whole=(TIFF,))


def test_what_is_recorded_and_not_there_is_lost() -> None:
    assert kinds(raw(RAW)) == [(Kind.LOST, "x/a.h5")]
    assert kinds(results(TIFF)) == [(Kind.LOST, "x/reca")]


def test_a_manifest_without_its_copy_is_a_lost_copy_and_says_so() -> None:
    compared = results(TIFF, **{"reca.tiff.manifest.json": FILE})
    assert kinds(compared) == [(Kind.LOST, "x/reca")]
    assert "but its manifest" in compared.findings[0].why
    assert compared.leftovers == 0


def test_a_product_without_its_manifest_has_changed() -> None:
    compared = results(TIFF, reca=FOLDER)
    assert kinds(compared) == [(Kind.CHANGED, "x/reca")]
    assert "its manifest is not there" in compared.findings[0].why


def test_a_product_of_the_system_before_has_no_manifest_and_is_whole() -> None:
    legacy = replace(TIFF, manifest=None)
    assert results(legacy, reca=FOLDER) == Compared(whole=(legacy,))


@pytest.mark.parametrize(
    ("lying", "why"),
    [
        (replace(FILE, size_bytes=9), "it has 9 bytes, and 10 are recorded"),
        (replace(FILE, modified=LONG_AGO + CLOCKS_MAY_DIFFER + timedelta(seconds=1)), "after it was recorded"),
        (FOLDER, "a folder lies there"),
        (Lying(Shape.OTHER, 0, LONG_AGO), "it is neither file nor folder"),
    ],
)
def test_a_raw_file_that_is_not_as_recorded_has_changed(lying: Lying, why: str) -> None:
    [finding] = raw(RAW, **{"a.h5": lying}).findings
    assert finding.kind is Kind.CHANGED
    assert why in finding.why


def test_clocks_may_differ_a_little_and_a_size_that_is_not_recorded_is_not_compared() -> None:
    assert raw(RAW, **{"a.h5": replace(FILE, modified=LONG_AGO + CLOCKS_MAY_DIFFER)}).findings == ()
    assert raw(replace(RAW, size_bytes=None), **{"a.h5": replace(FILE, size_bytes=9)}).findings == ()


def test_what_was_deleted_by_a_certificate_is_not_lost_and_its_raw_manifest_may_stay() -> None:
    gone = replace(RAW, gone=True)
    assert raw(gone, **{"a.h5.manifest.json": FILE}) == Compared()


def test_what_lies_where_a_certificate_says_that_nothing_does_is_dark() -> None:
    [finding] = raw(replace(RAW, gone=True), **{"a.h5": FILE}).findings
    assert finding.kind is Kind.DARK
    assert "a certificate says that it was deleted" in finding.why


def test_scans_and_products_without_a_record_are_dark() -> None:
    assert kinds(raw(**{"b.h5": FILE, ".h5": FILE, "b.txt": FILE, "c.h5": FOLDER})) == [(Kind.DARK, "x/b.h5")]
    assert kinds(results(recb=FOLDER, **{"recb.zarr": FOLDER, "rec": FOLDER, "notes": FOLDER, "recd": FILE})) == [
        (Kind.DARK, "x/recb"),
        (Kind.DARK, "x/recb.zarr"),
    ]


@pytest.mark.parametrize("manifest", ["recb.tiff.manifest.json", "recb.preview.manifest.json", "recb.manifest.json"])
def test_a_dark_product_with_a_manifest_is_told_from_an_old_one(manifest: str) -> None:
    [ours] = results(recb=FOLDER, **{manifest: FILE}).findings
    assert "with a manifest" in ours.why
    [old] = results(recb=FOLDER).findings
    assert "without a manifest" in old.why


@pytest.mark.parametrize(
    "name",
    [
        "b.h5.manifest.json",
        "recb.tiff.manifest.json",
        "recb.zarr.manifest.json",
        "recb.zarr.manifest.json.partial",
        "recb.tiff.partial.jsonl",
        "recb.zarr.partial.jsonl",
        ".manifest-x1y2",
        "new\nline.partial",
    ],
)
def test_leftovers_of_our_own_are_counted_and_are_neither_scans_nor_results(name: str) -> None:
    assert looked(Store.RESULTS, [], **{name: FILE}) == Compared(leftovers=1)
    assert looked(Store.RAW, [], **{name: FILE}) == Compared(leftovers=1)


@pytest.mark.parametrize(
    ("product", "journal"),
    [
        ("recb", "recb.tiff.partial.jsonl"),
        ("recb.zarr", "recb.zarr.partial.jsonl"),
        ("recb", "recb.tiff.2-of-4.partial.jsonl"),
    ],
)
def test_a_product_that_was_never_finished_is_a_leftover(product: str, journal: str) -> None:
    assert results(**{product: FOLDER, journal: FILE}) == Compared(leftovers=2)


def test_what_was_recorded_or_written_within_the_hour_is_not_judged() -> None:
    just_now = NOW - SETTLES_IN + timedelta(seconds=1)
    assert raw(replace(RAW, recorded=just_now)) == Compared(unsettled=1)
    assert raw(**{"b.h5": replace(FILE, modified=just_now)}) == Compared(unsettled=1)
    assert len(raw(replace(RAW, recorded=NOW - SETTLES_IN)).findings) == 1
    assert len(raw(**{"b.h5": replace(FILE, modified=NOW - SETTLES_IN)}).findings) == 1


def test_a_file_of_a_far_future_is_shown_all_the_same() -> None:
    assert len(raw(**{"b.h5": replace(FILE, modified=NOW + timedelta(days=400))}).findings) == 1


def test_lost_and_dark_raw_files_of_one_size_are_paired() -> None:
    lost = Finding(Kind.LOST, "raw/x/a.h5", "", None, RAW)
    same, other = (Finding(Kind.DARK, f"raw/x/{name}.h5", "", size) for name, size in (("b", 10), ("c", 11)))
    changed = Finding(Kind.CHANGED, "raw/x/d.h5", "", 10, RAW)
    again = Finding(Kind.DARK, "raw/x/e.h5", "", 10, replace(RAW, gone=True))
    product = Finding(Kind.LOST, "raw/x/reca", "", None, TIFF)
    assert list(same_size([lost, same, other, changed, again, product])) == [(lost, same)]
