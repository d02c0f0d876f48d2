"""Two results beside each other: the figures are right, the picture can be read, and what differs is named."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image
from typer.testing import Result

from tomography.comparison import differing, figures, open_volume
from tomography.manifest import read_manifest
from tomography.tiffs import tiff_name

Cli = Callable[..., Result]
Floats = npt.NDArray[np.float32]
REFUSED = 2


def stack(folder: Path, volume: Floats) -> Path:
    """A stack of TIFF files that somebody made, without a manifest."""
    folder.mkdir()
    for row, image in enumerate(volume):
        tifffile.imwrite(folder / tiff_name(folder.name, row), image)
    return folder


@pytest.fixture
def ramp() -> Floats:
    """Four slices of 3 x 5 voxels, each voxel another value."""
    return np.arange(60, dtype=np.float32).reshape(4, 3, 5)


@pytest.fixture(scope="module")
def results(small_scan: Path, cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two reconstructions of one scan and their pyramids."""
    folder = tmp_path_factory.mktemp("results")
    for name, options in (("rec", []), ("rec.fine", ["--filter", "butterworth", "--rings", "none"])):
        assert cli("reconstruct", small_scan, folder / name, *options).exit_code == 0
        assert cli("pyramid", folder / name, folder / f"{name}.zarr").exit_code == 0
    return folder


def test_the_figures_of_a_known_difference_are_right(tmp_path: Path, ramp: Floats, cli: Cli) -> None:
    other = ramp.copy()
    other[2, 1, 3] += 15  # one voxel of the fifteen in slice 2
    first, second = stack(tmp_path / "a", ramp), stack(tmp_path / "b", other)
    assert cli("compare", first, second, tmp_path / "out").exit_code == 0
    said = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [one["row"] for one in said["slices"]] == [1, 2, 3]
    assert [one["mean"] for one in said["slices"]] == [0, 1, 0]
    assert [one["largest"] for one in said["slices"]] == [0, 15, 0]
    assert said["slices"][1]["rms"] == pytest.approx(15 / np.sqrt(15))
    assert said["slices"][1]["rms_of_spread"] == pytest.approx(15 / np.sqrt(15) / np.std(ramp[2]))


def test_the_sign_is_that_of_the_second_less_the_first() -> None:
    low, high = np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32)
    assert (figures(0, low, high)["mean"], figures(0, high, low)["mean"]) == (1, -1)


def test_of_equal_results_the_difference_is_nothing_and_white(tmp_path: Path, ramp: Floats, cli: Cli) -> None:
    first, second = stack(tmp_path / "a", ramp), stack(tmp_path / "b", ramp)
    assert cli("compare", first, second, tmp_path / "out").exit_code == 0
    image = np.asarray(Image.open(tmp_path / "out" / "comparison.png"))
    assert (image[60, -20] == 255).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_more_is_red_and_less_is_blue(tmp_path: Path, ramp: Floats, cli: Cli, sign: int) -> None:
    first, second = stack(tmp_path / "a", ramp), stack(tmp_path / "b", ramp + np.float32(sign))
    assert cli("compare", first, second, tmp_path / "out").exit_code == 0
    red, _, blue = np.asarray(Image.open(tmp_path / "out" / "comparison.png"))[60, -20]
    assert (red > blue) == (sign > 0)


def test_results_of_different_shapes_are_refused_in_plain_words(tmp_path: Path, ramp: Floats, cli: Cli) -> None:
    first, second = stack(tmp_path / "a", ramp), stack(tmp_path / "b", ramp[:, :, :4])
    refused = cli("compare", first, second, tmp_path / "out")
    assert refused.exit_code == REFUSED
    assert "'a' is 4 x 3 x 5 voxels and 'b' 4 x 3 x 4" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_values_that_are_no_numbers_are_refused_by_their_slice(tmp_path: Path, ramp: Floats, cli: Cli) -> None:
    broken = ramp.copy()
    broken[2, 0, 0] = np.nan
    refused = cli("compare", stack(tmp_path / "a", ramp), stack(tmp_path / "b", broken), tmp_path / "out")
    assert refused.exit_code == REFUSED
    assert "slice 2 of 'b' holds values that are no numbers" in refused.stderr


def test_a_result_that_is_not_there_is_named(tmp_path: Path, ramp: Floats, cli: Cli) -> None:
    for missing in ("gone", "gone.zarr"):
        refused = cli("compare", stack(tmp_path / f"a-{missing}", ramp), tmp_path / missing, tmp_path / "out")
        assert refused.exit_code == REFUSED
        assert missing in refused.stderr


def test_the_settings_that_differ_are_named_with_both_values(results: Path) -> None:
    found = differing(open_volume(results / "rec"), open_volume(results / "rec.fine"))
    assert found == {"filter": ["ramp", "butterworth"], "rings": ["mean-sinogram", "none"]}


def test_pyramids_compare_as_their_stacks_do(results: Path, cli: Cli) -> None:
    for kind in ("", ".zarr"):
        made = cli("compare", results / f"rec{kind}", results / f"rec.fine{kind}", results / f"out{kind}")
        assert made.exit_code == 0, made.stderr
    stacks, pyramids = (json.loads((results / f"out{kind}" / "comparison.json").read_text()) for kind in ("", ".zarr"))
    assert stacks["slices"] == pyramids["slices"]
    assert stacks["differing"] == pyramids["differing"]


def test_the_picture_for_the_event_log_is_small_and_shows_three_tiles(results: Path, cli: Cli) -> None:
    assert cli("compare", results / "rec", results / "rec.fine", results / "small").exit_code == 0
    manifest = read_manifest(results / "small", "comparison")
    assert manifest is not None
    assert len(manifest.results["thumbnail_png"]) < 100_000
    assert [file.path for file in manifest.files] == ["comparison.json", "comparison.png"]


def test_a_comparison_that_is_there_is_not_made_again_and_another_not_put_over_it(results: Path, cli: Cli) -> None:
    assert cli("compare", results / "rec", results / "rec.fine", results / "once").exit_code == 0
    before = (results / "once" / "comparison.png").stat().st_mtime_ns
    again = cli("compare", results / "rec", results / "rec.fine", results / "once", "--json")
    assert json.loads(again.stdout.splitlines()[-1])["made"] is False
    turned = cli("compare", results / "rec.fine", results / "rec", results / "once")
    assert turned.exit_code == REFUSED
    assert (results / "once" / "comparison.png").stat().st_mtime_ns == before


def test_a_name_that_is_no_text_is_drawn_escaped(tmp_path: Path, ramp: Floats, cli: Cli) -> None:
    first, second = stack(tmp_path / "rec\udcff\n\u202e", ramp), stack(tmp_path / ("x" * 90), ramp)
    assert cli("compare", first, second, tmp_path / "out").exit_code == 0


def test_every_setting_has_an_option_of_the_program(cli: Cli) -> None:
    from tomography.settings import Settings, option

    said = cli("reconstruct", "--help").stdout
    assert all(option(name) in said for name in Settings.model_fields)
