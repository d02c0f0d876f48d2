"""From counts to absorption.

Belongs here: flat and dark correction, dead pixels, the logarithm.
Does not: rings (tomography.rings), reading (tomography.scan).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tomography.scan import RawRows

Floats = npt.NDArray[np.float32]


def absorption(raw: RawRows, minimum_transmission: float) -> Floats:
    """Line integrals of the absorption, minus log((counts - dark) / (white - dark)).

    Returns float32 [row, angle, column], without unit. Transmissions below ``minimum_transmission``, and values that
    are no numbers, count as ``minimum_transmission``. Columns that no light reaches in the flats are interpolated.
    """
    alive = lit(raw.white, raw.dark)
    gain = np.divide(1, raw.white - raw.dark, out=np.zeros_like(raw.white), where=alive)
    sinograms = np.ascontiguousarray(raw.counts.transpose(1, 0, 2), dtype=np.float32)
    sinograms -= raw.dark[:, None, :]
    sinograms *= gain[:, None, :]
    if raw.counts.dtype.kind == "f":
        sinograms[~np.isfinite(sinograms)] = 0
    np.maximum(sinograms, np.float32(minimum_transmission), out=sinograms)
    np.log(sinograms, out=sinograms)
    np.negative(sinograms, out=sinograms)
    for row in np.flatnonzero(~alive.all(axis=1)):
        _interpolate_columns(sinograms[row], alive[row])
    return sinograms


def lit(white: Floats, dark: Floats) -> npt.NDArray[np.bool_]:
    """Which detector pixels see more light in the flats than in the darks; the others are dead."""
    light = white - dark
    pixels: npt.NDArray[np.bool_] = np.isfinite(light) & (light > 0)
    return pixels


def _interpolate_columns(sinogram: Floats, alive: npt.NDArray[np.bool_]) -> None:
    """Replace dead columns of [angle, column] in place, linearly between their living neighbours."""
    living = np.flatnonzero(alive)
    if living.size == 0:
        sinogram[:] = 0
        return
    dead = np.flatnonzero(~alive)
    right = np.clip(np.searchsorted(living, dead), 0, living.size - 1)
    left = np.clip(right - 1, 0, living.size - 1)
    left = np.where(dead > living[right], right, left)
    right = np.where(dead < living[left], left, right)
    distance = np.maximum(living[right] - living[left], 1)
    share = np.clip((dead - living[left]) / distance, 0, 1).astype(np.float32)
    sinogram[:, dead] = (1 - share) * sinogram[:, living[left]] + share * sinogram[:, living[right]]
