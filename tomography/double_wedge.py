"""The axis of one sinogram by its double wedge in Fourier space: Vo's method.

Belongs here: the measure, and the search for its least. Does not: which rows, or what is done to them before.

Source: Vo et al., 2014, Opt. Express 22, 19078. Half a turn, and below it the same in a mirror about the axis, are a
full turn. The Fourier transform of a full turn is nothing but a double wedge, as wide as the sample; about a wrong axis
there is something beyond it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.ndimage import gaussian_filter

from tomography.resample import taken_at

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

SEARCHED = 0.2
"""Of the detector's width, to both sides of its middle."""
COARSE_COLUMNS = 512
"""About so many, by joining columns, are searched from end to end: the rest of the search has only to be near."""
MOST_ANGLES = 1024
FINEST_PX = 0.25
SAMPLE_TO_FIELD = 0.5
"""The wedge is as steep as the sample is wide; only what lies beyond that of half the field of view counts."""
WITHIN = 20
"""Angular frequencies up to this are left out: the rings are there, and the wedge's point."""


def axis_of(sinogram: Floats) -> float:
    """The column of the axis of half a turn, [angle, column], with ascending angles."""
    lines = joined(sinogram, -(-len(sinogram) // MOST_ANGLES), 1)
    size = -(-lines.shape[1] // COARSE_COLUMNS)
    coarse = joined(lines, 1, size)
    middle, reach = (coarse.shape[1] - 1) / 2, SEARCHED * coarse.shape[1]
    found: float = _least(coarse, np.arange(np.ceil(middle - reach), middle + reach)) * size + (size - 1) / 2
    for around, step in ((size + 1.0, 1.0), (1.0, FINEST_PX)):
        found = _least(lines, np.arange(found - around, found + around + step / 2, step))
    return found


def joined(sinogram: Floats, angles: int, columns: int) -> Floats:
    """Means over so many neighbouring angles and columns; what is left over at the ends is left out."""
    rows, width = sinogram.shape[0] // angles, sinogram.shape[1] // columns
    blocks = sinogram[: rows * angles, : width * columns].reshape(rows, angles, width, columns)
    means: Floats = blocks.mean(axis=(1, 3), dtype=np.float32)
    return means


def _least(lines: Floats, centers: Doubles) -> float:
    """Where the measure is least: the vertex of the parabola through the least of it and its neighbours."""
    smooth = gaussian_filter(lines, 1, mode="nearest")
    beyond = _beyond_the_wedge(2 * len(lines), lines.shape[1])
    measures = np.array([_measure(smooth, center, beyond) for center in centers])
    best = int(np.argmin(measures))
    if not 0 < best < centers.size - 1:
        return float(centers[best])
    before, here, after = measures[best - 1 : best + 2]
    return float(centers[best] + 0.5 * (centers[1] - centers[0]) * (before - after) / (before - 2 * here + after))


def _measure(lines: Floats, center: float, beyond: npt.NDArray[np.bool_]) -> float:
    """How much there is beyond the double wedge of a full turn about this centre."""
    columns = np.arange(lines.shape[1])
    positions: Doubles = 2 * center - columns.astype(np.float64)
    mirrored = taken_at(lines, positions)
    # The mirror image does not reach one of the edges: what is there in half a turn is the least wrong.
    missing = (positions < 0) | (positions > columns[-1])
    mirrored[:, missing] = lines[::-1, missing]
    spectrum = scipy.fft.rfft2(np.concatenate([lines, mirrored]))
    return float(np.abs(spectrum[beyond]).mean())


def _beyond_the_wedge(angles: int, columns: int) -> npt.NDArray[np.bool_]:
    """[angular frequency, frequency]: a sample of radius r has nothing where n > 2 pi f r."""
    angular = np.abs(scipy.fft.fftfreq(angles, 1 / angles))[:, None]
    radius = SAMPLE_TO_FIELD * columns / 2
    beyond = angular > 2 * np.pi * radius * scipy.fft.rfftfreq(columns) + WITHIN
    beyond[:, 0] = False  # the mean over the columns changes with the light
    return np.asarray(beyond)
