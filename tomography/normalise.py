"""From counts to absorption.

Belongs here: flat and dark correction, dead pixels, the logarithm, beam hardening.
Does not: rings (tomography.rings), steps that need whole frames (tomography.frames), reading (tomography.scan).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from tomography.scan import RawRows
from tomography.settings import Settings

Floats = npt.NDArray[np.float32]


def absorption(raw: RawRows, settings: Settings) -> Floats:
    """Line integrals of the absorption, minus log((counts - dark) / (white - dark)).

    Returns float32 [row, angle, column], without unit. Transmissions below the least one that is set, and values that
    are no numbers, count as that one. Columns that no light reaches in the flats are interpolated.
    """
    sinograms = transmission(raw)
    if settings.zinger_1d:
        remove_zingers(sinograms, settings.zinger_1d, (1, settings.zinger_size_px, 1))
    logarithm(sinograms, settings.minimum_transmission)
    alive = lit(raw.white, raw.dark)
    for row in np.flatnonzero(~alive.all(axis=1)):
        interpolate_columns(sinograms[row], alive[row])
    return harden(sinograms, settings.hardening)


def transmission(raw: RawRows) -> Floats:
    """(counts - dark) / (white - dark), float32 [row, angle, column]; 0 where that is no number."""
    sinograms = np.ascontiguousarray(raw.counts.transpose(1, 0, 2), dtype=np.float32)
    sinograms -= raw.dark[:, None, :]
    if raw.whites is None:
        sinograms *= _gain(raw.white, raw.dark)[:, None, :]
    else:
        for row, sinogram in enumerate(sinograms):
            sinogram *= _gain(raw.whites.at_each_angle(row), raw.dark[row])
    if raw.counts.dtype.kind == "f":
        sinograms[~np.isfinite(sinograms)] = 0
    return sinograms


def _gain(white: Floats, dark: Floats) -> Floats:
    gain: Floats = np.divide(1, white - dark, out=np.zeros_like(white), where=lit(white, dark))
    return gain


def logarithm(transmissions: Floats, least: float) -> Floats:
    """Minus the logarithm, in place; transmissions below ``least`` count as that."""
    np.maximum(transmissions, np.float32(least), out=transmissions)
    np.log(transmissions, out=transmissions)
    return np.negative(transmissions, out=transmissions)


def harden(sinograms: Floats, coefficients: Sequence[float]) -> Floats:
    """Each absorption p as c1 p + c2 p^2 + ..., in place: the absorption that a single energy would have shown."""
    if coefficients:
        total = np.zeros_like(sinograms)
        for coefficient in reversed(coefficients):
            total += np.float32(coefficient)
            total *= sinograms
        sinograms[:] = total
    return sinograms


def lit(white: Floats, dark: Floats) -> npt.NDArray[np.bool_]:
    """Which detector pixels see more light in the flats than in the darks; the others are dead."""
    light = white - dark
    pixels: npt.NDArray[np.bool_] = np.isfinite(light) & (light > 0)
    return pixels


def remove_zingers(transmissions: Floats, brighter_by: float, size: tuple[int, ...]) -> None:
    """Put the median around a pixel in its place, in place, where it is brighter by so much: an X-ray that hit the
    camera itself. ``size`` is the median's, an axis each.
    """
    around = median_filter(transmissions, size=size, mode="nearest")
    np.copyto(transmissions, around, where=transmissions - around > np.float32(brighter_by))


def interpolate_columns(sinogram: Floats, alive: npt.NDArray[np.bool_]) -> None:
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
