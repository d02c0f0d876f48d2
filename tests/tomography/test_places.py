"""Everything is put where it belongs: a detector that is tilted, a lens that distorts, a sample that drifts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from scipy.ndimage import map_coordinates
from typer.testing import Result

from tomography.center import center_of
from tomography.phantom import Phantom, true_projection, true_slice
from tomography.scan import open_scan
from tomography.settings import CenterMethod, Padding, Phase, Rings, Settings
from tomography.slabs import SliceMaker, make_slabs

Cli = Callable[..., Result]
Write = Callable[[Phantom], Path]
Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Moved = Callable[[Doubles, Doubles, int], tuple[Doubles, Doubles]]
"""Rows and columns as measured, and the number of a projection: which rows and columns are seen there."""

PHANTOM = Phantom(rows=64, columns=96, angles=121, noisy=False, center_px=48.4)
ROW = 46
MIDDLE = (31.5, 47.5)
LENS = (1.01, 2e-4, 3e-5)

TILTED = Settings(tilt_deg=4)
DISTORTED = Settings(lens_distortion=True, lens_factors="1.01,2e-4,3e-5")
DRIFTED = Settings(drift_down_px=5.6, drift_across_px=-4.3)


def tilted(y: Doubles, x: Doubles, _: int) -> tuple[Doubles, Doubles]:
    """Turned clockwise by 4 degrees, with row 0 on top."""
    sine, cosine = np.sin(np.deg2rad(4)), np.cos(np.deg2rad(4))
    down, across = y - MIDDLE[0], x - MIDDLE[1]
    return cosine * down - sine * across + MIDDLE[0], sine * down + cosine * across + MIDDLE[1]


def distorted(y: Doubles, x: Doubles, _: int) -> tuple[Doubles, Doubles]:
    """Where r (a0 + a1 r + a2 r^2) is what was measured: found by repeating."""
    down, across = y - MIDDLE[0], x - MIDDLE[1]
    measured = np.hypot(down, across)
    r = measured.copy()
    for _again in range(50):
        r = measured / (LENS[0] + LENS[1] * r + LENS[2] * r**2)
    share = np.divide(r, measured, out=np.ones_like(r), where=measured > 0)
    return MIDDLE[0] + share * down, MIDDLE[1] + share * across


def drifted(y: Doubles, x: Doubles, number: int) -> tuple[Doubles, Doubles]:
    return y - 5.6 * number / 120, x + 4.3 * number / 120


def all_at_once(y: Doubles, x: Doubles, number: int) -> tuple[Doubles, Doubles]:
    """Drift before the detector, its tilt before the lens."""
    return drifted(*tilted(*distorted(y, x, number), number), number)


FAULTS = {
    "tilt": (tilted, TILTED),
    "lens": (distorted, DISTORTED),
    "drift": (drifted, DRIFTED),
    "all": (
        all_at_once,
        Settings.model_validate(
            {
                **DISTORTED.model_dump(),
                "tilt_deg": 4,
                **{name: getattr(DRIFTED, name) for name in ("drift_down_px", "drift_across_px")},
            }
        ),
    ),
}


def scan_with(write_scan: Write, moved: Moved) -> Path:
    """A scan in an even beam, each projection seen as ``moved`` says."""
    path = write_scan(PHANTOM)
    y, x = np.mgrid[: PHANTOM.rows, : PHANTOM.columns].astype(float)
    with h5py.File(path, "r+") as file:
        file["exchange/data_dark"][...] = 0
        file["exchange/data_white"][...] = 60_000
        for number, angle_deg in enumerate(PHANTOM.theta_deg):
            transmitted = np.exp(-true_projection(PHANTOM, float(angle_deg)))
            seen = map_coordinates(transmitted, moved(y, x, number), order=3, mode="nearest")
            file["exchange/data"][number] = np.rint(60_000 * seen)
    return path


@pytest.fixture(scope="module", params=FAULTS)
def fault(request: pytest.FixtureRequest, write_scan: Write) -> tuple[Path, Settings]:
    moved, settings = FAULTS[request.param]
    return scan_with(write_scan, moved), settings


def wrong(path: Path, settings: Settings) -> float:
    """Of the slice, as a part of the truth's range, away from where nothing was seen."""
    with open_scan(path) as scan, ThreadPoolExecutor(2) as pool:
        maker = SliceMaker.of(scan, settings)
        found = maker(maker.prepared.read(ROW, ROW + 1, pool))[0]
    truth = true_slice(PHANTOM, ROW)
    return float(np.sqrt(np.mean((found - truth) ** 2)) / np.ptp(truth))


