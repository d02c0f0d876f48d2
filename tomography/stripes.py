"""Vo's correction of stripes: large ones, dead ones and all the others, by sorting.

Belongs here: one sinogram, its stripes found and replaced. Does not: other corrections (tomography.rings).

Source: Vo et al., 2018, Opt. Express 26, 28396, algorithms 3 (sorting), 4 (which columns are wrong), 5 (large stripes)
and 6 (columns that do not respond, or fluctuate). The sizes and the ratio have the meaning that they have there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation, median_filter, uniform_filter1d

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Columns = npt.NDArray[np.bool_]

DROPPED = 0.1
"""Of a sorted column, at either end: noise and what only some projections see."""
SMOOTH_ANGLES = 10
EDGE_COLUMNS = 2
"""At either edge: nothing beside them could stand for them."""


def without_stripes(sinogram: Floats, ratio: float, large_px: int, small_px: int) -> Floats:
    """A sinogram [angle, column] without its stripes. ``ratio``: of a stripe to the noise of columns, to be seen."""
    found = _without_dead(sinogram, ratio, large_px)
    found = _without_large(found, ratio, large_px)
    return _smoothed_in_order(found, small_px)


def _smoothed_in_order(sinogram: Floats, size_px: int) -> Floats:
    """The median over columns of values of equal rank: what a column has at its darkest, its next, and so on."""
    order = np.argsort(sinogram, axis=0, kind="stable")
    ranked = np.take_along_axis(sinogram, order, axis=0)
    smooth = medians(ranked, size_px)
    found = np.empty_like(sinogram)
    np.put_along_axis(found, order, smooth, axis=0)
    return found


def _without_large(sinogram: Floats, ratio: float, size_px: int) -> Floats:
    """Columns that are much brighter or darker than those around them take these' values, rank by rank.

    The others stay: to scale them too, as algorithm 5 does, takes contrast from samples little wider than the median.
    """
    order = np.argsort(sinogram, axis=0, kind="stable")
    ranked = np.take_along_axis(sinogram, order, axis=0)
    smooth = medians(ranked, size_px)
    dropped = int(DROPPED * len(sinogram))
    inner = slice(dropped, len(sinogram) - dropped)
    measured, expected = (part[inner].mean(axis=0, dtype=np.float64) for part in (ranked, smooth))
    factor = np.divide(measured, expected, out=np.ones_like(measured), where=expected != 0)
    wrong = binary_dilation(_outliers(factor, ratio))
    wrong[:EDGE_COLUMNS] = wrong[-EDGE_COLUMNS:] = False
    found = sinogram.copy()
    replaced = np.empty_like(sinogram[:, wrong])
    np.put_along_axis(replaced, order[:, wrong], smooth[:, wrong], axis=0)
    found[:, wrong] = replaced
    return found


def _without_dead(sinogram: Floats, ratio: float, size_px: int) -> Floats:
    """Columns that change too much, or too little, from angle to angle, by their neighbours."""
    smooth = uniform_filter1d(sinogram, SMOOTH_ANGLES, axis=0)
    change = np.abs(sinogram - smooth).sum(axis=0, dtype=np.float64)
    usual = median_filter(change, size_px)
    factor = np.divide(change, usual, out=np.ones_like(change), where=usual != 0)
    dead = binary_dilation(_outliers(factor, ratio))
    dead[:EDGE_COLUMNS] = dead[-EDGE_COLUMNS:] = False
    alive = np.flatnonzero(~dead)
    if not dead.any() or alive.size < 2:
        return sinogram
    columns = np.flatnonzero(dead)
    right = np.searchsorted(alive, columns)
    before, after = alive[right - 1], alive[right]
    share = ((columns - before) / (after - before)).astype(np.float32)
    found = sinogram.copy()
    found[:, columns] = (1 - share) * sinogram[:, before] + share * sinogram[:, after]
    return found


def _outliers(values: Doubles, ratio: float) -> Columns:
    """Columns whose value lies off a line through most of them, sorted, by more than ``ratio`` times its own range."""
    ranked = np.sort(values)[::-1]
    size = ranked.size
    inner = slice(size // 4, size - size // 4)
    slope, start = np.polyfit(np.arange(size)[inner], ranked[inner], 1)
    end = start + slope * (size - 1)
    noise = max(abs(end - start), 1e-6)
    outliers = np.zeros(size, bool)
    if (ranked[0] - start) / noise > ratio:
        outliers |= values > start + noise * ratio * 0.5
    if (end - ranked[-1]) / noise > ratio:
        outliers |= values < end - noise * ratio * 0.5
    return outliers


def medians(lines: Floats, size_px: int) -> Floats:
    """The medians along each line: by itself, since SciPy's filter of one axis is ten times as fast as that of two."""
    return np.stack([median_filter(line, size_px, mode="reflect") for line in lines])
