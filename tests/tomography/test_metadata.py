"""What a scan's file says of itself is read without trusting the file."""

import json
import math
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tomography.errors import ScanError
from tomography.metadata import DATASETS, TEXT_CHARACTERS, metadata


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.h5"


def written(path, **values):
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            file[name.replace("__", "/")] = value
    return {name: stated.value for name, stated in metadata(path).items()}


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("text", "text"),
        (np.array(b"bytes\0\0", dtype="S9"), "bytes"),
        (np.array([b"one"], dtype="S10"), "one"),
        (np.array(["one"], dtype=h5py.string_dtype()), "one"),
        (5, 5),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (2.5, 2.5),
        (np.array([2.5]), 2.5),
        (True, True),
        (math.nan, None),
        (math.inf, None),
        (b"\xff\xfe", "��"),
        ("", ""),
        ("x" * 100_000, "x" * TEXT_CHARACTERS),
        ("🔬", "🔬"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_single_value_is_read(path, value, read):
    assert written(path, a__b=value) == {"/a/b": read}


def test_of_a_row_about_ten_values_are_read_with_both_ends(path):
    assert written(path, row=np.arange(1_000.0))["/row"] == [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
    assert written(path, row=np.array([1.0, math.nan]))["/row"] == [1.0, None]


def test_a_unit_is_read_where_the_file_states_one(path):
    with h5py.File(path, "w") as file:
        for name, unit in {"a": "mm", "b": b"eV", "c": np.array([b"deg"]), "d": 5}.items():
            file[name] = 1.0
            file[name].attrs["units"] = unit
    assert [stated.unit for stated in metadata(path).values()] == ["mm", "eV", "deg", None]


def test_pixels_and_what_is_no_value_are_left_out(path):
    with h5py.File(path, "w") as file:
        file["exchange/theta"] = np.arange(10.0)
        file["picture"] = np.zeros((4, 4))
        file["empty"] = np.zeros(0)
        file["null"] = h5py.Empty("f")
        file["compound"] = np.zeros(3, dtype=[("a", "f4"), ("b", "i4")])
        file["complex"] = 1j
        file["group"] = h5py.SoftLink("/missing")
    assert metadata(path) == {}


def test_nothing_outside_of_the_file_is_read(path, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_bytes(b"geheim!!")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["a"] = b"geheim!!"
    with h5py.File(path, "w") as file:
        file.create_dataset("external", (8,), "u1", external=[(str(secret), 0, 8)])
        file["linked"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "a")
        layout = h5py.VirtualLayout((1,), "S8")
        layout[0] = h5py.VirtualSource(str(tmp_path / "other.h5"), "a", ())
        file.create_virtual_dataset("virtual", layout)
        file["own"] = 1
    assert {name: stated.value for name, stated in metadata(path).items()} == {"/own": 1}


def test_a_file_with_very_many_values_ends(path):
    with h5py.File(path, "w") as file:
        for number in range(DATASETS + 50):
            file[f"value_{number}"] = number
    assert len(metadata(path)) == DATASETS


@pytest.mark.parametrize("content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + bytes(5_000)])
def test_what_is_no_file_of_values_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(ScanError):
        metadata(path)


def test_a_file_that_is_missing_is_refused(path):
    with pytest.raises(ScanError, match="no such file"):
        metadata(path)


def test_the_command_says_the_same_as_json(path):
    written(path, a__b=2.5, c="x")
    command = [sys.executable, "-m", "tomography", "metadata", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["event"] == "result"
    assert said["values"] == {"/a/b": {"value": 2.5, "unit": None}, "/c": {"value": "x", "unit": None}}