def test_what_was_moved_is_put_back(fault: tuple[Path, Settings]) -> None:
    path, settings = fault
    known = {"center_px": PHANTOM.center_px}
    right, left = (wrong(path, with_it.model_copy(update=known)) for with_it in (settings, Settings()))
    assert right < 0.035
    assert left > 1.5 * right


@pytest.mark.parametrize("method", CenterMethod)
def test_the_axis_is_found_in_frames_that_were_put_right(fault: tuple[Path, Settings], method: CenterMethod) -> None:
    path, settings = fault
    with open_scan(path) as scan:
        found = center_of(scan, settings.model_copy(update={"center_method": method}))
    assert found.center_px == pytest.approx(PHANTOM.axis_px, abs=0.2)
    assert found.flags == ()


def test_a_row_is_the_same_however_many_are_read_with_it(fault: tuple[Path, Settings]) -> None:
    path, settings = fault
    with open_scan(path) as scan, ThreadPoolExecutor(2) as pool:
        prepared = SliceMaker.of(scan, settings.model_copy(update={"zinger_2d": 0.5})).prepared
        whole = prepared.read(0, PHANTOM.rows, pool).counts
        for start, stop in ((0, 2), (30, 44), (62, 64)):
            np.testing.assert_array_equal(prepared.read(start, stop, pool).counts, whole[:, start:stop])


def test_the_lens_of_the_beamline_is_known() -> None:
    """The earlier program's factors for a detector of 2160 x 2560 pixels."""
    assert Settings().lens_polynomial == (1.00015076, 1.9289e-06, -2.4325e-08, 1.00439e-11, -3.99352e-15)
    assert not Settings().lens_distortion


EVERYTHING = Settings(
    center_px=48.4,
    tilt_deg=1.5,
    lens_distortion=True,
    drift_down_px=-3.3,
    drift_across_px=2.2,
    zinger_2d=0.5,
    rings=Rings.VO,
    rings_large_px=21,
    rings_polar_px=15,
    padding=Padding.ZERO,
    padding_factor=1.5,
)


@pytest.mark.parametrize(
    "settings", [EVERYTHING, EVERYTHING.model_copy(update={"stitch_360": True, "center_px": 80.3})]
)
def test_slices_depend_neither_on_threads_nor_on_how_much_is_read_at_once(
    write_scan: Write, tmp_path: Path, cli: Cli, settings: Settings
) -> None:
    path = write_scan(Phantom(rows=12, columns=96, angles=121, range_deg=360))
    for threads in (1, 4):
        done = cli("reconstruct", path, tmp_path / f"rec{threads}", "--threads", threads, *settings.arguments())
        assert done.exit_code == 0, done.stderr
    with open_scan(path) as scan, ThreadPoolExecutor(2) as pool:
        maker = SliceMaker.of(scan, settings)
        for start in range(0, 12, 4):
            raw = maker.prepared.read(start, start + 4, pool)
            found = [image for i in (0, 2) for image in maker(raw.part(slice(i, i + 2)))]
            for row, image in enumerate(found, start):
                for threads in (1, 4):
                    written = tifffile.imread(tmp_path / f"rec{threads}" / f"rec{threads}_{row:05}.tiff")
                    np.testing.assert_array_equal(written, image)


def test_a_phase_that_is_retrieved_does_not_depend_on_how_much_is_read_at_once(write_scan: Write) -> None:
    path = write_scan(Phantom(rows=140, columns=48, angles=31))
    settings = Settings(center_px=23.5, phase=Phase.PAGANIN, phase_alpha=1e-2)

    def slices(most_bytes: int, threads: int) -> Floats:
        made = np.empty((140, 48, 48), np.float32)
        with open_scan(path) as scan, ThreadPoolExecutor(threads) as pool:
            maker = SliceMaker.of(scan, settings)
            for _ in make_slabs(maker, [(0, 128), (128, 140)], most_bytes, pool, made.__setitem__, lambda _: None):
                pass
        return made

    np.testing.assert_array_equal(slices(1, 1), slices(10**9, 3))
