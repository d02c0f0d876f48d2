"""A raw scan for the peers: absorption by the book, so that nothing of ours comes between the file and them.

Belongs here: reading the rows that are wanted. Does not: reconstruction.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

PIXEL_SIZE = "measurement/instrument/detector/pixel_size"


def absorption(raw: Path, rows: Sequence[int]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], float]:
    """Line integrals [angle, row, column], the angles in radians, and the size of a pixel in cm (1 where unknown)."""
    with h5py.File(raw) as file:
        exchange: Any = file["exchange"]
        counts, white, dark = (
            exchange[name][:, list(rows)].astype(np.float64) for name in ("data", "data_white", "data_dark")
        )
        theta = np.deg2rad(exchange["theta"][()].astype(np.float64))
        pixel_mm: Any = file.get(PIXEL_SIZE)
        pixel_cm = 1.0 if pixel_mm is None else float(pixel_mm[()]) / 10
    transmitted = (counts - dark.mean(axis=0)) / (white.mean(axis=0) - dark.mean(axis=0))
    return -np.log(np.maximum(transmitted, 0.01)).astype(np.float32), theta, pixel_cm
