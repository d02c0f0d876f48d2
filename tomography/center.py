"""The centre of rotation: the detector column on which the rotation axis falls.

Belongs here: finding it from two opposite projections, and saying how sure that is.
Does not: reconstruction. Centres are in pixels, 0 in the middle of the first column.

The projection at 180 degrees is the one at 0 degrees in a mirror, moved by ``2 * center - (columns - 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

from tomography.errors import CenterError
from tomography.normalise import absorption
from tomography.scan import Scan
from tomography.settings import Settings

Doubles = npt.NDArray[np.float64]

BANDS = 15
ROWS_A_BAND = 8
CANDIDATES = 6
LEAST_OVERLAP = 0.2
GOOD_MATCH = 0.8
AGREEMENT_PX = 1.0
FARTHEST_PAIR_DEG = 2.0
SHOWN_OVER_NOISE = 6.0


@dataclass(frozen=True)
class Center:
    """A centre of rotation and how it came about.

    ``spread_px`` is half the range in which half of the bands lie. ``likeness`` is the correlation of opposite
    projections, as a part of what their noise allows: the median of those bands in which there is something to see;
    None where there is none.
    """

    center_px: float
    found_by: str
    spread_px: float | None = None
    likeness: float | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Match:
    center_px: float
    correlation: float
    likeness: float | None
    """The correlation as a part of what noise allows; None where there is nothing but noise."""


def center_of(scan: Scan, settings: Settings) -> Center:
    """The given centre, or the one found.

    Raises CenterError where the given one is not on the detector, or where ``strict_center`` is set and the rows
    disagree or nothing can be compared.
    """
    if settings.center_px is not None:
        if settings.center_px > scan.columns - 1:
            raise CenterError(
                f"--center {settings.center_px:g} is not on the detector, whose columns are 0 to {scan.columns - 1}."
            )
        return Center(settings.center_px, "given")
    found = _found(scan, settings)
    if settings.strict_center and found.flags:
        raise CenterError(
            f"{str(scan.path)!r}: the centre of rotation is in doubt ({'; '.join(found.flags)}; best estimate "
            f"{found.center_px:.2f}). Give it with --center, or accept the estimate without --strict-center."
        )
    return found


def _found(scan: Scan, settings: Settings) -> Center:
    first, second, apart_deg = opposite_pair(scan.theta_deg)
    flags: list[str] = []
    if abs(apart_deg - 180) > FARTHEST_PAIR_DEG:
        flags.append(f"no two projections are 180 degrees apart (nearest: {apart_deg:.2f})")
    matches = [
        _match(*(_profile(scan, angle, start, stop, settings) for angle in (first, second)))
        for start, stop in _bands(scan.rows)
    ]
    good = [match for match in matches if match.correlation >= GOOD_MATCH]
    if not good:
        flags.append("opposite projections do not resemble each other in any row")
    centers = np.array([match.center_px for match in good or matches])
    low, middle, high = np.percentile(centers, [25, 50, 75])
    spread = float(high - low) / 2
    if spread > AGREEMENT_PX:
        flags.append(f"rows disagree about the centre of rotation (by {spread:.1f} px)")
    seen = [match.likeness for match in matches if match.likeness is not None]
    return Center(
        center_px=round(float(middle), 3),
        found_by="phase correlation of opposite projections",
        spread_px=round(spread, 3),
        likeness=round(float(np.median(seen)), 4) if seen else None,
        flags=tuple(flags),
    )


def opposite_pair(theta_deg: Doubles) -> tuple[int, int, float]:
    """The two projections whose angles differ by nearest to 180 degrees, and that difference in degrees."""
    order = np.argsort(theta_deg, kind="stable")
    ordered = theta_deg[order]
    right = np.clip(np.searchsorted(ordered, ordered + 180), 0, ordered.size - 1)
    left = np.clip(right - 1, 0, ordered.size - 1)
    apart_right, apart_left = ordered[right] - ordered, ordered[left] - ordered
    partner = np.where(np.abs(apart_left - 180) < np.abs(apart_right - 180), left, right)
    apart = ordered[partner] - ordered
    best = int(np.argmin(np.abs(apart - 180)))
    return int(order[best]), int(order[partner[best]]), float(apart[best])


def _bands(rows: int) -> list[tuple[int, int]]:
    height = min(ROWS_A_BAND, rows)
    starts = np.unique(np.linspace(0, rows - height, min(BANDS, max(1, rows // height))).astype(int))
    return [(int(start), int(start) + height) for start in starts]


def _profile(scan: Scan, angle: int, start: int, stop: int, settings: Settings) -> Doubles:
    raw = scan.read_projection_rows(angle, start, stop)
    profile: Doubles = absorption(raw, settings)[:, 0, :].mean(axis=0, dtype=np.float64)
    return profile


def _match(direct: Doubles, opposite: Doubles) -> _Match:
    """Compare one band: the whitened correlation proposes shifts, the overlap decides, a fit refines."""
    mirrored = opposite[::-1]
    n = direct.size
    shifts = _candidate_shifts(direct, mirrored)
    # A small overlap resembles itself easily: it has to do so better than a large one.
    best = max(shifts, key=lambda shift: _correlation(direct, mirrored, shift) * np.sqrt(1 - abs(shift) / n))
    spline = CubicSpline(np.arange(n), mirrored)

    def difference(shift: float) -> float:
        columns = np.arange(max(0, int(np.ceil(shift))), min(n, int(np.floor(n - 1 + shift)) + 1))
        return float(np.mean((direct[columns] - spline(columns - shift)) ** 2))

    refined = minimize_scalar(difference, bounds=(best - 1.5, best + 1.5), method="bounded", options={"xatol": 1e-3})
    correlation = _correlation(direct, mirrored, best)
    return _Match((n - 1 + float(refined.x)) / 2, correlation, _likeness(direct, correlation))


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
    n = direct.size
    a = direct[max(0, shift) : n + min(0, shift)]
    b = mirrored[max(0, -shift) : n - max(0, shift)]
    a, b = a - a.mean(), b - b.mean()
    energy = float(np.sqrt(a @ a * (b @ b)))
    return float(a @ b) / energy if energy > 0 else -1.0
