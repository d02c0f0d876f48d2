"""Flat and dark fields: frames without the sample, of which reconstruction needs the mean.

Belongs here: reading as little of them as is asked for, and what stands for them where there are none.
Does not: normalising by them (tomography.normalise).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tomography.errors import ScanError
from tomography.hdf5 import first_line
from tomography.storage import Frames

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Whites:
    """Flat fields as they were in time: the means of groups of frames, [group, row, column], and of each angle between
    which two of them it lies, and how far from the first to the second.
    """

    means: Floats
    before: npt.NDArray[np.intp]
    after: npt.NDArray[np.intp]
    part_way: Floats

    def at_each_angle(self, row: int) -> Floats:
        """The flat field of one of the rows at every angle, [angle, column]."""
        share = self.part_way[:, None]
        field: Floats = (1 - share) * self.means[self.before, row] + share * self.means[self.after, row]
        return field

    def part(self, rows: slice) -> Whites:
        """Some of these rows."""
        return replace(self, means=self.means[:, rows])

    def but(self, angles: npt.NDArray[np.intp]) -> Whites:
        """Some of these angles."""
        return replace(self, before=self.before[angles], after=self.after[angles], part_way=self.part_way[angles])


class Fields:
    """The flat fields of an open scan, or its dark ones: [frame, row, column]. Read when they are asked for.

    Where there is no frame, ``instead`` is the count that stands for every pixel of a mean.
    """

    def __init__(self, path: Path, frames: Frames | None, frame: tuple[int, int], instead: float | None = None) -> None:
        self._path = path
        self._frames = frames
        self._frame = frame
        self._instead = instead
        self._mean: Floats | None = None

    def __len__(self) -> int:
        return 0 if self._frames is None else int(self._frames.shape[0])

    def mean(self, start: int, stop: int) -> Floats:
        """The mean over the frames of the rows ``start`` to ``stop`` (exclusive), [row, column].

        Raises ScanError where they cannot be read.
        """
        if not len(self):
            return np.full((stop - start, self._frame[1]), self._instead, np.float32)
        if self._frames is not None and self._frames.chunk is None:
            return self._mean_of(start, stop)
        if self._mean is None:  # frames are often compressed whole: every row costs as much as all of them
            self._mean = self._mean_of(0, self._frame[0])
        return self._mean[start:stop]

    def in_time(self, start: int, stop: int, groups: Sequence[slice]) -> Floats:
        """The mean of each group of frames, [group, row, column], of some rows. Raises ScanError."""
        return np.stack([self._mean_over(range(len(self))[group], start, stop) for group in groups])

    def frame(self, number: int) -> npt.NDArray[Any]:
        """One whole frame [row, column], as counted. Raises ScanError."""
        return self._read(number, 0, self._frame[0])

    def some(self, most: int) -> npt.NDArray[Any]:
        """Whole frames [frame, row, column], at most so many, spread over all of them. Raises ScanError."""
        if not len(self):
            return np.empty((0, *self._frame))
        wanted = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(int))
        return np.stack([self._read(int(i), 0, self._frame[0]) for i in wanted])

    def _mean_of(self, start: int, stop: int) -> Floats:
        return self._mean_over(range(len(self)), start, stop)

    def _mean_over(self, frames: Sequence[int], start: int, stop: int) -> Floats:
        total = np.zeros((stop - start, self._frame[1]))
        for i in frames:
            total += self._read(i, start, stop)
        mean: Floats = (total / len(frames)).astype(np.float32)
        return mean

    def _read(self, frame: int, start: int, stop: int) -> npt.NDArray[Any]:
        frames: Any = self._frames
        try:
            found: npt.NDArray[Any] = frames.read(slice(frame, frame + 1), slice(start, stop))[0]
        except OSError as error:
            raise ScanError(
                f"{str(self._path)!r}: {frames.name} cannot be read ({first_line(error)}). "
                "The file is damaged: copy it again."
            ) from error
        return found
