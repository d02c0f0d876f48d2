"""The axis by the entropy of slices: the sharper a slice, the fewer grey values it needs.

Belongs here: the measure, and the search for its least. Does not: which rows, or reconstruction itself.

Source: Donath et al., 2006, J. Opt. Soc. Am. A 23, 1048; the simplex search is Nelder and Mead's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Floats = npt.NDArray[np.float32]

BINS = 256
FIRST_STEP_PX = 4.0
NEAR_ENOUGH_PX = 0.02


def sharpest(slices_at: Callable[[float], Floats]) -> float:
    """By how many pixels to move the axis for the least entropy; ``slices_at`` makes slices with it moved so."""
    first = slices_at(0.0)
    low, high = np.percentile(first, [0.5, 99.5])
    limits = (float(low - (high - low) / 4), float(high + (high - low) / 4))

    def entropy(moved: npt.NDArray[np.float64]) -> float:
        counts, _ = np.histogram(slices_at(float(moved[0])).clip(*limits), BINS, limits)
        share = counts[counts > 0] / counts.sum()
        return -float((share * np.log2(share)).sum())

    options = {"initial_simplex": [[-FIRST_STEP_PX / 2], [FIRST_STEP_PX / 2]], "xatol": NEAR_ENOUGH_PX, "fatol": np.inf}
    return float(minimize(entropy, [0.0], method="Nelder-Mead", options=options).x[0])
