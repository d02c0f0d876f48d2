"""Slices are right: value, place, orientation, unit."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomography.center import center_of
from tomography.errors import CenterError, SettingsError
from tomography.fourier import Reconstructor, angle_weights, geometry, missing_wedge_deg
from tomography.normalise import absorption
from tomography.opposite import opposite_pair
from tomography.phantom import Phantom, true_projection, true_slice
from tomography.rings import correct_rings
from tomography.scan import RawRows, open_scan
from tomography.settings import Filter, Nufft, Rings, Settings

Floats = npt.NDArray[np.float32]
ROW = 2

# The slice of row 2 as it must look, a character for 4 x 4 pixels, from air to dense: the disc is high and right,
# the bead low and left of the middle. Made once from the bodies and kept, so that a change of the convention shows.
EXPECTED = np.array(
    [list(f"{line:24}") for line in (Path(__file__).parent / "expected_slice.txt").read_text().split("\n")[:24]]
)


def sinograms(phantom: Phantom) -> Floats:
    projections = np.stack([true_projection(phantom, float(angle)) for angle in phantom.theta_deg])
    return np.ascontiguousarray(projections.transpose(1, 0, 2), dtype=np.float32)


def slices_of(phantom: Phantom, settings: Settings, pixel_size_um: float | None) -> Floats:
    shared = geometry(phantom.theta_deg, phantom.columns, phantom.axis_px, settings, pixel_size_um)
    return Reconstructor(shared)(correct_rings(sinograms(phantom)[ROW : ROW + 2], settings))


def radius(columns: int) -> npt.NDArray[np.float64]:
    position = (np.arange(columns) - (columns - 1) / 2) / (columns / 2)
    return np.asarray(np.hypot(position[:, None], position))


def smooth_where(truth: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Away from edges, where a band-limited slice cannot follow the truth."""
    around = [np.roll(truth, (y, x), (0, 1)) for y in range(-3, 4) for x in range(-3, 4)]
    return np.asarray(np.all([np.isclose(truth, other) for other in around], axis=0) & (radius(len(truth)) < 0.97))


@pytest.fixture(scope="module", params=[(128, 201), (127, 180)], ids=["even", "odd"])
def phantom(request: pytest.FixtureRequest) -> Phantom:
    columns, angles = request.param
    return Phantom(rows=6, columns=columns, angles=angles, noisy=False)


@pytest.mark.parametrize(
    "rings", [rings for rings in Rings if rings is not Rings.VO]
)  # that one tells stripes by the noise: test_rings
def test_the_gain_is_one(phantom: Phantom, rings: Rings) -> None:
    found = slices_of(phantom, Settings(rings=rings), phantom.pixel_size_um)[0]
    truth = true_slice(phantom, ROW)
    flat = smooth_where(truth)
    assert np.vdot(found[flat], truth[flat]) / np.vdot(truth[flat], truth[flat]) == pytest.approx(1, abs=0.005)


def test_the_background_is_zero(phantom: Phantom) -> None:
    found = slices_of(phantom, Settings(), phantom.pixel_size_um)[0]
    truth = true_slice(phantom, ROW)
    ring = (radius(phantom.columns) > 0.88) & (radius(phantom.columns) < 0.97)
    assert abs(found[ring].mean()) < 1e-3 * truth.max()


def test_nothing_is_left_outside_the_circle(phantom: Phantom) -> None:
    found = slices_of(phantom, Settings(), phantom.pixel_size_um)
    assert not found[:, radius(phantom.columns) > 1].any()


def test_both_slices_of_a_pair_are_their_own(phantom: Phantom) -> None:
    found = slices_of(phantom, Settings(), phantom.pixel_size_um)
    for i in range(2):
        truth = true_slice(phantom, ROW + i)
        flat = smooth_where(truth)
        assert np.abs(found[i] - truth)[flat].mean() < 0.01 * truth.max()


def test_a_slice_does_not_depend_on_its_partner(phantom: Phantom) -> None:
    reconstructor = Reconstructor(geometry(phantom.theta_deg, phantom.columns, phantom.axis_px, Settings(), None))
    pair = sinograms(phantom)[ROW : ROW + 2]
    together, alone = reconstructor(pair), reconstructor(pair[:1])
    assert np.abs(together[0] - alone[0]).max() < 1e-4 * alone.max()


def test_nothing_is_shifted_by_a_tenth_of_a_pixel(phantom: Phantom) -> None:
    found = slices_of(phantom, Settings(), phantom.pixel_size_um)[0].astype(float)
    truth = true_slice(phantom, ROW)
    position = np.arange(phantom.columns)
    for axis in (0, 1):
        moments = [(image.sum(axis=1 - axis) * position).sum() / image.sum() for image in (found, truth)]
        assert moments[0] == pytest.approx(moments[1], abs=0.1)


