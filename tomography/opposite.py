"""Opposite projections: which ones are, and where the axis lies by them.

Belongs here: pairs by their angles, and comparing one of a pair with the other's mirror image.
Does not: reading them, or which rows are believed (tomography.center).

The projection at 180 degrees is the one at 0 degrees in a mirror, moved by ``2 * center - (columns - 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

Doubles = npt.NDArray[np.float64]

CANDIDATES = 6
LEAST_OVERLAP = 0.2
LEAST_STITCHED_OVERLAP = 0.02
"""Of a detector's width, of opposite projections of an offset scan."""
MOST_PAIRS = 32
SHOWN_OVER_NOISE = 6.0


@dataclass(frozen=True)
class Match:
    """Where one band's projections lie over their mirror images.

    ``likeness``: the correlation as a part of what noise allows; None where there is nothing but noise.
    """

    center_px: float
    correlation: float
    likeness: float | None


def opposite_pair(theta_deg: Doubles) -> tuple[int, int, float]:
    """The two projections whose angles differ by nearest to 180 degrees, and that difference in degrees."""
    partner, apart = _partners(theta_deg)
    best = int(np.argmin(np.abs(apart - 180)))
    return best, int(partner[best]), float(apart[best])


def opposite_pairs(theta_deg: Doubles) -> list[tuple[int, int]]:
    """Pairs of opposite projections, at most so many, spread over the turn: as opposite as the angles' steps allow."""
    partner, apart = _partners(theta_deg)
    step = float(np.median(np.diff(np.sort(theta_deg))))
    opposite = np.abs(apart - 180)
    good = np.flatnonzero(opposite <= max(0.51 * step, float(opposite.min())))
    good = good[np.argsort(theta_deg[good], kind="stable")]
    some = good[np.unique(np.linspace(0, good.size - 1, min(MOST_PAIRS, good.size)).astype(int))]
    return [(int(i), int(partner[i])) for i in some]


def _partners(theta_deg: Doubles) -> tuple[npt.NDArray[np.intp], Doubles]:
    """Of each projection the one that is nearest to half a turn further, and how far that is in degrees."""
    order = np.argsort(theta_deg, kind="stable")
    ordered = theta_deg[order]
    right = np.clip(np.searchsorted(ordered, ordered + 180), 0, ordered.size - 1)
    left = np.clip(right - 1, 0, ordered.size - 1)
    apart_right, apart_left = ordered[right] - ordered, ordered[left] - ordered
    nearest = np.where(np.abs(apart_left - 180) < np.abs(apart_right - 180), left, right)
    partner, apart = np.empty_like(order), np.empty_like(ordered)
    partner[order], apart[order] = order[nearest], ordered[nearest] - ordered
    return partner, apart


def match(direct: Doubles, opposite: Doubles) -> Match:
    """Compare the profile of one band with its opposite: the whitened correlation proposes shifts, the overlap decides,
    a fit refines.
    """
    mirrored = opposite[::-1]
    n = direct.size
    shifts = _candidate_shifts(direct, mirrored)
    # A small overlap resembles itself easily: it has to do so better than a large one.
    best = max(shifts, key=lambda shift: _correlation(direct, mirrored, shift) * np.sqrt(1 - abs(shift) / n))
    return _matched(direct, mirrored, best)


def match_overlap(direct: Doubles, opposite: Doubles) -> Match:
    """The same for an axis near an edge, from many pairs of profiles [pair, column] at once.

    Opposite projections share a few columns only: what tells the right ones is how they change from pair to pair.
    """
    mirrored = opposite[:, ::-1]
    n = direct.shape[1]
    farthest = n - max(8, round(n * LEAST_STITCHED_OVERLAP))
    shifts = np.arange(-farthest, farthest + 1)
    return _matched(direct, mirrored, int(shifts[np.argmax(_correlations(direct, mirrored, shifts))]))


