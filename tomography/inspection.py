"""Is a scan whole? Looked at from its structure and its last projections, without reading the rest.

Belongs here: what an acquisition that was stopped, or a copy that was cut off, looks like.
Does not: whether it is any good (brightness, motion), or opening a scan to reconstruct it (tomography.scan).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tomography.errors import ScanError
from tomography.hdf5 import dataset, first_line, number, open_hdf5, text
from tomography.scan import DARK, DATA, ROTATION, THETA, WHITE

PROPOSAL = "/measurement/sample/experiment/proposal"


@dataclass(frozen=True)
class Inspection:
    """What was found. ``missing`` says in plain words what a whole scan would have; empty for a whole one."""

    missing: tuple[str, ...]
    projections: int | None = None
    proposal: str | None = None

    @property
    def whole(self) -> bool:
        return not self.missing


def inspect(path: Path) -> Inspection:
    """Look at a raw file. A file that is damaged or no scan at all is not whole, and that is said; nothing is raised.

    Raises OSError only where this machine fails (no such permission, a disk that cannot be read).
    """
    try:
        with open_hdf5(path) as file:
            return inspect_open(path, file)
    except ScanError as error:
        return Inspection((_without_name(path, error),))


def inspect_open(path: Path, file: h5py.File) -> Inspection:
    """The same, of a file that is open already. Raises ScanError where it breaks off while it is read."""
    proposal = text(file, PROPOSAL)
    try:
        data, white, dark = (dataset(path, file, name) for name in (DATA, WHITE, DARK))
    except ScanError as error:
        return Inspection((_without_name(path, error),), proposal=proposal)
    missing = [f"there are no {what} fields" for frames, what in ((white, "flat"), (dark, "dark")) if len(frames) == 0]
    missing += _too_few(file, len(data))
    missing += _empty_end(data)
    return Inspection(tuple(missing), len(data), proposal)


def _too_few(file: h5py.File, projections: int) -> list[str]:
    planned = number(file, f"{ROTATION}/num_angles")
    if planned is not None and projections < planned:
        return [f"{projections} of {planned:.0f} projections are there"]
    angles = file.get(THETA)
    if isinstance(angles, h5py.Dataset) and angles.size not in (0, projections):
        return [f"there are {projections} projections and {angles.size} angles"]
    return ["there is no projection"] if projections == 0 else []


def written_projections(data: h5py.Dataset) -> int:
    """How many projections were written. A writer reserves the place of the others at the end, which reads as zeros."""
    if len(data) == 0 or not _is_empty(data, len(data) - 1):
        return len(data)
    first, last = 0, len(data) - 1
    while first < last:  # those that were written come first
        middle = (first + last) // 2
        if _is_empty(data, middle):
            last = middle
        else:
            first = middle + 1
    return first


def _empty_end(data: h5py.Dataset) -> list[str]:
    written = written_projections(data)
    return [] if written == len(data) else [f"the projections {written + 1} to {len(data)} of {len(data)} are empty"]


def _is_empty(data: h5py.Dataset, frame: int) -> bool:
    try:
        return not np.any(np.nan_to_num(data[frame]))
    except OSError as error:
        raise ScanError(f"projection {frame + 1} cannot be read ({first_line(error)})") from error


def _without_name(path: Path, error: ScanError) -> str:
    """The message less the file's own name: whoever asked knows that, and may show this where it must not be read."""
    return str(error).removeprefix(f"{str(path)!r}: ")
