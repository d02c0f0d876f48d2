"""The non-uniform FFT that takes polar samples of a spectrum to a slice: two libraries, one interface.

Belongs here: their plans. Does not: geometry and filters (tomography.fourier).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tomography.errors import SettingsError
from tomography.settings import Nufft

Floats = npt.NDArray[np.float32]
Complex = npt.NDArray[np.complex64]
Transform = Callable[[Complex, Complex], Complex]
"""From samples to a slice, which is put into the second argument and returned."""

ACCURACY = 1e-4
UPSAMPLING = 1.25  # half the memory and two thirds of the time of 2, and still within ACCURACY

_planning = threading.Lock()  # FFT planners are not thread-safe on every build


def transform(library: Nufft, columns: int, down: Floats, across: Floats) -> Transform:
    """From samples at the angular frequencies ``down`` and ``across`` to [columns, columns]; one thread's own.

    Pixels count from -columns / 2. Raises SettingsError where the library is not installed.
    """
    return _ducc0(columns, down, across) if library is Nufft.DUCC0 else _finufft(columns, down, across)


def check_installed(library: Nufft) -> None:
    """Raises SettingsError where it is not."""
    if library is Nufft.DUCC0:
        _ducc0_module()


def _finufft(columns: int, down: Floats, across: Floats) -> Transform:
    import finufft

    with _planning:
        plan = finufft.Plan(
            1, (columns, columns), eps=ACCURACY, isign=1, dtype="complex64", nthreads=1, upsampfac=UPSAMPLING
        )
        plan.setpts(down, across)

    def execute(samples: Complex, out: Complex) -> Complex:
        slices: Complex = plan.execute(samples, out=out)
        return slices

    return execute


def _ducc0(columns: int, down: Floats, across: Floats) -> Transform:
    plan = _ducc0_module().nufft.plan(
        nu2u=True, coord=np.stack([down, across], axis=1), grid_shape=(columns, columns), epsilon=ACCURACY, nthreads=1
    )

    def execute(samples: Complex, out: Complex) -> Complex:
        slices: Complex = plan.nu2u(points=samples, forward=False, out=out)
        return slices

    return execute


def _ducc0_module() -> Any:
    try:
        import ducc0
    except ImportError as error:
        raise SettingsError(
            "--nufft ducc0: that library is not installed here. Install the extra `ducc0` (it is under the GPL), or "
            "leave the option out: finufft gives the same slices to within one part in ten thousand."
        ) from error
    return ducc0
