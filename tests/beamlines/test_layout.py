"""The paths of copies: no two share one, and none lies inside another."""

from pathlib import PurePosixPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beamlines.layout import LEGACY, Artifact, Copy
from beamlines.places import NotAtPlaceError, Place, Role, Store
from beamlines.scans import PartitionKey, ScanId
from beamlines.testing import HOSTILE_NAMES, partition_keys

PRODUCTS = (Artifact.TIFF, Artifact.ZARR)
MAKERS = ("nersc", "alcf")


def place(name: str, facility: str | None, role: Role = Role.DURABLE) -> Place:
    return Place(
        name=name,
        collection="00000000-0000-0000-0000-000000000001",
        collection_root=PurePosixPath("/data"),
        posix_root=PurePosixPath("/seen/data"),
        role=role,
        off_site=facility is not None,
        facility=facility,
        stores={Store.RAW: PurePosixPath("raw"), Store.RESULTS: PurePosixPath("scratch")},
    )


BEAMLINE, NERSC = place("data832", None), place("nersc", "nersc")


def copies_at(where: Place) -> list[Copy]:
    """Every copy that one place can have."""
    products = [Copy(where, artifact, maker) for artifact in PRODUCTS for maker in MAKERS]
    return [Copy(where, Artifact.RAW), Copy(where, Artifact.PREVIEW), *products]


def paths(copy: Copy, key: PartitionKey) -> set[PurePosixPath]:
    """Everything that is written for a copy: itself, its manifest, and what the program writes beside it meanwhile."""
    product, manifest = copy.location(key), copy.manifest(key)
    beside = {manifest.path, manifest.beside(f"{manifest.name}.partial").path}
    if copy.artifact is not Artifact.RAW:
        beside.add(manifest.beside(f"{manifest.name.removesuffix('.manifest.json')}.partial.jsonl").path)
    return {product.path, *beside}


def identity(copy: Copy, key: PartitionKey) -> tuple[object, ...]:
    """What makes two copies the same: a raw file has no label."""
    return (copy.artifact, copy.maker, key.of_scan if copy.artifact is Artifact.RAW else key)


def key_of(path: str, label: str | None = None) -> PartitionKey:
    return PartitionKey(ScanId(path), label)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from((BEAMLINE, NERSC)), partition_keys(), partition_keys())
@example(NERSC, key_of("x/a.h5"), key_of("x/alcf/a.h5"))
@example(NERSC, key_of("x/a.h5"), key_of("x/from_alcf/a.h5"))
@example(NERSC, key_of("x/a.h5"), key_of("x/from_preview/a.h5"))
@example(BEAMLINE, key_of("x/a.h5"), key_of("x/preview/a.h5"))
@example(BEAMLINE, key_of("x/nersc/a.h5"), key_of("x/a.h5"))
@example(BEAMLINE, key_of("a.h5"), key_of("a.h5/b.h5"))
@example(BEAMLINE, key_of("a.h5"), key_of("a.h5.manifest.json/b.h5"))
@example(BEAMLINE, key_of("a.h5_/b.h5"), key_of("a.h5/b.h5"))
@example(NERSC, key_of("a.h5"), key_of("reca/b.h5"))
@example(NERSC, key_of("a.h5", "b"), key_of("a.b.h5"))
@example(NERSC, key_of("a.h5"), key_of("a.zarr.h5"))
@example(NERSC, key_of("a.h5"), key_of("a.tiff.manifest.json.h5"))
@example(NERSC, key_of("a.h5"), key_of("a.tiff.manifest.h5", "b"))
@example(NERSC, key_of("a..h5"), key_of("a.h5"))
@example(NERSC, key_of("_rec/a.h5"), key_of("rec/a.h5"))
def test_no_path_of_one_copy_equals_or_lies_below_a_path_of_another(
    where: Place, one: PartitionKey, other: PartitionKey
) -> None:
    owners: dict[PurePosixPath, tuple[object, ...]] = {}
    for key in (one, other):
        for copy in copies_at(where):
            for path in paths(copy, key):
                assert owners.setdefault(path, identity(copy, key)) == identity(copy, key), path
    for path, owner in owners.items():
        above = [parent for parent in path.parents if parent in owners]
        assert all(owners[parent] == owner for parent in above), f"{path} lies below {above}"


@pytest.mark.parametrize("where", [BEAMLINE, NERSC], ids=lambda where: where.name)
def test_among_all_hostile_names_every_copy_has_paths_of_its_own(where: Place) -> None:
    folders = [name for name in HOSTILE_NAMES if set(name) != {"."}]
    scans = [ScanId(f"{name}.h5") for name in HOSTILE_NAMES]
    scans += [ScanId(f"{folder}/{name}.h5") for folder in folders for name in ("a", "nersc", "a.h5", ".")]
    keys = [PartitionKey(scan, label) for scan in scans for label in (None, "b", "1")]
    owners: dict[PurePosixPath, tuple[object, ...]] = {}
    for key in keys:
        for copy in copies_at(where):
            for path in paths(copy, key):
                assert owners.setdefault(path, identity(copy, key)) == identity(copy, key), path
    inside = [path for path in owners for parent in path.parents if parent in owners]
    assert inside == []


@given(partition_keys())
def test_every_copy_lies_in_its_own_store_of_its_place(key: PartitionKey) -> None:
    for copy in copies_at(BEAMLINE):
        store = "raw" if copy.artifact is Artifact.RAW else "scratch"
        assert copy.location(key).path.is_relative_to(store)
        assert copy.manifest(key).path.is_relative_to(store)


