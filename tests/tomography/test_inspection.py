"""Whether a scan is whole, and what is missing where it is not."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import Result

from tomography.inspection import Inspection, inspect

Cli = Callable[..., Result]
Damaged = Callable[[Callable[[h5py.File], None]], Path]
PLANNED = "process/acquisition/rotation/num_angles"


def emptied(first: int) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file["exchange/data"][first:] = 0

    return change


def cut(kept: int, theta: int) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        for name, count in (("exchange/data", kept), ("exchange/theta", theta)):
            values = file[name][:count]
            del file[name]
            file[name] = values

    return change


def without(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]

    return change


def never_written(file: h5py.File) -> None:
    """The writer has reserved the place, and no projection was written."""
    shape = file["exchange/data"].shape
    del file["exchange/data"]
    file.create_dataset("exchange/data", shape, np.uint16, chunks=(1, *shape[1:]), compression="gzip")


def test_a_finished_scan_is_whole(small_scan: Path) -> None:
    assert inspect(small_scan) == Inspection((), projections=151, proposal="BLS-00000")


def test_the_real_scan_is_whole_and_names_no_proposal(tooth: Path) -> None:
    assert inspect(tooth) == Inspection((), projections=181)


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (emptied(150), "the projections 151 to 151 of 151 are empty"),
        (emptied(40), "the projections 41 to 151 of 151 are empty"),
        (never_written, "the projections 1 to 151 of 151 are empty"),
        (cut(90, 151), "90 of 151 projections are there"),
        (cut(90, 90), "90 of 151 projections are there"),
        (cut(151, 150), "there are 151 projections and 150 angles"),
        (cut(0, 151), "0 of 151 projections are there"),
        (without("exchange/data_white"), "the dataset /exchange/data_white is missing"),
    ],
)
def test_a_scan_that_was_stopped_is_not_whole_and_says_what_is_missing(
    damaged: Damaged, change: Callable[[h5py.File], None], missing: str
) -> None:
    found = inspect(damaged(change))
    assert not found.whole
    assert any(missing in text for text in found.missing)
    assert found.proposal == "BLS-00000"


@pytest.mark.parametrize("kept", [0, 100, 2048, 50_000])
def test_a_file_that_is_cut_off_is_not_whole(small_scan: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.h5"
    path.write_bytes(small_scan.read_bytes()[:kept])
    [missing] = inspect(path).missing
    assert "cut.h5" not in missing
    assert "truncated" in missing or "not an HDF5 file" in missing


def test_a_scan_without_planned_angles_is_whole_by_its_own(damaged: Damaged) -> None:
    assert inspect(damaged(without(PLANNED))).whole


def test_projections_that_cannot_be_read_are_missing(damaged: Damaged) -> None:
    def compress(file: h5py.File) -> None:
        values = file["exchange/data"][()]
        del file["exchange/data"]
        file.create_dataset("exchange/data", data=values, chunks=(1, *values.shape[1:]), compression="gzip")

    path = damaged(compress)
    with h5py.File(path) as file:
        chunk = file["exchange/data"].id.get_chunk_info(150)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + 20] = b"\xff" * 20
    path.write_bytes(content)
    [missing] = inspect(path).missing
    assert "projection 151 cannot be read" in missing


def test_the_command_answers_programs_and_people(damaged: Damaged, cli: Cli) -> None:
    path = damaged(emptied(100))
    said = cli("inspect", path, "--json")
    assert said.exit_code == 0
    answer = json.loads(said.stdout)
    assert (answer["whole"], answer["projections"], answer["proposal"]) == (False, 151, "BLS-00000")
    assert answer["missing"] == ["the projections 101 to 151 of 151 are empty"]
    assert "not whole" in cli("inspect", path).stdout


def test_a_file_that_this_machine_cannot_read_is_no_answer(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "folder.h5").mkdir()
    assert "there is no such file" in cli("inspect", tmp_path / "folder.h5").stdout
