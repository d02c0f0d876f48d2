"""What is measured of a first look: numbers, each with its unit, and nothing judged.

Belongs here: how light, angles, edges, motion and dead lines are measured.
Does not: when a number is bad, and what is said then (tomography.quality).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from tomography.layouts.contents import Turn
from tomography.look import Look
from tomography.normalise import lit
from tomography.scan import RawRows, Scan

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[Any]

_BITS = (8, 10, 11, 12, 13, 14, 15, 16)
_FEWEST_SATURATED = 10
_MOST_COLUMNS = 512
_NORMAL = 1.4826
"""The standard deviation of a normal distribution, in its median absolute deviations."""


# -- exposure ----------------------------------------------------------------------------------------------------


def saturated_share(frames: Counts) -> float:
    """The part of the pixels at the largest value that a detector can show: 2^bits - 1."""
    if frames.size == 0:
        return 0.0
    largest = float(np.nanmax(frames))
    ceilings = [2**bits - 1 for bits in _BITS]
    if not any(abs(largest - ceiling) <= 0.005 * ceiling for ceiling in ceilings):
        return 0.0
    saturated = int(np.count_nonzero(frames >= 0.999 * largest))
    return saturated / frames.size if saturated >= _FEWEST_SATURATED else 0.0


# -- the beam ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Light:
    """How bright each projection is beside the flat fields: the 98th percentile of its transmission, [angle]."""

    per_angle: Doubles

    @property
    def usual(self) -> float:
        """Of the brighter projections: their light when nothing is in its way but the sample."""
        return float(np.percentile(self.per_angle, 90))

    @property
    def brightest(self) -> float:
        """Of the brightest hundredth of the projections, beside the flat fields."""
        return float(np.percentile(self.per_angle, 99))


@dataclass(frozen=True)
class Step:
    """The largest change from one projection to the next, as a part of the light, and at which projection."""

    size: float
    angle: int


def light(raw: RawRows) -> Light | None:
    """The light of each projection; None where no pixel sees any in the flat fields."""
    every = max(1, raw.counts.shape[2] // _MOST_COLUMNS)
    white, dark = raw.white[:, ::every], raw.dark[:, ::every]
    alive = lit(white, dark)
    if not alive.any():
        return None
    flats = (white - dark)[alive]
    transmission = (raw.counts[:, :, ::every][:, alive] - dark[alive]) / flats
    return Light(np.percentile(np.nan_to_num(transmission), 98, axis=1))


def without_light(light: Light, part: float) -> npt.NDArray[np.bool_]:
    """Which projections have less than a part of the usual light, [angle]."""
    least = 0.1  # a beam that was away all the time is no measure
    dark: npt.NDArray[np.bool_] = light.per_angle <= part * max(light.usual, least)
    return dark


def largest_step(light: Light) -> Step:
    """The largest change of light between neighbouring projections."""
    levels = np.maximum(light.per_angle, 1e-3)
    steps = np.abs(np.diff(np.log(levels)))
    angle = int(np.argmax(steps)) + 1
    return Step(float(np.expm1(steps[angle - 1])), angle)


def drift(light: Light, apart_deg: float) -> float | None:
    """How the light changes over half a turn, as a part of it; None where no two projections are opposite.

    A sample lets as much light through from behind as from before.
    """
    if abs(apart_deg - 180) > 2:
        return None
    few = max(1, len(light.per_angle) // 50)
    began, ended = np.median(light.per_angle[:few]), np.median(light.per_angle[-few:])
    return float(ended / max(began, 1e-3) - 1)


def ranges(which: npt.NDArray[np.bool_]) -> str:
    """The projections of a selection in words, counted from 1."""
    found = []
    for selected, group in groupby(enumerate(which, start=1), lambda one: bool(one[1])):
        if selected:
            numbers = [index for index, _ in group]
            found.append(str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}")
    return ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")


# -- angles ------------------------------------------------------------------------------------------------------


def are_radians(theta_deg: Doubles) -> bool:
    """Whether the range is half a turn or a whole one in radians."""
    span = float(np.ptp(theta_deg))
    return theta_deg.size > 10 and any(abs(span - turn) < 0.02 * turn for turn in (np.pi, 2 * np.pi))


def wrong_angles(theta_deg: Doubles, recorded: Turn, uneven: float, error_deg: float) -> list[str]:
    """What does not fit together in the angles, in words."""
    steps = np.diff(theta_deg)
    mean = float(np.mean(np.abs(steps))) or 1.0
    span = float(np.ptp(theta_deg))
    found = []
    if not np.isfinite(theta_deg).all():
        return ["some angles are no numbers"]
    if (repeated := int(np.count_nonzero(steps == 0))) > 0:
        found.append(f"{repeated} angles are the same as the one before")
    if not ((steps >= 0).all() or (steps <= 0).all()):
        found.append("the angles go back and forth")
    if (widest := float(np.abs(steps).max())) > uneven * mean:
        found.append(f"a step of {widest:.2f} degrees, {widest / mean:.0f} times the mean")
    if recorded.range_deg and abs(span - abs(recorded.range_deg)) > max(error_deg, 2 * mean):
        found.append(f"the angles cover {span:.1f} degrees of the {abs(recorded.range_deg):g} that were planned")
    elif span < 180 - max(error_deg, 2 * mean):
        found.append(f"the angles cover {span:.1f} degrees, less than half a turn")
    return found


# -- the field ---------------------------------------------------------------------------------------------------


def outside_share(sinograms: Floats, level: float) -> tuple[float, float]:
    """In which part of the projections the sample absorbs at the left edge of the field, and at the right one."""
    width = max(4, sinograms.shape[2] // 100)
    largest = np.percentile(sinograms[:, :: max(1, sinograms.shape[1] // 64)], 99, axis=(1, 2))
    limit = np.maximum(level * largest, 0.05)[:, None]
    left, right = (sinograms[:, :, edge].mean(axis=2) > limit for edge in (slice(None, width), slice(-width, None)))
    return float(left.mean()), float(right.mean())


def is_offset_scan(scan: Scan, center_px: float) -> bool:
    """A full turn about an axis near an edge of the detector, which doubles the field."""
    middle = abs(center_px / (scan.columns - 1) - 0.5)
    return float(np.ptp(scan.theta_deg)) > 350 and middle > 0.15


# -- motion ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wandering:
    """How far the centre of mass leaves a sine curve, at which projection most, and its noise, in pixels."""

    largest_px: float
    noise_px: float
    angle: int


def wandering(sinograms: Floats, theta_deg: Doubles) -> Wandering | None:
    """How the sample moves beside its rotation, the median of the rows; None where nothing absorbs.

    The centre of mass of a body that only turns is c + a cos(theta) + b sin(theta) in every projection (Helgason and
    Ludwig's condition of the first order). It is weighed about the middle of the detector, so that a beam that becomes
    brighter or darker everywhere moves nothing.
    """
    columns = sinograms.shape[2]
    across = np.arange(columns) - (columns - 1) / 2
    mass = sinograms.sum(axis=2, dtype=np.float64)
    usual = np.median(mass, axis=1, keepdims=True)
    strong = usual[:, 0] > 0.01 * columns
    if not strong.any() or len(theta_deg) < 10:
        return None
    center = (sinograms[strong] @ across.astype(np.float32)) / usual[strong]
    theta = np.deg2rad(theta_deg)
    turning = np.stack([np.ones_like(theta), np.cos(theta), np.sin(theta)], axis=1)
    path = turning @ np.linalg.lstsq(turning, center.T.astype(np.float64), rcond=None)[0]
    away = center - path.T
    noise = _NORMAL / np.sqrt(2) * np.median(np.abs(np.diff(away, axis=1)))
    smooth = np.median(np.abs(median_filter(away, size=(1, 5), mode="nearest")), axis=0)
    angle = int(np.argmax(smooth))
    return Wandering(float(smooth[angle]), float(noise), angle)


def vertical_shift(look: Look) -> float | None:
    """By how many rows the opposite projection is shifted along the axis; None where that cannot be told."""
    if look.scan.rows < 32 or abs(look.apart_deg - 180) > 2:
        return None
    first, opposite = (_profile_down(look.projections[angle]) for angle in (look.first, look.opposite))
    farthest = look.scan.rows // 8
    shifts = np.arange(-farthest, farthest + 1)
    inner = slice(farthest, look.scan.rows - farthest)
    fits = np.array([_correlation(first[inner], np.roll(opposite, shift)[inner]) for shift in shifts])
    best = int(np.argmax(fits))
    unmoved = fits[farthest]
    # Where nothing differs from row to row every shift fits: then none is believed.
    return float(shifts[best]) if fits[best] > 0.9 and fits[best] - unmoved > 0.05 else 0.0


def _profile_down(projection: Counts) -> Doubles:
    rows = np.log(np.maximum(projection.astype(np.float64), 1)).mean(axis=1)
    steps: Doubles = np.diff(rows, append=rows[-1])
    return steps


def _correlation(a: Doubles, b: Doubles) -> float:
    a, b = a - a.mean(), b - b.mean()
    energy = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / energy if energy > 0 else 0.0


# -- the detector ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dead:
    """Rows and columns that see hardly any light beside their neighbours, and the part of all pixels that see none."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    share: float


def dead_lines(flats: Counts, darks: Counts, level: float) -> Dead:
    """What of the detector is dead, by flat and dark frames [frame, row, column]."""
    white = flats.mean(axis=0, dtype=np.float64)
    seen = white - (darks.mean(axis=0, dtype=np.float64) if len(darks) else 0)

    def dead(lines: Doubles) -> tuple[int, ...]:
        neighbours = median_filter(lines, size=min(9, lines.size), mode="nearest")
        return tuple(int(i) for i in np.flatnonzero(lines < level * neighbours))

    return Dead(dead(np.median(seen, axis=1)), dead(np.median(seen, axis=0)), float(np.mean(~(seen > 0))))


# -- metadata ----------------------------------------------------------------------------------------------------


def missing_metadata(scan: Scan) -> list[str]:
    """What is missing, in words."""
    found = []
    if scan.pixel_size_um is None:
        size_mm = scan.contents.pixel_size_mm
        what = "no pixel size" if size_mm is None else f"a pixel size of {size_mm:g} mm is not plausible"
        found.append(f"{what}: values are per pixel, and volumes have no scale")
    if scan.energy_ev is None:
        energy = scan.contents.energy_ev
        found.append("no photon energy" if energy is None else f"an energy of {energy:g} eV is not plausible")
    return found
