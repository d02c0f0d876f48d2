"""Projections as TIFF files: normalised, or as they were counted."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from typer.testing import Result

from tomography.manifest import journal_path
from tomography.phantom import Phantom, true_projection

Cli = Callable[..., Result]


def made(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.stderr
    event: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return event


def image(folder: Path, name: str) -> np.ndarray:
    found: np.ndarray = tifffile.imread(folder / name)
    return found


def test_normalised_projections_are_the_part_of_the_light(
    small: Phantom, small_scan: Path, tmp_path: Path, cli: Cli
) -> None:
    event = made(cli("projections", small_scan, tmp_path / "norm", "--json"))
    assert event["files"] == 151
    for number in (0, 70, 150):
        found = image(tmp_path / "norm", f"norm_{number:05}.tiff")
        assert found.dtype == np.float32
        expected = np.exp(-true_projection(small, float(small.theta_deg[number])))
        np.testing.assert_allclose(found, expected, atol=2e-4)


def test_counts_are_written_as_they_are_with_flat_and_dark_fields(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    event = made(cli("projections", small_scan, tmp_path / "raw", "--counts", "--json"))
    assert event["files"] == 151 + 10 + 10
    with h5py.File(small_scan) as file:
        for name, dataset, number in (
            ("raw_00149.tiff", "data", 149),
            ("rawbak_00009.tiff", "data_white", 9),
            ("rawdrk_00000.tiff", "data_dark", 0),
        ):
            found = image(tmp_path / "raw", name)
            assert found.dtype == np.uint16
            np.testing.assert_array_equal(found, file[f"exchange/{dataset}"][number])


def test_settings_choose_projections_rows_and_steps(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    plain, few = tmp_path / "plain", tmp_path / "few"
    made(cli("projections", small_scan, plain, "--json"))
    some = ["--projections", "10:30:10", "--rows", "2:4"]
    made(cli("projections", small_scan, few, *some, "--json"))
    assert sorted(path.name for path in few.iterdir()) == [f"few_{number:05}.tiff" for number in (10, 20, 30)]
    np.testing.assert_array_equal(image(few, "few_00020.tiff"), image(plain, "plain_00020.tiff")[2:5])
    made(
        cli("projections", small_scan, tmp_path / "phase", *some, "--phase", "paganin", "--phase-alpha", 1e-2, "--json")
    )
    smooth = image(tmp_path / "phase", "phase_00020.tiff")
    assert 0 < np.abs(smooth - image(few, "few_00020.tiff")).max() < 0.2


def test_an_interrupted_one_is_continued(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "rec"
    made(cli("projections", small_scan, out, "--json"))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "rec_00007.tiff").unlink()
    kept = (out / "rec_00008.tiff").stat().st_ino
    assert made(cli("projections", small_scan, out, "--json"))["made"] is True
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert (out / "rec_00008.tiff").stat().st_ino == kept
    assert not journal_path(out, "projections").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--zinger-1d", "0.5"], "--zinger-1d"), (["--projections", "999"], "0 to 150"), (["--rows", "9"], "0 to 5")],
)
def test_what_cannot_be_written_is_refused(
    small_scan: Path, tmp_path: Path, cli: Cli, arguments: list[str], said: str
) -> None:
    refused = cli("projections", small_scan, tmp_path / "rec", *arguments)
    assert (refused.exit_code, said in refused.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []
