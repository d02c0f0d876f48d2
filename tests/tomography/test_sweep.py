"""One setting tried with several values: what is shown, and how a choice is passed on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import Result

from tomography.errors import SettingsError
from tomography.settings import Rings, Settings, read_settings
from tomography.sweep import tries

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def swept(small_scan: Path, cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweep") / "centers"
    arguments = ["--over", "center", "--values", "45.3:53.3:2", "--rows", 3, "--filter", "butterworth"]
    done = cli("sweep", small_scan, out, *arguments)
    assert done.exit_code == 0, done.stderr
    return out


def test_every_value_has_its_slice_and_its_settings(swept: Path) -> None:
    names = {path.name for path in swept.iterdir()}
    assert names == {"sheet.png"} | {f"{i:02}_{what}" for i in range(1, 6) for what in ("slice_3.png", "settings.yaml")}
    chosen = [read_settings(swept / f"{i:02}_settings.yaml") for i in range(1, 6)]
    assert [one.center_px for one in chosen] == pytest.approx([45.3, 47.3, 49.3, 51.3, 53.3])
    assert {one.filter for one in chosen} == {"butterworth"}


def test_the_right_value_is_the_sharpest(swept: Path) -> None:
    def strongest(i: int) -> float:
        with Image.open(swept / f"{i:02}_slice_3.png") as image:
            return float(np.asarray(image, float)[30:70, 30:70].std())

    assert max(range(1, 6), key=strongest) == 3


def test_a_choice_is_passed_on_by_its_file(swept: Path, small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    done = cli("reconstruct", small_scan, tmp_path / "rec", "--settings", swept / "02_settings.yaml")
    assert done.exit_code == 0, done.stderr
    given = cli("reconstruct", small_scan, tmp_path / "other", "--center", "47.3", "--filter", "butterworth")
    assert given.exit_code == 0
    a, b = (tifffile.imread(tmp_path / name / f"{name}_00003.tiff") for name in ("rec", "other"))
    np.testing.assert_array_equal(a, b)


def test_words_are_swept_as_well_as_numbers() -> None:
    found = tries(Settings(), "rings", "none, titarenko")
    assert [one.settings.rings for one in found] == [Rings.NONE, Rings.TITARENKO]


@pytest.mark.parametrize(
    ("values", "said"),
    [("1:2", "first:last:step"), ("1:2:0", "1 to 50"), ("5:1:1", "1 to 50"), ("", "0 values"), ("a", "--center a")],
)
def test_values_that_cannot_be_tried_are_refused(values: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        tries(Settings(), "center_px", values)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--over", "boxcar", "--values", "1"], "there is no setting 'boxcar'"),
        (["--over", "center", "--values", "1", "--rows", "6"], "rows are 0 to 5"),
    ],
)
def test_what_cannot_be_swept_is_refused_and_leaves_nothing(
    small_scan: Path, tmp_path: Path, cli: Cli, arguments: list[str], said: str
) -> None:
    done = cli("sweep", small_scan, tmp_path / "out", *arguments)
    assert (done.exit_code, said in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []
