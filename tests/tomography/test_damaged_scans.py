"""A scan that cannot be used gets one clear message, exit code 2, and leaves nothing behind."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from typer.testing import Result

from tomography.scan import open_scan

Cli = Callable[..., Result]
Damaged = Callable[[Callable[[h5py.File], None]], Path]


def replaced(name: str, values: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        if values is not None:
            file[name] = values

    return change


def grouped(file: h5py.File) -> None:
    del file["exchange/data"]
    file.create_group("exchange/data")


CHANGES = [
    ("no data", replaced("exchange/data", None), "the dataset /exchange/data is missing"),
    ("no flats", replaced("exchange/data_white", None), "the dataset /exchange/data_white is missing"),
    ("no darks", replaced("exchange/data_dark", None), "the dataset /exchange/data_dark is missing"),
    ("a group for data", grouped, "the dataset /exchange/data is missing"),
    ("empty flats", replaced("exchange/data_white", np.zeros((0, 6, 96), np.uint16)), "there is no flat field"),
    ("empty darks", replaced("exchange/data_dark", np.zeros((0, 6, 96), np.uint16)), "there is no dark field"),
    ("other flats", replaced("exchange/data_white", np.ones((2, 6, 95), np.uint16)), "projections are (6, 96)"),
    ("zero angles", replaced("exchange/data", np.zeros((0, 6, 96), np.uint16)), "holds 0 projections"),
    ("flat data", replaced("exchange/data", np.zeros((6, 96), np.uint16)), "[frame, row, column] were expected"),
    ("text for data", replaced("exchange/data", np.full((5, 6, 96), b"x")), "[frame, row, column] were expected"),
    ("no rows", replaced("exchange/data", np.zeros((9, 0, 96), np.uint16)), "there is no picture in it"),
    ("too few angles", replaced("exchange/theta", np.arange(150.0)), "150 angles"),
    ("broken angles", replaced("exchange/theta", np.full(151, np.nan)), "which angle belongs"),
]


@pytest.mark.parametrize(("change", "said"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_a_damaged_scan_is_refused_with_one_message(
    damaged: Damaged, tmp_path: Path, cli: Cli, change: Callable[[h5py.File], None], said: str
) -> None:
    scan = damaged(change)
    refused(cli("reconstruct", scan, tmp_path / "out"), said)
    assert list(tmp_path.iterdir()) == [scan]


TO_BE_SEEN = {"no flats", "no darks", "empty flats", "empty darks", "too few angles", "broken angles"}
"""What a first look flags, and shows."""
UNSEEN = [row for row in CHANGES if row[0] not in TO_BE_SEEN]


@pytest.mark.parametrize(("change", "said"), [row[1:] for row in UNSEEN], ids=[row[0] for row in UNSEEN])
def test_a_scan_in_which_there_is_nothing_to_see_is_not_looked_at(
    damaged: Damaged, tmp_path: Path, cli: Cli, change: Callable[[h5py.File], None], said: str
) -> None:
    scan = damaged(change)
    refused(cli("preview", scan, tmp_path / "out"), said)
    assert list(tmp_path.iterdir()) == [scan]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "not an HDF5 file (0 bytes)"), (b"hello", "not an HDF5 file"), (None, "there is no such file")],
    ids=["empty", "text", "missing"],
)
def test_what_is_no_hdf5_file_is_refused(tmp_path: Path, cli: Cli, content: bytes | None, said: str) -> None:
    scan = tmp_path / "scan.h5"
    if content is not None:
        scan.write_bytes(content)
    refused(cli("reconstruct", scan, tmp_path / "out"), said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_a_truncated_scan_is_refused(small_scan: Path, tmp_path: Path, cli: Cli, kept: float) -> None:
    content = small_scan.read_bytes()
    scan = tmp_path / "scan.h5"
    scan.write_bytes(content[: int(len(content) * kept)])
    refused(cli("reconstruct", scan, tmp_path / "out"), "truncated or still being written")
    assert list(tmp_path.iterdir()) == [scan]


def test_a_scan_that_breaks_off_while_it_is_read_leaves_nothing(damaged: Damaged, tmp_path: Path, cli: Cli) -> None:
    def compress(file: h5py.File) -> None:
        data = file["exchange/data"][:]
        del file["exchange/data"]
        chunked = file.create_dataset("exchange/data", data=data, chunks=(1, 6, 96), fletcher32=True)
        where = chunked.id.get_chunk_info(70).byte_offset
        file.attrs["where"] = where

    scan = damaged(compress)
    with h5py.File(scan) as file:
        where = int(file.attrs["where"])
    content = bytearray(scan.read_bytes())
    content[where + 10] ^= 0xFF
    scan.write_bytes(content)
    refused(cli("reconstruct", scan, tmp_path / "out"), "The file is damaged")
    assert list(tmp_path.iterdir()) == [scan]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--center", "1000"], "not on the detector"),
        (["--center", "nan"], "--center nan"),
        (["--minimum-transmission", "0"], "--minimum-transmission 0"),
        (["--input-sha256", "abc"], "64 hexadecimal digits"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_impossible_arguments_are_refused(
    small_scan: Path, tmp_path: Path, cli: Cli, arguments: list[str], said: str
) -> None:
    process = cli("reconstruct", small_scan, tmp_path / "out", *arguments)
    assert (process.exit_code, said in process.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_name_longer_than_file_systems_allow_is_refused(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    refused(cli("reconstruct", small_scan, tmp_path / ("n" * 240)), "too long a name")


def test_an_output_in_a_missing_folder_is_refused(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    refused(cli("reconstruct", small_scan, tmp_path / "not" / "there"), "make it first")


def test_a_folder_without_slices_makes_no_pyramid(tmp_path: Path, cli: Cli) -> None:
    refused(cli("pyramid", tmp_path, tmp_path / "out.zarr"), "holds no numbered TIFF files")


def test_a_pyramid_must_be_named_zarr(tmp_path: Path, cli: Cli) -> None:
    tifffile.imwrite(tmp_path / "rec_00000.tiff", np.zeros((8, 8), np.float32))
    refused(cli("pyramid", tmp_path, tmp_path.parent / "out"), "ends in .zarr")


def test_missing_angles_are_computed_from_start_and_step(damaged: Damaged) -> None:
    with open_scan(damaged(replaced("exchange/theta", None))) as scan:
        np.testing.assert_allclose(scan.theta_deg, np.linspace(0, 180, 151))
        assert scan.flags == ("angles computed from rotation_start and rotation_step",)


def test_missing_angles_and_step_are_computed_from_the_range(damaged: Damaged) -> None:
    def change(file: h5py.File) -> None:
        del file["exchange/theta"]
        del file["process/acquisition/rotation/rotation_step"]

    with open_scan(damaged(change)) as scan:
        np.testing.assert_allclose(scan.theta_deg, np.linspace(0, 180, 151))


def test_without_any_angles_a_scan_is_refused(damaged: Damaged, tmp_path: Path, cli: Cli) -> None:
    def change(file: h5py.File) -> None:
        del file["exchange/theta"]
        del file["process"]

    refused(cli("reconstruct", damaged(change), tmp_path / "out"), "the angles are unknown")


@pytest.mark.parametrize("written", [[0.00065], b"0.00065", np.float32(0.00065)], ids=["array", "text", "float32"])
def test_the_pixel_size_is_read_however_it_was_written(damaged: Damaged, written: object) -> None:
    with open_scan(damaged(replaced("measurement/instrument/detector/pixel_size", written))) as scan:
        assert scan.pixel_size_um == pytest.approx(0.65)


@pytest.mark.parametrize("written", [650.0, 0.0, -1.0, np.nan, b"unknown"])
def test_an_impossible_pixel_size_is_flagged_and_not_used(damaged: Damaged, written: object) -> None:
    with open_scan(damaged(replaced("measurement/instrument/detector/pixel_size", written))) as scan:
        assert (scan.pixel_size_um, scan.unit) == (None, "1/px")
        assert "values are per pixel" in scan.flags[0]


def refused(process: Result, said: str) -> None:
    assert process.exit_code == 2
    assert process.stdout == ""
    assert process.stderr.startswith("error: ")
    assert process.stderr.count("\n") == 1
    assert said in process.stderr