def _matched(direct: Doubles, mirrored: Doubles, best: int) -> Match:
    n = direct.shape[-1]
    spline = CubicSpline(np.arange(n), mirrored, axis=-1)

    def difference(shift: float) -> float:
        columns = np.arange(max(0, int(np.ceil(shift))), min(n, int(np.floor(n - 1 + shift)) + 1))
        return float(np.mean((direct[..., columns] - spline(columns - shift)) ** 2))

    refined = minimize_scalar(difference, bounds=(best - 1.5, best + 1.5), method="bounded", options={"xatol": 1e-3})
    correlation = _correlation(direct, mirrored, best)
    return Match((n - 1 + float(refined.x)) / 2, correlation, _likeness(direct, correlation))


def _likeness(profile: Doubles, correlation: float) -> float | None:
    """A correlation as a part of what noise allows, which is what changes from pixel to pixel."""
    noise = float(np.median(np.abs(np.diff(profile)))) / 0.954  # of a normal distribution
    low, high = np.percentile(profile, [2, 98])
    if high - low <= SHOWN_OVER_NOISE * noise:
        return None
    return min(1.0, correlation / (1 - noise**2 / float(np.var(profile))))


def _candidate_shifts(direct: Doubles, mirrored: Doubles) -> list[int]:
    """The highest peaks of the phase correlation, low-passed since the phase of noise says nothing."""
    n = direct.size
    padded = scipy.fft.next_fast_len(2 * n)
    window = np.hanning(n)
    a, b = (scipy.fft.rfft((p - p.mean()) * window, padded) for p in (direct, mirrored))
    cross = a * b.conj()
    frequency = scipy.fft.rfftfreq(padded)
    magnitude = np.abs(cross)
    cross /= magnitude + 1e-3 * magnitude.max() + np.finfo(float).tiny
    peaks = scipy.fft.irfft(cross * np.exp(-0.5 * (frequency / 0.1) ** 2), padded)
    farthest = int(n * (1 - LEAST_OVERLAP))
    shifts = np.arange(-farthest, farthest + 1)
    heights = peaks[shifts]
    local = heights >= np.maximum(np.roll(heights, 1), np.roll(heights, -1))
    ranked = shifts[local][np.argsort(heights[local])[::-1]]
    return [int(shift) for shift in ranked[:CANDIDATES]] or [0]


def _correlation(direct: Doubles, mirrored: Doubles, shift: int) -> float:
    """Pearson's correlation where the two overlap; -1 where there is nothing to compare."""
    n = direct.shape[-1]
    a = direct[..., max(0, shift) : n + min(0, shift)].ravel()
    b = mirrored[..., max(0, -shift) : n - max(0, shift)].ravel()
    a, b = a - a.mean(), b - b.mean()
    energy = float(np.sqrt(a @ a * (b @ b)))
    return float(a @ b) / energy if energy > 0 else -1.0


def _correlations(direct: Doubles, mirrored: Doubles, shifts: npt.NDArray[np.int_]) -> Doubles:
    """The same of many pairs [pair, column] together, at each of some shifts."""
    n = direct.shape[1]
    a, b = direct - direct.mean(), mirrored - mirrored.mean()
    padded = scipy.fft.next_fast_len(2 * n, real=True)
    spectrum = (scipy.fft.rfft(a, padded) * scipy.fft.rfft(b, padded).conj()).sum(axis=0)
    ab = scipy.fft.irfft(spectrum, padded)[shifts]
    count = len(direct) * (n - np.abs(shifts))
    first, second = np.maximum(shifts, 0), np.maximum(-shifts, 0)

    def sums(values: Doubles, start: npt.NDArray[np.int_]) -> Doubles:
        total = np.concatenate([[0.0], np.cumsum(values.sum(axis=0))])
        found: Doubles = total[start + n - np.abs(shifts)] - total[start]
        return found

    mean_a, mean_b = sums(a, first) / count, sums(b, second) / count
    energy_a = sums(a**2, first) / count - mean_a**2
    energy_b = sums(b**2, second) / count - mean_b**2
    # Where there is nothing but air, rounding must not pass for likeness.
    least = 1e-6 * float(a.var() + b.var())
    energy = np.maximum(energy_a, least) * np.maximum(energy_b, least) if least else np.ones(shifts.size)
    correlations: Doubles = (ab / count - mean_a * mean_b) / np.sqrt(energy)
    return correlations
