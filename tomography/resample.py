"""Values between samples: cubic convolution.

Belongs here: the kernel, and lines at positions between their samples. Does not: where these are (tomography.warp).

Source: Keys, 1981, IEEE Trans. Acoust. 29, 1153, with a = -1/2. Four samples count and no more, so that a value does
not depend on how much was read around it.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Number = TypeVar("Number", np.float32, np.float64)

TAPS = (-1, 0, 1, 2)
REACH = 2
"""Samples to either side of a position that count for it."""


def cubic_weights(part_way: Doubles) -> Doubles:
    """What each of four samples counts, [..., tap], ``part_way`` (0 to 1) from the second to the third."""
    distance = np.abs(part_way[..., None] - np.array(TAPS))
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights: Doubles = np.where(distance <= 1, near, far)
    return weights


def taken_at(lines: npt.NDArray[Number], positions: Doubles) -> npt.NDArray[Number]:
    """Values of lines [..., n] at positions along them; beyond an end the end counts."""
    whole = np.floor(positions)
    weights = cubic_weights(positions - whole).astype(lines.dtype)
    last = lines.shape[-1] - 1
    found = np.zeros((*lines.shape[:-1], positions.size), lines.dtype)
    for tap, weight in zip(TAPS, weights.T, strict=True):
        found += lines[..., np.clip(whole + tap, 0, last).astype(int)] * weight
    return found
