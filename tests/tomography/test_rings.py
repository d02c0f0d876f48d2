"""Rings of every kind are removed by the corrections that are for them, and the sample is spared."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import Result

from tomography.fourier import Reconstructor, geometry
from tomography.phantom import Phantom, true_projection
from tomography.polar import PolarRings
from tomography.rings import correct_rings
from tomography.settings import Rings, Settings

Cli = Callable[..., Result]
Write = Callable[[Phantom], Path]
Floats = npt.NDArray[np.float32]

PHANTOM = Phantom(rows=6, columns=192, angles=241, noisy=False)
VO = Settings(rings=Rings.VO, rings_large_px=31)
CENTER = (PHANTOM.columns - 1) / 2


def clean() -> Floats:
    """A sinogram [1, angle, column] with the noise of a good detector, in which stripes have to be told."""
    lines = np.stack([true_projection(PHANTOM, float(angle))[2] for angle in PHANTOM.theta_deg])
    noise = 0.01 * np.random.default_rng(7).standard_normal(lines.shape)
    return (lines + noise)[None].astype(np.float32)


def bright_column(sinogram: Floats) -> None:
    sinogram[:, :, 60] += 0.1


def wide_stripe(sinogram: Floats) -> None:
    sinogram[:, :, 120:127] *= 1.2


def dead_column(sinogram: Floats) -> None:
    sinogram[:, :, 60] = sinogram[:, :, 60].mean()


def flickering_column(sinogram: Floats) -> None:
    sinogram[:, :, 90] += np.random.default_rng(1).normal(0, 0.5, PHANTOM.angles).astype(np.float32)


FAULTS = {
    "a bright column": (bright_column, slice(60, 61)),
    "a wide stripe": (wide_stripe, slice(120, 127)),
    "a dead column": (dead_column, slice(60, 61)),
    "a flickering column": (flickering_column, slice(90, 91)),
}


def left(fault: str, settings: Settings) -> float:
    """How wrong the faulty columns are after a correction, as a part of how wrong they were."""
    spoil, columns = FAULTS[fault]
    sinogram = clean()
    spoil(sinogram)
    damage = np.abs(sinogram - clean())[..., columns].mean()
    return float(np.abs(correct_rings(sinogram, settings) - clean())[..., columns].mean() / damage)


@pytest.mark.parametrize("fault", FAULTS)
def test_vos_correction_removes_stripes_of_every_kind(fault: str) -> None:
    assert left(fault, VO) < 0.3


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "a bright column"])
def test_the_default_is_not_made_for_these(fault: str) -> None:
    assert left(fault, Settings()) > 0.5


def test_vos_correction_keeps_the_gain() -> None:
    found, truth = slices(correct_rings(clean(), VO)), slices(clean())
    assert np.vdot(found, truth) / np.vdot(truth, truth) == pytest.approx(1, abs=0.01)


def test_vos_correction_spares_a_sample_without_stripes() -> None:
    assert np.abs(correct_rings(clean(), VO) - clean()).mean() < 0.005 * np.ptp(clean())


# -- in polar coordinates ------------------------------------------------------------------------------------------


def slices(sinogram: Floats) -> Floats:
    return Reconstructor(geometry(PHANTOM.theta_deg, PHANTOM.columns, PHANTOM.axis_px, Settings(), None))(sinogram)


def test_rings_are_removed_from_a_slice_and_little_else() -> None:
    sinogram = clean()
    for column in (40, 77, 150):
        sinogram[:, :, column] += 0.3
    truth, ringed = slices(clean()), slices(sinogram)
    polar = PolarRings(PHANTOM.columns, 15, 30.0)
    rings = np.abs(ringed - truth) > 0.2 * np.abs(ringed - truth).max()
    assert np.abs(polar(ringed.copy()) - truth)[rings].mean() < 0.4 * np.abs(ringed - truth)[rings].mean()
    assert np.abs(polar(truth.copy()) - truth).mean() < 0.02 * np.ptp(truth)


def test_a_ring_of_half_a_turn_is_one() -> None:
    """Half a turn about the middle gives half rings: a column is to the right of the axis, and then to its left."""
    y, x = np.mgrid[: PHANTOM.columns, : PHANTOM.columns] - CENTER
    half_ring = (np.abs(np.hypot(y, x) - 50) < 1) & (y > 0)
    image = half_ring.astype(np.float32)[None]
    found = PolarRings(PHANTOM.columns, 15, 20.0)(image.copy())[0]
    assert found[half_ring & (y > 20)].mean() < 0.3
    assert np.abs(found[y < -20]).max() < 0.05


def test_nothing_changes_outside_the_circle_or_without_the_setting() -> None:
    image = np.random.default_rng(2).normal(size=(1, 64, 64)).astype(np.float32)
    corners = np.hypot(*(np.mgrid[:64, :64] - 31.5)) > 32
    np.testing.assert_array_equal(PolarRings(64, 9, 30.0)(image.copy())[0][corners], image[0][corners])
    np.testing.assert_array_equal(PolarRings(64, 0, 30.0)(image.copy()), image)


def test_both_are_settings_of_a_reconstruction(write_scan: Write, tmp_path: Path, cli: Cli) -> None:
    path = write_scan(Phantom(rows=4, columns=64, angles=61, noisy=False))
    with h5py.File(path, "r+") as file:
        file["exchange/data"][:, :, 20] //= 2
    folders = {"none": ["--rings", "none"], "polar": ["--rings", "none", "--rings-polar", "9"], "vo": ["--rings", "vo"]}
    for name, options in folders.items():
        done = cli("reconstruct", path, tmp_path / name, "--center", 31.5, *options)
        assert done.exit_code == 0, done.stderr
    contents = {name: (tmp_path / name / f"{name}_00002.tiff").read_bytes() for name in folders}
    assert len(set(contents.values())) == 3
