"""Reconstruction: exact Fourier back-projection with a non-uniform FFT.

Belongs here: the geometry of a slice, the filter, the weights of the angles, the transform.
Does not: what comes before (absorption) and after (files).

A slice is an array [row, column] whose middle is the rotation axis. With x = column - (n-1)/2, y = row - (n-1)/2 and
theta as the scan records it, the ray through (x, y) meets detector column ``center + x cos(theta) + y sin(theta)``.
This is the orientation of the beamline's earlier program: it gave minus theta to a library whose y points upwards.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import finufft
import numpy as np
import numpy.typing as npt
import scipy.fft

from tomography.settings import Filter, Settings

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

ACCURACY = 1e-4
UPSAMPLING = 1.25  # half the memory and two thirds of the time of 2, and still within ACCURACY
WIDEST_GAP = 5.0  # in mean gaps: a wider one is a wedge that was never measured

_planning = threading.Lock()  # FFT planners are not thread-safe on every build


@dataclass(frozen=True)
class Geometry:
    """Everything about a reconstruction that is the same for every slice. Shared by threads, never written to.

    ``weights`` complex64 [angle, frequency]: filter, angle weight, shift of the axis, unit.
    ``down``, ``across`` float32 [angle * frequency]: angular frequencies along the rows' and the columns' axes.
    """

    columns: int
    padded: int
    weights: npt.NDArray[np.complex64]
    down: Floats
    across: Floats
    outside: npt.NDArray[np.bool_] | None

    @property
    def left(self) -> int:
        """Padding before the first column."""
        return (self.padded - self.columns) // 2


def geometry(
    theta_deg: Doubles, columns: int, center_px: float, settings: Settings, pixel_size_um: float | None
) -> Geometry:
    """The geometry of a scan's slices; values come out per centimetre, or per pixel where the pixel size is None."""
    padded = scipy.fft.next_fast_len(2 * columns)
    left = (padded - columns) // 2
    theta = np.deg2rad(theta_deg)
    frequency = scipy.fft.fftfreq(padded)
    across = 2 * np.pi * np.cos(theta)[:, None] * frequency
    down = 2 * np.pi * np.sin(theta)[:, None] * frequency
    # finufft counts pixels from -n/2; with an even n the middle of the slice lies half a pixel after its zero.
    half_pixel = 0.0 if columns % 2 else 0.5
    pixel_cm = 1.0 if pixel_size_um is None else pixel_size_um * 1e-4
    shift = np.exp(2j * np.pi * frequency * (center_px + left))
    weights = (_filter(padded, settings) * shift / (padded * pixel_cm)) * angle_weights(theta)[:, None]
    weights = weights * np.exp(1j * half_pixel * (across + down))
    return Geometry(
        columns,
        padded,
        weights.astype(np.complex64),
        down.astype(np.float32).ravel(),
        across.astype(np.float32).ravel(),
        _outside_circle(columns) if settings.circle else None,
    )


class Reconstructor:
    """Reconstructs two slices in one complex transform. Holds one single-threaded plan: one object a thread."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        n = geometry.columns
        with _planning:
            self._plan = finufft.Plan(
                1, (n, n), eps=ACCURACY, isign=1, dtype="complex64", nthreads=1, upsampfac=UPSAMPLING
            )
            self._plan.setpts(geometry.down, geometry.across)

    def __call__(self, sinograms: Floats) -> Floats:
        """Slices [1 or 2, n, n] of sinograms [1 or 2, angle, column]; zero outside the detector's circle, if set so."""
        g = self._geometry
        padded = np.zeros((sinograms.shape[1], g.padded), np.complex64)
        inner = slice(g.left, g.left + g.columns)
        padded[:, inner].real = sinograms[0]
        if len(sinograms) == 2:
            padded[:, inner].imag = sinograms[1]
        # A sample wider than the detector continues beyond it: repeating the edge avoids a bright rim.
        padded[:, : g.left] = padded[:, g.left, None]
        padded[:, g.left + g.columns :] = padded[:, g.left + g.columns - 1, None]
        spectrum = scipy.fft.fft(padded, axis=1, overwrite_x=True)
        spectrum *= g.weights
        pair = self._plan.execute(spectrum.ravel())
        slices = np.stack([pair.real, pair.imag][: len(sinograms)])
        if g.outside is not None:
            slices[:, g.outside] = 0
        return slices


def angle_weights(theta: Doubles) -> Doubles:
    """The share of the half turn that each angle (radians) stands for: half the gaps to its neighbours, modulo pi.

    Right for uneven angles, for both ends of a half turn (each counts half), and for full turns.
    A gap that was never measured is not given to the angles at its edges.
    """
    folded = np.mod(theta, np.pi)
    order = np.argsort(folded, kind="stable")
    gaps = np.diff(folded[order], append=folded[order[0]] + np.pi)
    measured = gaps <= WIDEST_GAP * np.pi / theta.size
    gaps = np.where(measured, gaps, np.median(gaps[measured]))
    weights = np.empty_like(folded)
    weights[order] = (gaps + np.roll(gaps, 1)) / 2
    return weights


def missing_wedge_deg(theta_deg: Doubles) -> float:
    """The widest gap between neighbouring angles modulo 180 degrees where it is a missing wedge, else 0."""
    folded = np.sort(np.mod(theta_deg, 180))
    widest = float(np.diff(folded, append=folded[0] + 180).max())
    return widest if widest > WIDEST_GAP * 180 / theta_deg.size else 0.0


def _filter(padded: int, settings: Settings) -> Doubles:
    """The ramp from its band-limited kernel (Kak and Slaney, 1988, eq. 3.61): no offset, unlike a sampled |f|."""
    distance = np.abs(scipy.fft.fftfreq(padded, 1 / padded)).round().astype(int)
    odd = distance % 2 == 1
    kernel = np.zeros(padded)
    kernel[0] = 0.25
    kernel[odd] = -1 / (np.pi * distance[odd]) ** 2
    ramp: Doubles = scipy.fft.fft(kernel).real
    if padded % 2 == 0:
        # The highest frequency has no negative partner, so it would carry 0.8 % of one slice of a pair into the other.
        ramp[padded // 2] = 0
    if settings.filter is Filter.RAMP:
        return ramp
    frequency = np.abs(scipy.fft.fftfreq(padded))
    window: Doubles
    if settings.filter is Filter.HANN:
        window = 0.5 + 0.5 * np.cos(2 * np.pi * frequency)
    else:
        cutoff, order = settings.butterworth_cutoff_cycles_per_px, settings.butterworth_order
        window = 1 / (1 + (frequency / cutoff) ** (2 * order))
    return ramp * window


def _outside_circle(columns: int) -> npt.NDArray[np.bool_]:
    position = np.arange(columns) - (columns - 1) / 2
    outside: npt.NDArray[np.bool_] = position[:, None] ** 2 + position**2 > (columns / 2) ** 2
    return outside
