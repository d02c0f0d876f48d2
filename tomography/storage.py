"""Frames as they are stored: in one dataset, in a dataset each, or in several datasets one after another.

Belongs here: reading some rows of some frames, wherever they lie, and how they are compressed.
Does not: which datasets these are (tomography.layouts), or what their counts mean (tomography.scan).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from tomography.errors import ScanError
from tomography.hdf5 import inside, is_readable, opened

Counts = npt.NDArray[Any]


class SpoolError(OSError):
    """A temporary file that could not be written or read: this machine's fault, not the scan's."""


class Frames(Protocol):
    """Frames of one size. ``name`` is what they are called in messages."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """[frame, row, column]."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def chunk(self) -> tuple[int, int] | None:
        """The frames and rows that are compressed together; None where nothing is compressed."""

    def read(self, frames: slice, rows: slice) -> Counts:
        """Some rows of some frames, [frame, row, column]. Raises OSError where the file is damaged."""


@dataclass(frozen=True)
class OneDataset:
    """All frames in one dataset [frame, row, column]."""

    dataset: h5py.Dataset

    @property
    def name(self) -> str:
        return str(self.dataset.name)

    @property
    def shape(self) -> tuple[int, int, int]:
        frames, rows, columns = self.dataset.shape
        return frames, rows, columns

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.dataset.dtype
        return dtype

    @property
    def chunk(self) -> tuple[int, int] | None:
        if self.dataset.chunks is None or self.dataset.id.get_create_plist().get_nfilters() == 0:
            return None
        frames, rows, _ = self.dataset.chunks
        return frames, rows

    def read(self, frames: slice, rows: slice) -> Counts:
        counts: Counts = self.dataset[frames, rows]
        return counts


@dataclass(frozen=True)
class ADatasetEach:
    """One dataset a frame, [row, column] or [1, row, column], in a group."""

    group: h5py.Group
    names: Sequence[str]
    name: str
    frame: tuple[int, int]
    dtype: np.dtype[Any]
    chunk: tuple[int, int] | None

    @classmethod
    def of(cls, path: str, group: h5py.Group, names: Sequence[str], name: str) -> ADatasetEach:
        """Look at every one of them. Raises ScanError where they are not all frames of one size."""
        shapes, dtypes = set(), set()
        chunk = None
        for one in names:
            found = inside(group, one)
            if not isinstance(found, h5py.Dataset) or not is_readable(found) or found.shape[:-2] not in ((), (1,)):
                seen = f"of shape {found.shape}" if isinstance(found, h5py.Dataset) else "no dataset"
                raise ScanError(f"{path}: {one!r} in {group.name!r} is {seen}; one frame of counts was expected.")
            shapes.add(found.shape[-2:])
            dtypes.add(found.dtype)
            if found.chunks is not None and found.id.get_create_plist().get_nfilters() > 0:
                chunk = (1, found.chunks[-2])
        if len(shapes) > 1:
            raise ScanError(
                f"{path}: {name} have {len(shapes)} sizes ({', '.join(map(str, sorted(shapes)))}): "
                "they are from different detectors or regions of interest."
            )
        return cls(group, names, name, shapes.pop(), np.result_type(*dtypes), chunk)

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.names), *self.frame

    def read(self, frames: slice, rows: slice) -> Counts:
        wanted = self.names[frames]
        counts = np.empty((len(wanted), len(range(self.frame[0])[rows]), self.frame[1]), self.dtype)
        for i, name in enumerate(wanted):
            dataset = opened(self.group, name)
            counts[i] = dataset[rows] if dataset.ndim == 2 else dataset[0, rows]
        return counts


@dataclass(frozen=True)
class OneAfterAnother:
    """The frames of several stores, as one."""

    parts: Sequence[Frames]

    @property
    def name(self) -> str:
        return " and ".join(part.name for part in self.parts)

    @property
    def shape(self) -> tuple[int, int, int]:
        return sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(*(part.dtype for part in self.parts))

    @property
    def chunk(self) -> tuple[int, int] | None:
        return next((part.chunk for part in self.parts if part.chunk), None)

    def read(self, frames: slice, rows: slice) -> Counts:
        wanted = range(self.shape[0])[frames]
        found, start = [], 0
        for part in self.parts:
            stop = start + part.shape[0]
            here = range(max(wanted.start, start), min(wanted.stop, stop))
            if len(here):
                found.append(part.read(slice(here.start - start, here.stop - start), rows))
            start = stop
        return np.concatenate(found) if found else self.parts[0].read(slice(0, 0), rows)
