"""Each way of finding the axis finds it, and where one is misled another is not."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import Result

from tomography.center import center_of
from tomography.errors import CenterError, SettingsError
from tomography.phantom import Phantom
from tomography.scan import open_scan
from tomography.settings import CenterMethod, Settings

Cli = Callable[..., Result]
Write = Callable[[Phantom], Path]

VO, NELDER_MEAD = Settings(center_method=CenterMethod.VO), Settings(center_method=CenterMethod.NELDER_MEAD)


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("method", CenterMethod)
def test_every_method_finds_the_axis(write_scan: Write, method: CenterMethod, noisy: bool) -> None:
    path = write_scan(Phantom(rows=16, columns=128, angles=181, noisy=noisy, center_px=57.7))
    with open_scan(path) as scan:
        found = center_of(scan, Settings(center_method=method, strict_center=True))
    assert found.center_px == pytest.approx(57.7, abs=0.15)


@pytest.fixture
def moved_at_last(write_scan: Write) -> Path:
    """The sample has moved by 5 columns before the last projection, which is the opposite of the first."""
    path = write_scan(Phantom(rows=16, columns=128, angles=181, noisy=False, center_px=57.7))
    with h5py.File(path, "r+") as file:
        file["exchange/data"][180] = np.roll(file["exchange/data"][180], 5, axis=1)
    return path


@pytest.mark.parametrize("settings", [VO, NELDER_MEAD, VO.model_copy(update={"ignored_projections": "3,40-44"})])
def test_one_projection_that_has_moved_misleads_only_the_method_that_trusts_it(
    moved_at_last: Path, settings: Settings
) -> None:
    with open_scan(moved_at_last) as scan:
        assert abs(center_of(scan, Settings()).center_px - 57.7) > 2
        assert center_of(scan, settings).center_px == pytest.approx(57.7, abs=0.15)


def test_vos_method_takes_half_of_a_full_turn_whatever_its_order(write_scan: Write) -> None:
    path = write_scan(Phantom(rows=16, columns=128, angles=361, noisy=False, center_px=57.7, range_deg=360))
    with h5py.File(path, "r+") as file:
        for name in ("data", "theta"):
            file[f"exchange/{name}"][...] = file[f"exchange/{name}"][...][::-1]
    with open_scan(path) as scan:
        assert center_of(scan, VO).center_px == pytest.approx(57.7, abs=0.1)


def test_vos_method_says_what_it_lacks(write_scan: Write) -> None:
    with open_scan(write_scan(Phantom(rows=16, columns=96, angles=91, range_deg=90))) as scan:
        assert "less than half a turn" in center_of(scan, VO).flags[-1]


def test_an_offset_scan_has_no_other_method(write_scan: Write) -> None:
    settings = Settings(center_method=CenterMethod.VO, stitch_360=True)
    with open_scan(write_scan(Phantom(rows=6, columns=96, angles=91, range_deg=360))) as scan:
        with pytest.raises(SettingsError, match="--center-method vo"):
            center_of(scan, settings)
        with pytest.raises(CenterError, match="not on the detector"):
            center_of(scan, settings.model_copy(update={"center_px": 200.0}))
