"""Phase retrieval: Paganin's single-distance filter of a projection.

Belongs here: the filter, and how far it reaches. Does not: when it is applied (tomography.frames).

Source: Paganin et al., 2002, J. Microsc. 206, 33. The regularisation ``alpha`` stands where tomopy has it:
the filter is 1 / (1 + lambda z f^2 / (4 pi alpha)), with the frequency f in cycles per cm, lambda and z in cm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

Floats = npt.NDArray[np.float32]

HC_EV_CM = 1.239841984e-4
"""Planck's constant times the speed of light."""
REACHES = 6.0
"""In decay lengths: of what lies beyond, about a thousandth counts, and the last row stands for it."""


@dataclass(frozen=True)
class Paganin:
    """The filter for one scan. ``decay_px`` is the length over which it falls to 1/e."""

    decay_px: float

    @classmethod
    def of(cls, pixel_cm: float, distance_cm: float, energy_ev: float, alpha: float) -> Paganin:
        """From lengths in cm and the photon energy in eV."""
        wavelength_cm = HC_EV_CM / energy_ev
        # 1 / (1 + (2 pi f)^2 d^2) is the transform of an exponential of decay length d.
        decay_cm = np.sqrt(wavelength_cm * distance_cm / (4 * np.pi * alpha)) / (2 * np.pi)
        return cls(float(decay_cm / pixel_cm))

    @property
    def margin_px(self) -> int:
        """How many rows beyond those that are wanted it needs."""
        return int(np.ceil(REACHES * self.decay_px))

    def __call__(self, frames: Floats) -> Floats:
        """Filter frames [frame, row, column]; beyond their edges the edge is repeated."""
        pad = self.margin_px
        padded = np.pad(frames, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
        shape = tuple(scipy.fft.next_fast_len(n, real=True) for n in padded.shape[1:])
        padded = np.pad(padded, ((0, 0), *((0, n - m) for n, m in zip(shape, padded.shape[1:], strict=True))), "edge")
        down = scipy.fft.fftfreq(shape[0]).astype(np.float32)
        across = scipy.fft.rfftfreq(shape[1]).astype(np.float32)
        response = 1 / (1 + (2 * np.pi * self.decay_px) ** 2 * (down[:, None] ** 2 + across**2))
        filtered = scipy.fft.irfft2(scipy.fft.rfft2(padded) * response.astype(np.float32), shape)
        rows, columns = frames.shape[1:]
        found: Floats = filtered[:, pad : pad + rows, pad : pad + columns]
        return found
