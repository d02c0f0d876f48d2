"""Angles as they come: a full turn about an axis near the detector's edge, and turns that are not even, or more."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from typer.testing import Result

from tomography.center import center_of
from tomography.errors import CenterError, SettingsError
from tomography.fourier import Reconstructor, geometry
from tomography.opposite import opposite_pairs
from tomography.phantom import Phantom, true_projection, true_slice
from tomography.scan import open_scan
from tomography.settings import Settings

Cli = Callable[..., Result]
Write = Callable[[Phantom], Path]
Floats = npt.NDArray[np.float32]

WIDE = 160
ROW = 6
SIDES = {"right": (79.8, slice(0, 96)), "left": (79.2, slice(64, 160))}
"""The axis among 160 columns, and which 96 of them the detector has."""


def wide(side: str, range_deg: float = 360) -> Phantom:
    return Phantom(rows=16, columns=WIDE, angles=361, noisy=False, center_px=SIDES[side][0], range_deg=range_deg)


def cropped(path: Path, columns: slice) -> Path:
    with h5py.File(path, "r+") as file:
        for name in ("data", "data_white", "data_dark"):
            part = file[f"exchange/{name}"][..., columns]
            del file[f"exchange/{name}"]
            file[f"exchange/{name}"] = part
    return path


@pytest.fixture(scope="module", params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def offset_scan(write_scan: Write, side: str) -> Path:
    """A full turn of a sample that is wider than the detector, whose axis is 16 columns from an edge."""
    return cropped(write_scan(wide(side)), SIDES[side][1])


def wrong(found: Floats, truth: npt.NDArray[np.float64]) -> float:
    """The root of the mean squared difference, as a part of the truth's range."""
    return float(np.sqrt(np.mean((found - truth) ** 2)) / np.ptp(truth))


def test_an_offset_scan_shows_the_whole_sample(offset_scan: Path, side: str, tmp_path: Path, cli: Cli) -> None:
    done = cli("reconstruct", offset_scan, tmp_path / "rec", "--stitch-360", "--json")
    assert done.exit_code == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])["results"]
    axis, columns = SIDES[side]
    assert results["center_px"] == pytest.approx(axis - columns.start, abs=0.1)
    assert (results["center_found_by"], results["flags"]) == ("overlap of opposite projections", [])
    assert results["shape"] == [16, WIDE, WIDE]
    found = tifffile.imread(tmp_path / "rec" / f"rec_{ROW:05}.tiff")
    assert wrong(found, true_slice(wide(side), ROW)) < 0.03


def test_without_joining_the_outer_half_of_it_is_not_seen(
    offset_scan: Path, side: str, tmp_path: Path, cli: Cli
) -> None:
    center = SIDES[side][0] - SIDES[side][1].start
    done = cli("reconstruct", offset_scan, tmp_path / "rec", "--center", center)
    assert done.exit_code == 0, done.stderr
    found = tifffile.imread(tmp_path / "rec" / f"rec_{ROW:05}.tiff")
    assert found.shape == (96, 96)
    assert wrong(found, true_slice(wide(side), ROW)[32:128, 32:128]) > 0.1


def test_a_first_look_at_an_offset_scan_is_as_wide(offset_scan: Path, tmp_path: Path, cli: Cli) -> None:
    done = cli("preview", offset_scan, tmp_path / "look", "--stitch-360", "--json")
    assert json.loads(done.stdout.splitlines()[-1])["results"]["shape"] == [16, WIDE, WIDE]


def test_projections_need_no_partner_at_exactly_half_a_turn() -> None:
    even, odd = (np.linspace(0, 360, angles, endpoint=False) for angles in (360, 361))
    slices = [joined(theta) for theta in (even, odd)]
    assert np.abs(slices[0] - slices[1]).mean() < 0.002 * slices[0].max()
    uneven = np.delete(even, np.arange(7, 180, 13))
    assert np.abs(slices[0] - joined(uneven)).mean() < 0.01 * slices[0].max()


def test_a_sample_that_drifts_meanwhile_is_joined_where_it_was() -> None:
    theta = np.linspace(0, 360, 360, endpoint=False)
    moved = np.linspace(0, 5, 360)
    lines = np.stack(
        [
            true_projection(replace(wide("right"), center_px=79.8 + drift), float(angle))[ROW, :96]
            for angle, drift in zip(theta, moved, strict=True)
        ]
    )
    shared = geometry(theta, 96, 79.8, Settings(stitch_360=True), None, moved)
    found = Reconstructor(shared)(lines[None].astype(np.float32))[0]
    assert np.abs(found - joined(theta)).mean() < 0.01 * found.max()


def joined(theta_deg: npt.NDArray[np.float64]) -> Floats:
    lines = np.stack([true_projection(wide("right"), float(angle))[ROW, :96] for angle in theta_deg])
    shared = geometry(theta_deg, 96, 79.8, Settings(stitch_360=True), None)
    return Reconstructor(shared)(lines[None].astype(np.float32))[0]


def test_half_a_turn_is_not_joined(write_scan: Write) -> None:
    with open_scan(write_scan(wide("right", range_deg=180))) as scan, pytest.raises(SettingsError, match="full turn"):
        center_of(scan, Settings(stitch_360=True))


@pytest.mark.parametrize("center_px", [1.5, 94.5])
def test_projections_that_do_not_overlap_are_not_joined(center_px: float) -> None:
    with pytest.raises(CenterError, match="do not overlap"):
        geometry(np.linspace(0, 360, 91), 96, center_px, Settings(stitch_360=True), None)


def test_pairs_are_opposite_and_spread_over_the_turn() -> None:
    theta = np.linspace(360, 0, 181)
    pairs = opposite_pairs(theta)
    assert len(pairs) == 32
    np.testing.assert_allclose([theta[second] - theta[first] for first, second in pairs], 180)
    assert np.ptp([theta[first] for first, _ in pairs]) == 180


# -- turns that are not even ---------------------------------------------------------------------------------------

HALF = Phantom(rows=16, columns=128, angles=201, noisy=False)
EVEN = HALF.theta_deg
UNEVEN = EVEN + np.random.default_rng(5).uniform(-0.4, 0.4, EVEN.size)
TURNS = {
    "descending": EVEN[::-1],
    "more than half a turn": np.linspace(0, 300, 334),
    "a gap that the second turn fills": np.concatenate(
        [EVEN[EVEN < 60], EVEN[EVEN > 90], 180 + EVEN[(EVEN >= 60) & (EVEN <= 90)]]
    ),
    "twice as dense in one part": np.concatenate([np.arange(0, 60, 0.3), np.arange(60, 180.1, 0.9)]),
    "steps between 0.1 and 1.7 degrees": UNEVEN,
}


def slice_of(theta_deg: npt.NDArray[np.float64]) -> Floats:
    lines = np.stack([true_projection(HALF, float(angle))[ROW] for angle in theta_deg])
    shared = geometry(theta_deg, HALF.columns, HALF.axis_px, Settings(), HALF.pixel_size_um)
    return Reconstructor(shared)(lines[None].astype(np.float32))[0]


@pytest.mark.parametrize("turn", TURNS)
def test_uneven_angles_give_as_good_a_slice_as_even_ones(turn: str) -> None:
    truth = true_slice(HALF, ROW)
    assert wrong(slice_of(TURNS[turn]), truth) < 1.1 * wrong(slice_of(EVEN), truth)
