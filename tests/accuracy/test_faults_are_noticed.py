"""The proof notices what is wrong with a volume: each fault here makes its finding red, and no other one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import shift

from accuracy import faults, pyramids, reconstruction, steps
from accuracy.findings import Finding
from accuracy.phantoms import scan_of, truth
from accuracy.program import Reconstruction, reconstruct
from tomography.phantom import Phantom, true_projection

Floats = npt.NDArray[np.floating]
SMALL = Phantom(rows=20, columns=96, angles=151, noisy=False, center_px=49.3, pixel_width=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Reconstruction:
    folder = tmp_path_factory.mktemp("small")
    raw = scan_of(SMALL, folder / "scan.h5")
    return reconstruct(raw, folder / "rec", "--rings", "none", "--center", str(SMALL.axis_px))


@pytest.fixture(scope="module")
def true() -> Floats:
    return truth(SMALL, of_areas=True)


def of(volume: Floats, true: Floats) -> list[Finding]:
    found = reconstruction.of_volume("small", volume, true)
    return [*found, reconstruction.of_orientation("small", volume, true)]


def missed(findings: list[Finding]) -> set[str]:
    return {finding.what for finding in findings if finding.is_missed}


def test_what_the_program_makes_is_green(made: Reconstruction, true: Floats) -> None:
    assert missed(of(made.volume, true)) == set()


@pytest.mark.parametrize(
    ("fault", "red"),
    [
        (lambda volume: volume * 1.01, "gain"),
        (lambda volume: volume + 0.02 * volume.max(), "background"),
        (lambda volume: shift(volume, (0.5, 0, 0), order=1), "shift along z"),
        (lambda volume: shift(volume, (0, 0.5, 0), order=1), "shift along y"),
        (lambda volume: shift(volume, (0, 0, -0.5), order=1), "shift along x"),
        (lambda volume: volume[:, ::-1], "error in the best other orientation"),
        (lambda volume: volume[::-1], "error in the best other orientation"),
        (lambda volume: np.rot90(volume, axes=(1, 2)), "error in the best other orientation"),
        (lambda volume: volume * np.nan, "gain"),
    ],
    ids=["gain", "offset", "half a pixel in z", "in y", "in x", "mirrored", "upside down", "turned", "not a number"],
)
def test_a_fault_is_red(made: Reconstruction, true: Floats, fault: Callable[[Floats], Floats], red: str) -> None:
    assert red in missed(of(fault(made.volume), true))


def test_half_a_pixel_is_measured_as_half_a_pixel(made: Reconstruction, true: Floats) -> None:
    moved = shift(made.volume, (0, 0.5, 0), order=3)
    found = {finding.what: finding.measured for finding in of(moved, true)}
    assert found["shift along y"] == pytest.approx(0.5, abs=0.06)
    assert found["shift along x"] < 0.03


def test_a_centre_that_is_off_is_red() -> None:
    assert reconstruction.of_center("small", 49.5, 49.3).is_missed
    assert not reconstruction.of_center("small", 49.25, 49.3).is_missed


def test_a_larger_error_than_a_peers_is_red() -> None:
    errors = {f"{program} hann": 0.02 for program in ("algotom-fbp", "algotom-dfi")}
    assert missed(reconstruction.of_errors("discs", "hann", {**errors, "ours hann": 0.019})) == set()
    assert len(missed(reconstruction.of_errors("discs", "hann", {**errors, "ours hann": 0.021}))) == 2


@pytest.fixture(scope="module")
def levels() -> list[Floats]:
    stack = np.random.default_rng(1).standard_normal((5, 6, 7))
    middle = pyramids.mean_of_existing(stack)
    return [stack, middle, pyramids.mean_of_existing(middle)]


def test_levels_that_are_no_means_are_red(levels: list[Floats]) -> None:
    assert missed(pyramids.of_levels("small", levels[0], levels)) == set()
    picked = [levels[0], levels[0][::2, ::2, ::2], levels[2]]
    assert missed(pyramids.of_levels("small", levels[0], picked)) == {"level 1: largest distance from the mean"}
    assert missed(pyramids.of_levels("small", levels[0], [levels[0] + 1e-7, *levels[1:]]))


@pytest.mark.parametrize(("half_off", "red"), [(0.0, set()), (0.65, {"level 1: places in the metadata are off by"})])
def test_levels_in_the_wrong_place_are_red(levels: list[Floats], half_off: float, red: set[str]) -> None:
    placed = [
        {
            "coordinateTransformations": [
                {"type": "scale", "scale": [0.65 * 2**level] * 3},
                {"type": "translation", "translation": [0.65 * (2**level - 1) / 2 - half_off * (level == 1)] * 3},
            ]
        }
        for level in range(2)
    ]
    assert missed(pyramids.of_places("small", levels[:2], placed, 0.65)) == red


def test_a_step_that_mends_nothing_is_red(tmp_path: Path) -> None:
    mends = steps.Step("angle-offset", ("--angle-offset", "-10"), faults.turned, 0.05, None)
    other = steps.Step("none", ("--rings", "none"), faults.turned, 0.05, None)
    chapter = steps.chapter(tmp_path, (mends, other), steps.foam(rows=6, columns=96, pores=4))
    assert missed(list(chapter.findings)) == {"none: left of its fault"}
    assert any("MISSED" in line for line in chapter.table)


def test_a_detector_that_averages_sees_the_mean_of_lines() -> None:
    fine = Phantom(rows=6, columns=96 * 32, angles=3, center_px=49.3 * 32 + 15.5)
    lines = true_projection(fine, 33.0).reshape(6, 96, 32).mean(axis=2)
    averaged = true_projection(Phantom(rows=6, columns=96, angles=3, center_px=49.3, pixel_width=1), 33.0)
    np.testing.assert_allclose(averaged, lines, atol=2e-3 * lines.max())
