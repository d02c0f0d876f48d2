"""Rings: what the detector gets wrong in the same column at every angle.

Belongs here: corrections of a sinogram for its columns.
Does not: dead pixels (tomography.normalise).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from tomography.settings import Rings

Floats = npt.NDArray[np.float32]

MEDIAN_COLUMNS = 9


def correct_rings(sinograms: Floats, method: Rings) -> Floats:
    """Correct [row, angle, column] in place and return it."""
    if method is Rings.MEAN_SINOGRAM:
        mean = sinograms.mean(axis=1, dtype=np.float64)
        stripes = mean - median_filter(mean, size=(1, MEDIAN_COLUMNS), mode="nearest")
        sinograms -= stripes.astype(np.float32)[:, None, :]
    return sinograms
