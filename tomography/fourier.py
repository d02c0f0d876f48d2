"""Reconstruction: exact Fourier back-projection with a non-uniform FFT.

Belongs here: the geometry of a slice, the filter, the weights of the angles, the transform.
Does not: what comes before (absorption) and after (files).

A slice is an array [row, column] whose middle is the rotation axis. With x = column - (n-1)/2, y = row - (n-1)/2 and
theta as the scan records it, the ray through (x, y) meets detector column ``center + x cos(theta) + y sin(theta)``.
This is the orientation of the beamline's earlier program: it gave minus theta to a library whose y points upwards.

A full turn about an axis near an edge of the detector (``stitch_360``) gives slices of up to twice its width. Opposite
projections need not be joined for that: every ray is weighted by its share (``_shares``), and all of them are projected
back over the full turn. So nothing is interpolated, and no projection needs a partner at exactly 180 degrees.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from tomography.arithmetic import Arithmetic, processors
from tomography.errors import CenterError, SettingsError
from tomography.nufft import check_installed
from tomography.settings import Device, Filter, Nufft, Padding, Settings

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

WIDEST_GAP = 5.0  # in mean gaps: a wider one is a wedge that was never measured
LEAST_OVERLAP_PX = 4.0  # of opposite projections: they are blended there
WIDEST_STITCHED_GAP_DEG = 90.0  # half a turn has one of 180


@dataclass(frozen=True)
class Geometry:
    """Everything about a reconstruction that is the same for every slice. Shared by threads, never written to.

    ``columns`` of a slice and of its rows, ``measured`` of the detector; ``left`` is the padding before the first of
    these, ``padded`` the width with all padding.
    ``weights`` complex64 [angle, frequency]: filter, angle weight, shift of the axis, unit.
    ``down``, ``across`` float32 [angle * frequency]: angular frequencies along the rows' and the columns' axes.
    ``shares`` float32 [angle, column]: each ray's share of itself and its opposite; None where each counts whole.
    """

    columns: int
    measured: int
    padded: int
    left: int
    padding: Padding
    weights: npt.NDArray[np.complex64]
    down: Floats
    across: Floats
    shares: Floats | None
    outside: npt.NDArray[np.bool_] | None
    nufft: Nufft


def geometry(
    theta_deg: Doubles,
    columns: int,
    center_px: float,
    settings: Settings,
    pixel_size_um: float | None,
    moved_px: Doubles | None = None,
) -> Geometry:
    """The geometry of a scan's slices; values come out per centimetre, or per pixel where the pixel size is None.

    ``moved_px`` [angle]: by how many columns the sample, and with it the axis, is further than ``center_px``.

    Raises SettingsError and CenterError where opposite projections are to be joined and cannot be, and SettingsError
    where the transform's library is not installed.
    """
    check_installed(settings.nufft)
    width = slice_width(columns, center_px, settings)
    padded = scipy.fft.next_fast_len(int(np.ceil(settings.padding_factor * width)))
    left = (padded - columns) // 2
    shares = None
    turn = np.pi
    if settings.stitch_360:
        check_full_turn(theta_deg)
        turn = 2 * np.pi
        left = int(np.clip(padded // 2 - round(center_px), 0, padded - columns))
        shares = _shares(columns, center_px + (np.zeros(1) if moved_px is None else moved_px))
    theta = np.deg2rad(theta_deg)
    frequency = scipy.fft.fftfreq(padded)
    # finufft counts pixels from -n/2; with an even n the middle of the slice lies half a pixel after its zero.
    half_pixel = 0.0 if width % 2 else 0.5
    pixel_cm = 1.0 if pixel_size_um is None else pixel_size_um * 1e-4
    shift = np.exp(2j * np.pi * frequency * (center_px + left))
    filtered = _filter(padded, settings) * shift / (padded * pixel_cm)
    angle_weight = angle_weights(theta, turn)
    moved = np.zeros(theta.size) if moved_px is None else moved_px
    weights = np.empty((theta.size, padded), np.complex64)
    down, across = np.empty((2, theta.size, padded), np.float32)
    cosines, sines = 2 * np.pi * np.cos(theta), 2 * np.pi * np.sin(theta)
    for i in range(theta.size):  # in double precision all at once would be most of the program's memory
        u, v = cosines[i] * frequency, sines[i] * frequency
        phase = half_pixel * (u + v) + 2 * np.pi * moved[i] * frequency
        weights[i] = filtered * angle_weight[i] * np.exp(1j * phase)
        across[i], down[i] = u, v
    return Geometry(
        width,
        columns,
        padded,
        left,
        settings.padding,
        weights,
        down.ravel(),
        across.ravel(),
        shares,
        _outside_circle(width) if settings.circle else None,
        settings.nufft,
    )


def slice_width(columns: int, center_px: float, settings: Settings) -> int:
    """The width of the slices in pixels: the detector's, or what its farther edge reaches on both sides of the axis.

    Raises CenterError where opposite projections are to be joined and do not overlap.
    """
    if not settings.stitch_360:
        return columns
    near, far = sorted((center_px, columns - 1 - center_px))
    if 2 * near < LEAST_OVERLAP_PX:
        raise CenterError(
            f"The axis at column {center_px:g} is at the edge of the detector, whose columns are 0 to {columns - 1}: "
            "opposite projections do not overlap, and cannot be joined (--stitch-360)."
        )
    return int(2 * far) + 1


def check_full_turn(theta_deg: Doubles) -> None:
    """Raises SettingsError where the angles are no full turn, so that opposite projections cannot be joined."""
    gap = missing_wedge_deg(theta_deg, 360)
    if gap >= WIDEST_STITCHED_GAP_DEG:
        raise SettingsError(
            f"--stitch-360: the angles leave out {gap:.1f} of 360 degrees; opposite projections need a full turn."
        )


def _shares(columns: int, center_px: Doubles) -> Floats:
    """What each ray counts beside its opposite, [center, column]: both together 1, smoothly over their overlap.

    Where only one side of the axis was measured, that side counts whole.
    """
    from_axis = np.arange(columns) - center_px[:, None]
    near = min(center_px.min(), columns - 1 - center_px.max())
    if center_px.mean() > (columns - 1) / 2:
        from_axis = -from_axis
    shares: Floats = (0.5 + 0.5 * np.sin(np.pi / 2 * np.clip(from_axis / near, -1, 1))).astype(np.float32)
    return shares


class Reconstructor:
    """Reconstructs two slices in one complex transform. Holds one plan, and is used by one thread at a time."""

    def __init__(self, geometry: Geometry, arithmetic: Arithmetic | None = None) -> None:
        self._geometry = geometry
        self._arithmetic = with_ = arithmetic or processors(geometry.nufft)
        n, put = geometry.columns, with_.arrays.asarray
        self._weights = put(geometry.weights)
        self._shares, self._outside = (None if one is None else put(one) for one in (geometry.shares, geometry.outside))
        self._transform = with_.nufft(n, put(geometry.down), put(geometry.across))
        # Kept from slice to slice: fresh memory each time costs as much as the Fourier transform of the rows.
        self._padded = with_.arrays.zeros((len(geometry.weights), geometry.padded), np.complex64)
        self._pair = with_.arrays.empty((n, n), np.complex64)

    def __call__(self, sinograms: Floats, moved_px: float = 0.0) -> Floats:
        """Slices [1 or 2, n, n] of sinograms [1 or 2, angle, column]; zero outside the circle, if set so.

        ``moved_px``: with the axis so many columns further than the geometry has it.
        """
        g, arrays = self._geometry, self._arithmetic.arrays
        lines = arrays.asarray(sinograms)
        if self._shares is not None:
            lines = lines * self._shares
        padded = self._padded
        last = g.left + g.measured - 1
        inner = slice(g.left, last + 1)
        padded.real[:, inner] = lines[0]
        padded.imag[:, inner] = lines[1] if len(lines) == 2 else 0
        # A sample wider than the detector continues beyond it: repeating the edge avoids a bright rim.
        edge = g.padding is Padding.EDGE
        padded[:, : g.left] = padded[:, g.left, None] if edge else 0
        padded[:, last + 1 :] = padded[:, last, None] if edge else 0
        spectrum = self._arithmetic.fft(padded)
        spectrum *= self._weights
        if moved_px:
            shift = np.exp(2j * np.pi * moved_px * scipy.fft.fftfreq(g.padded)).astype(np.complex64)
            spectrum *= arrays.asarray(shift)
        pair = self._transform(spectrum.ravel(), self._pair)
        slices = arrays.stack([pair.real, pair.imag][: len(lines)])
        if self._outside is not None:
            arrays.copyto(slices, 0, where=self._outside)
        fetched: Floats = self._arithmetic.fetched(slices)
        return fetched


def reconstructing(geometry: Geometry, arithmetic: Arithmetic) -> Callable[[Floats], Floats]:
    """A reconstructor for any number of threads: on the processors one for each, on a card one that they take in turns.

    A card is busy with one transform, and a plan a thread would fill its memory.
    """
    if arithmetic.device is Device.CPU:
        local = threading.local()

        def own(sinograms: Floats) -> Floats:
            if not hasattr(local, "reconstructor"):
                local.reconstructor = Reconstructor(geometry, arithmetic)
            made: Floats = local.reconstructor(sinograms)
            return made

        return own
    turn, shared = threading.Lock(), Reconstructor(geometry, arithmetic)

    def in_turns(sinograms: Floats) -> Floats:
        with turn:
            return shared(sinograms)

    return in_turns


def angle_weights(theta: Doubles, turn: float = np.pi) -> Doubles:
    """The share of the turn that each angle (radians) stands for: half the gaps to its neighbours, modulo the turn.

    Right for uneven angles, for both ends of a half turn (each counts half), and for full turns, which count as two
    halves unless ``turn`` is one. A gap that was never measured is not given to the angles at its edges.
    """
    folded = np.mod(theta, turn)
    order = np.argsort(folded, kind="stable")
    gaps = np.diff(folded[order], append=folded[order[0]] + turn)
    measured = gaps <= WIDEST_GAP * turn / theta.size
    gaps = np.where(measured, gaps, np.median(gaps[measured]))
    weights = np.empty_like(folded)
    weights[order] = (gaps + np.roll(gaps, 1)) / 2
    return weights


def missing_wedge_deg(theta_deg: Doubles, turn_deg: float = 180) -> float:
    """The widest gap between neighbouring angles modulo the turn where it is a missing wedge, else 0."""
    folded = np.sort(np.mod(theta_deg, turn_deg))
    widest = float(np.diff(folded, append=folded[0] + turn_deg).max())
    return widest if widest > WIDEST_GAP * turn_deg / theta_deg.size else 0.0


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