@pytest.mark.parametrize("path", ["a.h5/b.h5", "a.h5.manifest.json/b.h5"])
def test_on_the_acquisition_machine_a_scan_lies_where_it_was_written(path: str) -> None:
    spot832 = place("spot832", None, Role.ACQUISITION)
    assert Copy(spot832, Artifact.RAW).location(key_of(path)).path == PurePosixPath("raw") / path


@pytest.mark.parametrize(
    ("where", "artifact", "maker", "label", "expected"),
    [
        (BEAMLINE, Artifact.RAW, None, None, "raw/BLS-1/deep/scan.h5"),
        (BEAMLINE, Artifact.PREVIEW, None, None, "scratch/BLS-1/deep/preview/recscan"),
        (BEAMLINE, Artifact.TIFF, "nersc", None, "scratch/BLS-1/deep/nersc/recscan"),
        (BEAMLINE, Artifact.ZARR, "nersc", "wide", "scratch/BLS-1/deep/nersc/recscan.wide.zarr"),
        (NERSC, Artifact.TIFF, "nersc", None, "scratch/BLS-1/deep/recscan"),
        (NERSC, Artifact.ZARR, "nersc", None, "scratch/BLS-1/deep/recscan.zarr"),
        (NERSC, Artifact.TIFF, "alcf", None, "scratch/BLS-1/deep/from_alcf/recscan"),
    ],
)
def test_an_ordinary_scan_lies_where_people_look_for_it(
    where: Place, artifact: Artifact, maker: str | None, label: str | None, expected: str
) -> None:
    assert str(Copy(where, artifact, maker).location(key_of("BLS-1/deep/scan.h5", label)).path) == expected


@pytest.mark.parametrize(
    ("where", "artifact", "path", "expected"),
    [
        (BEAMLINE, Artifact.TIFF, "BLS-1/scan.h5", "scratch/BLS-1/recscan"),
        (BEAMLINE, Artifact.ZARR, "BLS-1/scan.h5", "scratch/BLS-1/recscan.zarr"),
        (NERSC, Artifact.TIFF, "recent work/scan.b.h5", "scratch/recent work/recscan.b"),
        (NERSC, Artifact.ZARR, "scan.h5", "scratch/recscan.zarr"),
    ],
)
def test_results_of_the_system_before_lie_where_that_one_has_put_them(
    where: Place, artifact: Artifact, path: str, expected: str
) -> None:
    assert str(Copy(where, artifact, "nersc").location(key_of(path, LEGACY)).path) == expected


@pytest.mark.parametrize(
    ("artifact", "maker", "manifest"),
    [
        (Artifact.RAW, None, "scan.h5.manifest.json"),
        (Artifact.TIFF, "nersc", "recscan.tiff.manifest.json"),
        (Artifact.ZARR, "nersc", "recscan.zarr.manifest.json"),
        (Artifact.PREVIEW, None, "recscan.preview.manifest.json"),
    ],
)
def test_a_manifest_lies_beside_its_copy_where_the_programs_write_it(
    artifact: Artifact, maker: str | None, manifest: str
) -> None:
    copy = Copy(BEAMLINE, artifact, maker)
    assert copy.manifest(key_of("scan.h5")) == copy.location(key_of("scan.h5")).beside(manifest)


def test_an_asset_is_called_by_its_maker_where_that_is_not_at_home() -> None:
    assert Copy(NERSC, Artifact.TIFF, "nersc").asset_name == "tiff"
    assert Copy(NERSC, Artifact.TIFF, "alcf").asset_name == "alcf_tiff"
    assert Copy(BEAMLINE, Artifact.ZARR, "nersc").asset_name == "nersc_zarr"
    assert Copy(BEAMLINE, Artifact.RAW).asset_name == "raw"


def test_a_location_says_how_each_side_names_it() -> None:
    location = BEAMLINE.at(Store.RAW, "x/a.h5")
    assert location.on_collection == "/data/raw/x/a.h5"
    assert location.posix == "/seen/data/raw/x/a.h5"
    with pytest.raises(NotAtPlaceError, match="has no 'mount'"):
        _ = location.here


@pytest.mark.parametrize("path", ["../a", "a/../../b", "/etc/passwd"])
def test_a_location_never_leaves_its_place(path: str) -> None:
    with pytest.raises(NotAtPlaceError, match="would leave data832"):
        BEAMLINE.at(Store.RAW, path)


def test_a_place_without_a_store_says_which_it_has() -> None:
    acquisition = BEAMLINE.model_copy(update={"stores": {Store.RAW: PurePosixPath("raw")}})
    with pytest.raises(NotAtPlaceError, match=r"no results folder: it has \['raw'\]"):
        acquisition.at(Store.RESULTS, "a")


@pytest.mark.parametrize("results", ["raw", "raw/results", "."])
def test_a_place_whose_stores_overlap_is_refused(results: str) -> None:
    with pytest.raises(ValueError, match="lies in stores"):
        Place.model_validate({**NERSC.model_dump(), "stores": {"raw": "raw", "results": results}})


@given(partition_keys())
@example(key_of("a.h5/b.h5"))
@example(key_of("a.h5_/b.h5"))
@example(key_of("a.h5.manifest.json_/b.h5"))
def test_the_scan_of_a_raw_file_is_told_by_its_path(key: PartitionKey) -> None:
    for where in (BEAMLINE, place("spot832", None, Role.ACQUISITION)):
        copy = Copy(where, Artifact.RAW)
        path = copy.location(key).path.relative_to("raw")
        assert copy.scan_at(str(path)) == key.scan


def test_a_raw_file_where_no_scans_lies_has_none() -> None:
    assert Copy(BEAMLINE, Artifact.RAW).scan_at("a.h5/b.h5") is None