def test_the_slice_has_the_expected_picture() -> None:
    phantom = Phantom(rows=6, columns=96, angles=151, noisy=False)
    found = slices_of(phantom, Settings(), phantom.pixel_size_um)[0]
    coarse = found.reshape(24, 4, 24, 4).mean(axis=(1, 3)) / (phantom.density_per_px / (phantom.pixel_size_um * 1e-4))
    picture = np.array(list(" -+#"))[np.digitize(coarse, [0.2, 0.65, 1.2])]
    assert np.count_nonzero(picture != EXPECTED) < 10  # cells that an edge crosses may fall either way


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_no_other_orientation_has_the_expected_picture(turns: int, mirrored: bool) -> None:
    other = np.rot90(EXPECTED.T if mirrored else EXPECTED, turns)
    differing = np.count_nonzero(other != EXPECTED)
    assert differing > 30 or (turns, mirrored) == (0, False)


@pytest.mark.parametrize(("seen_right_at_deg", "row", "column"), [(0, 31.5, 51.5), (90, 51.5, 31.5)])
def test_a_bead_lies_where_the_detector_saw_it(seen_right_at_deg: float, row: float, column: float) -> None:
    theta = np.linspace(0, 180, 91)
    middle = 31.5 + 20 * np.cos(np.deg2rad(theta - seen_right_at_deg))
    bead = np.exp(-0.5 * ((np.arange(64) - middle[:, None]) / 1.5) ** 2).astype(np.float32)
    image = Reconstructor(geometry(theta, 64, 31.5, Settings(), None))(bead[None])[0].clip(0.01)
    brightest = np.unravel_index(image.argmax(), image.shape)
    assert brightest == pytest.approx((row, column), abs=1)


def test_values_are_per_pixel_without_a_pixel_size() -> None:
    phantom = Phantom(rows=6, columns=96, angles=151, noisy=False)
    per_cm, per_px = (slices_of(phantom, Settings(), size) for size in (phantom.pixel_size_um, None))
    np.testing.assert_allclose(per_cm * (phantom.pixel_size_um * 1e-4), per_px, atol=1e-6)


def test_a_butterworth_window_keeps_the_gain_and_smooths_noise() -> None:
    phantom = Phantom(rows=6, columns=128, angles=201, noisy=False)
    noise = np.random.default_rng(1).standard_normal((1, phantom.angles, phantom.columns)).astype(np.float32)
    shared = {
        window: geometry(phantom.theta_deg, 128, phantom.axis_px, Settings(filter=window), None) for window in Filter
    }
    rough, smooth = (Reconstructor(shared[window])(noise).std() for window in (Filter.RAMP, Filter.BUTTERWORTH))
    assert smooth < 0.6 * rough
    found = slices_of(phantom, Settings(filter=Filter.BUTTERWORTH), phantom.pixel_size_um)[0]
    truth = true_slice(phantom, ROW)
    flat = smooth_where(truth)
    assert np.vdot(found[flat], truth[flat]) / np.vdot(truth[flat], truth[flat]) == pytest.approx(1, abs=0.01)


def test_a_full_turn_gives_the_same_slice_as_half_a_turn() -> None:
    half = Phantom(rows=6, columns=96, angles=151, noisy=False, center_px=47.5)
    full = Phantom(rows=6, columns=96, angles=301, noisy=False, center_px=47.5, range_deg=360)
    a, b = (slices_of(phantom, Settings(rings=Rings.NONE), None) for phantom in (half, full))
    assert np.abs(a - b).max() < 0.001 * a.max()


@given(st.lists(st.floats(-720, 720, allow_nan=False), min_size=3, max_size=60))
def test_angles_never_weigh_more_than_half_a_turn(theta_deg: list[float]) -> None:
    weights = angle_weights(np.deg2rad(np.array(theta_deg)))
    assert (weights >= 0).all()
    assert weights.sum() < np.pi * 1.001


def test_both_ends_of_half_a_turn_count_half() -> None:
    weights = angle_weights(np.deg2rad(np.linspace(0, 180, 19)))
    np.testing.assert_allclose(weights[[0, 9, -1]], np.deg2rad([5, 10, 5]))


def test_a_missing_wedge_is_seen_and_not_filled() -> None:
    theta = np.arange(0, 140, 1.0)
    assert missing_wedge_deg(theta) == pytest.approx(41)
    np.testing.assert_allclose(angle_weights(np.deg2rad(theta)), np.deg2rad(1))
    assert missing_wedge_deg(np.linspace(0, 180, 181)) == 0


