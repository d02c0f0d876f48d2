"""What a raw file holds of a scan, whatever its layout.

Belongs here: the form in which every layout says it.
Does not: a layout of its own, or a judgement: what a file lacks is None here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tomography.storage import Frames

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Turn:
    """What the acquisition program wrote about the rotation, in degrees. ``theta_deg`` [projection], as recorded."""

    theta_deg: Doubles | None
    planned: float | None = None
    start_deg: float | None = None
    step_deg: float | None = None
    range_deg: float | None = None
    name: str = "theta"
    """Where the angles are in the file."""

    otherwise: str = "a step or a range of the rotation"
    """From what else they could be computed."""

    @property
    def unknown(self) -> bool:
        """Whether nothing tells the angles."""
        return self.theta_deg is None and not self.step_deg and not self.range_deg


@dataclass(frozen=True)
class Moments:
    """When flat fields were taken: which of their frames together, and before which projection each such group."""

    groups: Sequence[slice]
    before: Sequence[int]


@dataclass(frozen=True)
class Contents:
    """A scan in a file. Units are those of the names, converted from the file's own."""

    layout: str
    projections: Frames
    flats: Frames | None
    darks: Frames | None
    turn: Turn
    moments: Moments
    pixel_size_mm: float | None
    energy_ev: float | None
    distance_mm: float | None
    exposure_ratio: float = 1.0
    """The exposure of a flat field, in exposures of a projection."""

    flags: tuple[str, ...] = ()
    names: dict[str, str] = field(default_factory=lambda: {"flat": "data_white", "dark": "data_dark"})
    """Where flat and dark fields would be: for messages where there are none."""


def moments(frames: int, angles: int, per_group: int, every: int) -> Moments:
    """Which flat fields were taken together, and before which projection.

    Every ``every`` projections there were ``per_group`` of them (the acquisition program's i0cycle); with 0 there, at
    both ends where there are twice as many, else at the beginning.
    """
    if every > 0 and per_group > 0:
        count = max(1, frames // per_group)
        at = [min(i * every, angles - 1) for i in range(count)]
    elif per_group > 0 and frames >= 2 * per_group:
        count, at = 2, [0, angles - 1]
    else:
        count, at = 1, [0]
    size = frames // count
    last = count - 1
    return Moments([slice(i * size, frames if i == last else (i + 1) * size) for i in range(count)], at)
