"""What is found where a place is held against the graph: lost, changed, dark, renamed."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from als_assets.reconciliation.records import rows
from beamlines.layout import Artifact
from beamlines.places import Store
from beamlines.reconciliation import Kind
from beamlines.retention import name_of
from beamlines.scans import PartitionKey, ScanId
from beamlines.testing import HOSTILE_NAMES
from tests.als_assets.conftest import Platform, to_key
from tests.als_assets.reconciliation.holding import Reconciliation, below, built, raw


def test_what_is_as_recorded_is_not_found(platform: Platform, reconciliation: Reconciliation) -> None:
    key = platform.reconstructed(f"{reconciliation.folder}/whole.h5")
    report = reconciliation.look("data832")
    assert list(below(reconciliation.folder, report.findings)) == []
    assert report.whole >= 4
    for place in ("spot832", "nersc", "pscratch"):
        assert reconciliation.found(place) == []
    assert raw(platform, "nersc", key).exists()


def test_lost_changed_and_dark_raw_files_are_found(platform: Platform, reconciliation: Reconciliation) -> None:
    lost, shorter, later = (reconciliation.scan(name) for name in ("lost", "shorter", "later"))
    raw(platform, "data832", lost).unlink()
    with raw(platform, "data832", shorter).open("r+b") as file:
        file.truncate(7)
    written = (datetime.now(UTC) + timedelta(minutes=30)).timestamp()
    os.utime(raw(platform, "data832", later), (written, written))
    reconciliation.lies("data832", "dark.h5")
    reconciliation.lies("data832", "notes.txt")
    assert reconciliation.found("data832") == [
        (Kind.CHANGED, "later.h5"),
        (Kind.CHANGED, "shorter.h5"),
        (Kind.DARK, "dark.h5"),
        (Kind.LOST, "lost.h5"),
    ]


def test_products_are_looked_at_by_their_folder_and_their_manifest(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    key = platform.reconstructed(f"{reconciliation.folder}/a.h5")
    platform.manifest("nersc", Artifact.TIFF, key).unlink()
    shutil.rmtree(platform.file("nersc", Artifact.ZARR, key))
    reconciliation.lies("nersc", "recold/slice.tiff", store=Store.RESULTS)
    assert reconciliation.found("nersc") == [
        (Kind.CHANGED, "reca"),
        (Kind.DARK, "recold"),
        (Kind.LOST, "reca.zarr"),
    ]
    assert platform.manifest("nersc", Artifact.ZARR, key).exists()


def test_a_file_that_was_renamed_is_paired_by_its_checksum_and_shown(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    key = reconciliation.scan("before")
    was = raw(platform, "data832", key)
    was.rename(was.with_name("after.h5"))
    other = bytearray(was.with_name("after.h5").read_bytes())
    other[-1] ^= 1
    reconciliation.lies("data832", "other.h5", bytes(other))
    report = reconciliation.look("data832")
    [pair] = [pair for pair in report.renamed if reconciliation.folder in pair.lost.path]
    assert (Path(pair.lost.path).name, Path(pair.dark.path).name) == ("before.h5", "after.h5")
    assert pair.said.startswith("the same: SHA-256")
    shown = rows(platform.settings.beamline.places["data832"], report, 10_000)
    [lost] = [row for row in shown if row[3] == pair.lost.path]
    assert pair.dark.path in lost[4]
    assert "move it back" in lost[5]


def test_where_nothing_can_be_read_from_here_files_of_one_size_are_perhaps_the_same(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    key = reconciliation.scan("before", "bl832/nersc/raw")
    was = raw(platform, "nersc", key)
    was.rename(was.with_name("after.h5"))
    jobs = len(platform.jobs)
    [pair] = [pair for pair in reconciliation.look("nersc").renamed if reconciliation.folder in pair.lost.path]
    assert pair.said == "perhaps the same: same size"
    assert len(platform.jobs) == jobs


def test_hostile_names_are_themselves_and_each_is_shown_in_one_line(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    names = [*HOSTILE_NAMES, "recuser/a", "_rec/b", "a.h5_/c", "preview/d", "nersc/e"]
    keys = [ScanId(f"{reconciliation.folder}/{name}.h5").key for name in names]
    for key in keys:
        file = raw(platform, "data832", key)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"hostile")
    report = reconciliation.look("data832")
    found = {path for kind, path in below(reconciliation.folder, report.findings) if kind is Kind.DARK}
    copy = next(copy for copy in built(platform) if name_of(copy) == "data832/raw")
    root = f"raw/{reconciliation.folder}/"
    assert found == {str(copy.location(PartitionKey.parse(key)).path).removeprefix(root) for key in keys}
    shown = rows(platform.settings.beamline.places["data832"], report, 10_000)
    assert all(cell.isprintable() for row in shown for cell in row)


def test_recorded_copies_of_hostile_names_are_found_where_they_lie(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    keys = [reconciliation.scan(name) for name in ("recuser/new\nline", "\udcff\udc80", "a.h5/b")]
    assert reconciliation.found("data832") == []
    raw(platform, "data832", keys[1]).unlink()
    assert reconciliation.found("data832") == [(Kind.LOST, "\udcff\udc80.h5")]


def test_labelled_results_and_those_of_the_system_before_are_recorded_too(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    for name in ("rechere", "recgone", "recnew"):
        reconciliation.lies("data832", f"{name}/slice.tiff", store=Store.RESULTS)
    for name, label in (("here", "legacy"), ("gone", "legacy"), ("here", "wide")):
        key = f"{ScanId(f'{reconciliation.folder}/{name}.h5').key}@{label}"
        platform.add_partition(key)
        event = dg.AssetMaterialization(to_key("bl832/data832/nersc_tiff"), partition=key)
        platform.instance.report_runless_asset_event(event)
    reconciliation.lies("data832", "nersc/rechere.wide/slice.tiff", store=Store.RESULTS)
    reconciliation.lies("data832", "nersc/rechere.wide.tiff.manifest.json", store=Store.RESULTS)
    shutil.rmtree(reconciliation.lies("data832", "recgone/x", store=Store.RESULTS).parent)
    assert reconciliation.found("data832") == [(Kind.DARK, "recnew"), (Kind.LOST, "recgone")]