@pytest.mark.parametrize("rings", [Rings.MEAN_SINOGRAM, Rings.FOURIER_WAVELET, Rings.TITARENKO, Rings.SMOOTHING])
def test_every_ring_correction_weakens_a_bright_column_and_spares_the_sample(rings: Rings) -> None:
    phantom = Phantom(rows=6, columns=128, angles=201, noisy=False)
    clean = sinograms(phantom)[:1]
    striped = clean.copy()
    striped[:, :, 40] += 0.2
    corrected = correct_rings(striped.copy(), Settings(rings=rings))
    left = corrected - correct_rings(clean.copy(), Settings(rings=rings))
    assert np.abs(left)[:, :, 40].mean() < 0.7 * 0.2
    assert np.abs(corrected - clean).mean() < 0.05 * clean.max()


def test_the_default_ring_correction_removes_a_bright_column_and_spares_the_sample() -> None:
    phantom = Phantom(rows=6, columns=128, angles=201, noisy=False)
    clean = sinograms(phantom)[:1]
    striped = clean.copy()
    striped[:, :, 40] += 0.2
    corrected = correct_rings(striped.copy(), Settings())
    assert np.abs(corrected - clean)[:, :, 40].mean() < 0.02
    assert np.abs(corrected - clean).mean() < 0.004


def test_a_dead_pixel_is_filled_from_its_neighbours() -> None:
    white, dark = np.full((1, 6), 100.0, np.float32), np.zeros((1, 6), np.float32)
    counts = np.tile(np.array([50, 50, 0, 50, 50, 0], np.uint16), (4, 1, 1)).reshape(4, 1, 6)
    white[0, [2, 5]] = 0
    found = absorption(RawRows(counts, white, dark), Settings())
    np.testing.assert_allclose(found, np.log(2), rtol=1e-5)


def test_transmission_is_never_taken_below_its_minimum() -> None:
    white, dark = np.full((1, 3), 100.0, np.float32), np.full((1, 3), 10.0, np.float32)
    counts = np.array([[[0.0, np.nan, 100.0]]], np.float32)
    np.testing.assert_allclose(
        absorption(RawRows(counts, white, dark), Settings())[0, 0], [-np.log(0.01)] * 2 + [0], atol=1e-6
    )


@pytest.mark.parametrize("offset_px", [-6.3, 0.0, 1.8])
def test_the_centre_is_found_within_a_tenth_of_a_pixel(write_scan: Callable[[Phantom], Path], offset_px: float) -> None:
    phantom = Phantom(rows=16, columns=96, angles=91, noisy=False, center_px=47.5 + offset_px)
    with open_scan(write_scan(phantom)) as scan:
        found = center_of(scan, Settings(strict_center=True))
    assert found.center_px == pytest.approx(phantom.axis_px, abs=0.1)
    assert found.flags == ()


def test_a_centre_that_nothing_supports_is_flagged_and_refused_when_strict(
    write_scan: Callable[[Phantom], Path],
) -> None:
    phantom = Phantom(rows=16, columns=96, angles=31, range_deg=60)
    with open_scan(write_scan(phantom)) as scan:
        assert "no two projections are 180 degrees apart" in center_of(scan, Settings()).flags[0]
        with pytest.raises(CenterError, match="Give it with --center"):
            center_of(scan, Settings(strict_center=True))


def test_a_centre_off_the_detector_is_refused(small_scan: Path) -> None:
    with open_scan(small_scan) as scan, pytest.raises(CenterError, match="columns are 0 to 95"):
        center_of(scan, Settings(center_px=96))


def test_the_opposite_pair_is_found_by_angle_and_not_by_position() -> None:
    first, second, apart_deg = opposite_pair(np.array([90.0, 10.0, 45.0, 190.1, 300.0]))
    assert (first, second) == (1, 3)
    assert apart_deg == pytest.approx(180.1)


def test_a_real_tooth_has_its_known_centre(tooth: Path) -> None:
    with open_scan(tooth) as scan:
        assert center_of(scan, Settings(strict_center=True)).center_px == pytest.approx(295.6, abs=0.1)


@pytest.mark.skipif(importlib.util.find_spec("ducc0") is not None, reason="the extra is installed")
def test_a_transform_whose_library_is_not_installed_is_refused() -> None:
    with pytest.raises(SettingsError, match="Install the extra `ducc0`"):
        geometry(np.linspace(0, 180, 31), 96, 47.5, Settings(nufft=Nufft.DUCC0), None)
