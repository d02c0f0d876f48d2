"""Slices as whole numbers: 16 or 8 bits halve and quarter the bytes, and noise does not need more.

Belongs here: the limits between which values are spread over the numbers, how they are chosen, and the rounding.
Does not: files (tomography.tiffs, tomography.chunks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tomography.errors import SettingsError
from tomography.settings import Numbers, Settings

Floats = npt.NDArray[np.float32]

PERCENTILES = (0.1, 99.9)
SAMPLED_SLICES = 8


@dataclass(frozen=True)
class Coding:
    """How a value is stored: as it is, or as its place between ``lowest``, which is 0, and ``highest``."""

    dtype: np.dtype[Any]
    lowest: float | None = None
    highest: float | None = None

    @classmethod
    def of(cls, settings: Settings, rows: int, slices_of: Callable[[Iterable[int]], Iterable[Floats]]) -> Coding:
        """The coding that the settings ask for; limits that they leave open are percentiles of some slices.

        Raises SettingsError where the limits are none.
        """
        dtype = np.dtype(str(settings.dtype))
        if settings.dtype is Numbers.FLOAT32:
            return cls(dtype)
        low, high = settings.lowest, settings.highest
        if low is None or high is None:
            sampled = np.unique(np.linspace(0, rows - 1, SAMPLED_SLICES + 2)[1:-1].astype(int))
            values = np.concatenate([image[image != 0] for image in slices_of(int(row) for row in sampled)])
            found = np.percentile(values, PERCENTILES) if values.size else np.array([0.0, 1.0])
            low, high = (float(found[i]) if given is None else given for i, given in enumerate((low, high)))
        if not low < high:
            raise SettingsError(f"--lowest {low:g} is not below --highest {high:g}: no value lies between them.")
        return cls(dtype, low, high)

    @property
    def said(self) -> dict[str, float]:
        """What a manifest says of it: which values 0 and the largest number are."""
        return {} if self.lowest is None or self.highest is None else {"lowest": self.lowest, "highest": self.highest}

    def encode(self, image: Floats) -> npt.NDArray[Any]:
        """A slice as it is stored. Values beyond the limits count as these."""
        if self.lowest is None or self.highest is None:
            return image
        scale = np.iinfo(self.dtype).max / (self.highest - self.lowest)
        spread = (image - np.float32(self.lowest)) * np.float32(scale)
        stored: npt.NDArray[Any] = np.rint(np.clip(spread, 0, np.iinfo(self.dtype).max)).astype(self.dtype)
        return stored
