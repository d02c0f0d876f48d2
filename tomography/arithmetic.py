"""What slices are computed with: the processors, or a graphics card. Other libraries, one interface.

Belongs here: arrays and Fourier transforms of either, whether there is a card, and what is said where there is none.
Does not: geometry and filters (tomography.fourier), which are written once for both.

On a card, arrays are cupy's and the non-uniform FFT is cufinufft's. Both call things as numpy, scipy and finufft do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import scipy.fft

from tomography.errors import LimitError
from tomography.nufft import Transform, transform
from tomography.settings import Device, Nufft, Settings

Array = Any
"""numpy's, or cupy's."""

CARD_ACCURACY = 1e-5  # costs a card little, and what differs from the processors' slices is their own error


@dataclass(frozen=True)
class Arithmetic:
    """``arrays`` is the module of the arrays; ``fft`` transforms rows of complex64, which it may overwrite; ``nufft``
    makes a plan from a slice's width and the angular frequencies; ``fetched`` gives an array as numpy's.
    ``flags`` say what a person should know about how it was chosen.
    """

    device: Device
    arrays: Any
    fft: Callable[[Array], Array]
    nufft: Callable[[int, Array, Array], Transform]
    fetched: Callable[[Array], Any]
    flags: tuple[str, ...] = ()


def arithmetic_of(settings: Settings) -> Arithmetic:
    """What the settings ask for; the processors, with a flag, where they ask for a card and it cannot be used."""
    if settings.device is Device.CPU:
        return processors(settings.nufft)
    found = _card()
    if isinstance(found, Arithmetic):
        return found
    return processors(settings.nufft, (f"computed on the processors: --device {settings.device}, but {found}",))


def processors(library: Nufft, flags: tuple[str, ...] = ()) -> Arithmetic:
    """The processors of this machine; each plan has one thread."""
    fft = partial(scipy.fft.fft, axis=1, overwrite_x=True)
    return Arithmetic(Device.CPU, np, fft, partial(transform, library), np.asarray, flags)


def _card() -> Arithmetic | str:
    """The card, or why there is none."""
    try:
        # In this order: cufinufft looks for CUDA's libraries where the loader does, and finds what cupy has loaded.
        cupy, cupy_fft, cufinufft = (import_module(name) for name in ("cupy", "cupyx.scipy.fft", "cufinufft"))
    except (ImportError, OSError) as error:
        return f"cupy and cufinufft cannot be loaded here ({error}); they are the extra `gpu`, and need CUDA 12"
    if not cupy.cuda.is_available():
        return "CUDA finds no graphics card here"

    def planned(columns: int, down: Array, across: Array) -> Transform:
        try:
            plan = cufinufft.Plan(1, (columns, columns), eps=CARD_ACCURACY, isign=1, dtype="complex64")
            plan.setpts(down, across)
        except (RuntimeError, MemoryError) as error:
            raise LimitError(
                f"--device {Device.CUDA}: no transform to slices of {columns} px could be planned on the card "
                f"({error}); most likely it has too little memory. Leave the option out."
            ) from error

        def execute(samples: Array, out: Array) -> Array:
            try:
                return plan.execute(samples, out=out)
            except RuntimeError as error:
                raise OSError(f"the graphics card has failed in a transform ({error})") from error

        return execute

    return Arithmetic(Device.CUDA, cupy, partial(cupy_fft.fft, axis=1, overwrite_x=True), planned, cupy.asnumpy)
