"""Verification: what each check sees in copies that are not what they must be."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
import zarr

from als_assets import checks
from als_assets.checks import Verdict
from als_assets.evidence import fenced
from beamlines.layout import Artifact
from beamlines.manifest import Manifest, ManifestFile, Program
from resources.transfer import TransferReceipt

SHA256 = "0" * 64
NOW = datetime(2026, 7, 1, tzinfo=UTC)
RECEIPT = TransferReceipt(
    task_id="t",
    submission_id="s",
    label="l",
    source="a",
    destination="b",
    files=2,
    bytes=8,
    bytes_checksummed=8,
    files_skipped=0,
    verified_by="external sha256",
    requested=NOW,
    completed=NOW,
    seconds=0,
    effective_bytes_per_second=0,
    faults=0,
)


@pytest.fixture
def product(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.tiff").write_bytes(b"12345")
    (tmp_path / "deep" / "b.tiff").write_bytes(b"123")
    return tmp_path


@pytest.fixture
def pyramid(tmp_path: Path) -> Path:
    """An OME-Zarr pyramid of three levels of odd sizes."""
    group = zarr.open_group(str(tmp_path), mode="w", zarr_format=2)
    for level, shape in enumerate([(5, 8, 9), (3, 4, 5), (2, 2, 3)]):
        group.create_array(str(level), shape=shape, chunks=(2, 2, 2), dtype="float32")[...] = np.ones(shape)
    group.attrs["multiscales"] = [{"datasets": [{"path": str(level)} for level in range(3)]}]
    return tmp_path


def manifest() -> Manifest:
    files = (
        ManifestFile(path="a.tiff", bytes=5, sha256=SHA256),
        ManifestFile(path="deep/b.tiff", bytes=3, sha256=SHA256),
    )
    program = Program(name="tomography", version="0.1.0")
    return Manifest(manifest=1, artifact="tiff", program=program, files=files, total_files=2, total_bytes=8)


def passed(verdicts: list[Verdict]) -> dict[str, bool]:
    return {verdict.name: verdict.passed for verdict in verdicts}


def test_a_whole_copy_passes(product: Path) -> None:
    assert passed(checks.of_files_here(product, manifest())) == {"files": True, "size": True}


@pytest.mark.parametrize(
    ("tamper", "expected", "names"),
    [
        (lambda root: (root / "a.tiff").unlink(), {"files": False, "size": False}, "a.tiff"),
        (lambda root: (root / "deep" / "b.tiff").write_bytes(b"12"), {"files": True, "size": False}, "deep/b.tiff"),
        (lambda root: (root / "c.tiff").write_bytes(b""), {"files": False, "size": False}, "c.tiff"),
        (lambda root: (root / "a.tiff").rename(root / "z.tiff"), {"files": False, "size": False}, "a.tiff"),
    ],
    ids=["missing", "shorter", "one more", "renamed"],
)
def test_a_copy_that_differs_fails_and_the_first_difference_is_named(
    product: Path, tamper: Callable[[Path], object], expected: dict[str, bool], names: str
) -> None:
    tamper(product)
    verdicts = checks.of_files_here(product, manifest())
    assert passed(verdicts) == expected
    assert all(repr(names) in verdict.detail for verdict in verdicts)


def test_files_that_swapped_their_sizes_are_noticed_though_the_sum_is_right(product: Path) -> None:
    (product / "a.tiff").write_bytes(b"123")
    (product / "deep" / "b.tiff").write_bytes(b"12345")
    assert passed(checks.of_files_here(product, manifest())) == {"files": True, "size": False}


@pytest.mark.parametrize(
    ("receipt", "good"),
    [
        (RECEIPT, True),
        (replace(RECEIPT, bytes_checksummed=0, files_skipped=2), True),
        (replace(RECEIPT, bytes_checksummed=7), False),
        (replace(RECEIPT, verified_by=""), False),
    ],
    ids=["checksummed", "all equal before", "a byte not checksummed", "nobody compared"],
)
def test_a_copy_counts_as_verified_only_if_every_byte_was_compared(receipt: TransferReceipt, good: bool) -> None:
    verdict = checks.of_checksums(receipt)
    assert (verdict.name, verdict.passed) == ("checksum", good)


@pytest.mark.parametrize(
    ("artifact", "version", "good"),
    [(Artifact.TIFF, "0.1.0", True), (Artifact.TIFF, "0.2.0", False), (Artifact.ZARR, "0.1.0", False)],
)
def test_a_manifest_must_be_of_this_artifact_and_this_version(artifact: Artifact, version: str, good: bool) -> None:
    verdict = checks.of_manifest(manifest(), artifact, version)
    assert verdict.passed is good
    assert good or f"expected {artifact} by {version}" in verdict.detail


def test_a_pyramid_whose_levels_halve_is_readable(pyramid: Path) -> None:
    verdict = checks.of_pyramid_here(pyramid)
    assert verdict.passed
    assert verdict.detail == "levels 5x8x9, 3x4x5, 2x2x3; the coarsest was read"


@pytest.mark.parametrize(
    "tamper",
    [
        lambda root: (root / ".zattrs").unlink(),
        lambda root: (root / ".zattrs").write_text("{}"),
        lambda root: (root / "1" / ".zarray").unlink(),
        lambda root: (root / "2" / ".zarray").write_text("not JSON"),
        lambda root: next((root / "2").glob("[0-9]*")).write_bytes(b"no chunk"),
        lambda root: (root / ".zattrs").write_text('{"multiscales": [{"datasets": [{"path": "0"}, {"path": "2"}]}]}'),
    ],
    ids=["no attributes", "no multiscales", "no level", "damaged level", "damaged chunk", "not halved"],
)
def test_a_damaged_pyramid_is_not_readable(pyramid: Path, tamper: Callable[[Path], object]) -> None:
    tamper(pyramid)
    verdict = checks.of_pyramid_here(pyramid)
    assert not verdict.passed
    assert verdict.detail


def test_a_bad_verdict_fails_the_step_after_all_verdicts_were_shown() -> None:
    shown = []
    verdicts = [Verdict("files", True, "2 of 2"), Verdict("size", False, "7 of 8"), Verdict("checksum", False, "none")]
    reported = checks.report(dg.AssetKey(["bl832", "nersc", "tiff"]), verdicts)
    with pytest.raises(dg.Failure, match=r"size: 7 of 8; checksum: none\. It was not recorded as made") as failed:
        shown += [*_until_the_end(reported, shown)]
    assert [result.passed for result in shown] == [True, False, False]
    assert failed.value.allow_retries is False


def _until_the_end(reported, shown):
    for result in reported:
        shown.append(result)
    return ()


def test_a_log_cannot_leave_its_frame_in_the_ui() -> None:
    assert fenced("a ```` b") == "`````text\na ```` b\n`````"
