"""Frames as a straight, upright detector would have seen them: without the lens's distortion, and without its tilt.

Belongs here: where a pixel of such a frame lies in the one that was measured, and taking it from there.
Does not: movements from projection to projection (tomography.frames).

The lens is a polynomial of the distance from its centre, as the beamline's earlier program, and discorpy, have it (Vo
et al., 2015, Opt. Express 23, 32859): at a distance r, r (a0 + a1 r + a2 r^2 + ...) was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse

from tomography.resample import REACH, TAPS, cubic_weights
from tomography.scan import Scan
from tomography.settings import Settings

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

LOOKED_AT = 64
"""So many rows and columns tell how far pixels are moved: it changes slowly over the frame."""
BYTES_A_PIXEL = len(TAPS) ** 2 * 8
"""Of the matrix that takes a frame's pixels from where they were measured."""


@dataclass(frozen=True)
class Warp:
    """For frames of ``rows`` and ``columns``. ``factors`` of the lens, lowest first: 1 alone is no distortion."""

    rows: int
    columns: int
    tilt_deg: float
    factors: tuple[float, ...]
    lens_row: float
    lens_column: float

    @classmethod
    def of(cls, scan: Scan, settings: Settings) -> Warp | None:
        """That of a scan; None where there is nothing to straighten."""
        if not settings.tilt_deg and not settings.lens_distortion:
            return None
        row, column = settings.lens_center_row_px, settings.lens_center_column_px
        return cls(
            scan.rows,
            scan.columns,
            settings.tilt_deg,
            settings.lens_polynomial if settings.lens_distortion else (1.0,),
            (scan.rows - 1) / 2 if row is None else row,
            (scan.columns - 1) / 2 if column is None else column,
        )

    @cached_property
    def margin_px(self) -> int:
        """From how many rows beyond those that are wanted it takes pixels."""
        some_rows = np.unique(np.linspace(0, self.rows - 1, min(self.rows, LOOKED_AT)).astype(int))
        moved = max(
            float(np.abs(self._measured_at(int(row))[0].clip(0, self.rows - 1) - row).max()) for row in some_rows
        )
        return int(np.ceil(moved)) + REACH + 1

    def matrix(self, rows: range, read: range) -> scipy.sparse.csr_array:
        """What takes pixels [row * column] of ``rows`` from those of the rows that were ``read``.

        Beyond the edges of the frame the edge is repeated.
        """
        taps = len(TAPS) ** 2
        shares = np.empty((len(rows), self.columns, taps), np.float32)
        where = np.empty((len(rows), self.columns, taps), np.int32)
        for i, row in enumerate(rows):
            down, down_shares = _around(self._measured_at(row)[0], self.rows)
            across, across_shares = _around(self._measured_at(row)[1], self.columns)
            shares[i] = (down_shares[:, :, None] * across_shares[:, None, :]).reshape(self.columns, taps)
            where[i] = ((down - read.start)[:, :, None] * self.columns + across[:, None, :]).reshape(self.columns, taps)
        ends = np.arange(0, where.size + 1, taps, dtype=np.int32)
        shape = (len(rows) * self.columns, len(read) * self.columns)
        return scipy.sparse.csr_array((shares.ravel(), where.ravel(), ends), shape)

    def _measured_at(self, row: int) -> tuple[Doubles, Doubles]:
        """The measured rows and columns [column] of a straight row's pixels."""
        turned = np.deg2rad(self.tilt_deg)
        down = row - (self.rows - 1) / 2
        across = np.arange(self.columns) - (self.columns - 1) / 2
        y = np.sin(turned) * across + np.cos(turned) * down + (self.rows - 1) / 2 - self.lens_row
        x = np.cos(turned) * across - np.sin(turned) * down + (self.columns - 1) / 2 - self.lens_column
        factor = np.polynomial.polynomial.polyval(np.hypot(x, y), self.factors)
        return factor * y + self.lens_row, factor * x + self.lens_column


def straightened(frames: Floats, matrix: scipy.sparse.csr_array) -> Floats:
    """Rows [row, angle, column] of straight frames, from those that were read."""
    _, angles, columns = frames.shape
    pixels = np.ascontiguousarray(frames.transpose(0, 2, 1)).reshape(-1, angles)
    straight: Floats = (matrix @ pixels).reshape(-1, columns, angles).transpose(0, 2, 1)
    return np.ascontiguousarray(straight)


def _around(positions: Doubles, size: int) -> tuple[npt.NDArray[np.int64], Doubles]:
    """The samples about positions, [position, tap], and what each counts."""
    whole = np.floor(positions)
    samples = np.clip(whole[:, None] + np.array(TAPS), 0, size - 1).astype(np.int64)
    return samples, cubic_weights(positions - whole)
