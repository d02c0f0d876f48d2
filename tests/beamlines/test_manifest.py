"""Manifests: what is believed, and what is not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamlines.manifest import Manifest, ManifestError, ManifestFile, Program
from beamlines.testing import names

SHA256 = "a" * 64


def document(*files: dict[str, Any], **changes: Any) -> dict[str, Any]:
    listed = list(files) or [entry("a.tiff", 5), entry("deep/b.tiff", 7)]
    return {
        "manifest": 1,
        "artifact": "tiff",
        "program": {"name": "tomography", "version": "0.1.0"},
        "files": listed,
        "total_files": len(listed),
        "total_bytes": sum(file["bytes"] for file in listed if isinstance(file["bytes"], int)),
        **changes,
    }


def entry(path: str, size_bytes: Any = 1, sha256: str = SHA256) -> dict[str, Any]:
    return {"path": path, "bytes": size_bytes, "sha256": sha256}


def test_a_manifest_is_read_as_it_was_written() -> None:
    manifest = Manifest.parse(json.dumps(document()), source="x")
    assert [(file.path, file.bytes) for file in manifest.files] == [("a.tiff", 5), ("deep/b.tiff", 7)]
    assert Manifest.parse(manifest.to_json(), source="x") == manifest


@given(names())
def test_a_raw_file_of_any_name_is_listed_and_read_again(name: str) -> None:
    file = ManifestFile(path=f"{name}.h5", bytes=3, sha256=SHA256)
    program = Program(name="als", version="1")
    made = Manifest(manifest=1, artifact="raw", program=program, files=(file,), total_files=1, total_bytes=3)
    assert Manifest.parse(made.to_json().encode("ascii"), source="x") == made


def test_equal_manifests_are_equal_bytes() -> None:
    shuffled = dict(reversed(document().items()))
    first, second = (Manifest.parse(json.dumps(text), source="x").to_json() for text in (document(), shuffled))
    assert first == second


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (document(total_bytes=13), "its totals are not the sums of its files"),
        (document(total_files=3), "its totals are not the sums of its files"),
        (document(entry("a"), entry("a")), "a path is listed twice"),
        (document(entry("a"), entry("./a")), "in its plain form"),
        (document(entry("a//b")), "in its plain form"),
        (document(entry("../a")), "leaves the artifact's folder"),
        (document(entry("a/../../b")), "leaves the artifact's folder"),
        (document(entry("/etc/passwd")), "leaves the artifact's folder"),
        (document(entry("")), "leaves the artifact's folder"),
        (document(entry(".")), "leaves the artifact's folder"),
        (document(entry("a", -1)), "greater than or equal to 0"),
        (document(entry("a", None)), "valid integer"),
        (document(entry("a", sha256="A" * 64)), "should match pattern"),
        (document(entry("a", sha256="a" * 63)), "should match pattern"),
        (document(entry("a") | {"md5": "x"}), "Extra inputs"),
        (document(manifest=2), "Input should be 1"),
        (document(artifact="hdf5"), "Input should be 'raw', 'tiff', 'zarr', 'preview' or 'comparison'"),
        (document(files=[], total_files=0, total_bytes=0), "0 files are not a tiff"),
        (document(artifact="raw"), "2 files are not a raw"),
        ({"files": []}, "Field required"),
        ([], "as a whole"),
        (None, "as a whole"),
    ],
)
def test_a_manifest_that_cannot_be_believed_is_refused_with_its_place_and_the_reason(wrong: Any, says: str) -> None:
    with pytest.raises(ManifestError) as refused:
        Manifest.parse(json.dumps(wrong), source="nersc:/scratch/x.json")
    assert "nersc:/scratch/x.json" in str(refused.value)
    assert says in str(refused.value)


@pytest.mark.parametrize("damaged", [b"", b"{", b"\xff\xfe", b"\x00" * 10, b"[" * 100_000, b'{"manifest": 1'])
def test_a_damaged_manifest_is_refused_with_its_place(damaged: bytes) -> None:
    with pytest.raises(ManifestError, match="nersc:/x"):
        Manifest.parse(damaged, source="nersc:/x")


@given(st.integers(min_value=0))
def test_a_manifest_that_was_cut_off_is_never_taken_for_a_shorter_one(cut: int) -> None:
    whole = Manifest.parse(json.dumps(document()), source="x").to_json().rstrip()
    with pytest.raises(ManifestError):
        Manifest.parse(whole[: cut % len(whole)], source="x")
