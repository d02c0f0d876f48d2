"""Rings removed from a slice, in polar coordinates about the axis.

Belongs here: the correction of a slice. Does not: corrections of a sinogram (tomography.rings).

Splines are cubic: with linear interpolation there and back, twice as much of a ring of one pixel would be left.

Source: Prell et al., 2009, Phys. Med. Biol. 54, 3881, and tomopy's ``remove_ring``: a ring is what differs from the
median over radii, and goes on over an arc.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates, uniform_filter1d

from tomography.stripes import medians

Floats = npt.NDArray[np.float32]

ANGLES = 1440
"""Of the polar picture: a quarter of a degree, finer than any arc."""


@dataclass(frozen=True)
class PolarRings:
    """The correction for slices of ``columns``. ``width_px`` is that of the median, ``arc_deg`` how long a ring is."""

    columns: int
    width_px: int
    arc_deg: float

    def __call__(self, slices: Floats) -> Floats:
        """Correct [slice, row, column] in place and return it."""
        if self.width_px:
            for image in slices:
                image -= self._rings(image)
        return slices

    def _rings(self, image: Floats) -> Floats:
        middle = (self.columns - 1) / 2
        radii = np.arange(int(np.ceil(middle)) + 1, dtype=np.float32)
        angles = np.arange(ANGLES, dtype=np.float32) * np.float32(2 * np.pi / ANGLES)
        down, across = np.sin(angles)[:, None] * radii + middle, np.cos(angles)[:, None] * radii + middle
        polar = map_coordinates(image, [down, across], np.float32, mode="nearest")
        rings = polar - medians(polar, self.width_px)
        rings = uniform_filter1d(rings, round(self.arc_deg / 360 * ANGLES), axis=0, mode="wrap")
        wrapped = np.concatenate([rings, rings[:1]])
        found: Floats = map_coordinates(wrapped, self._places, np.float32, mode="nearest")
        found[self._places[1] > self.columns / 2] = 0
        return found

    @cached_property
    def _places(self) -> Floats:
        """Of each pixel the angle and the radius, in samples of the polar picture."""
        y, x = np.mgrid[: self.columns, : self.columns].astype(np.float32) - np.float32((self.columns - 1) / 2)
        turned = np.mod(np.arctan2(y, x), np.float32(2 * np.pi)) * np.float32(ANGLES / (2 * np.pi))
        return np.stack([turned, np.hypot(y, x)])
