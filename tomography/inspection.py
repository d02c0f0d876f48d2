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
from tomography.hdf5 import absent, first_line, open_hdf5, text
from tomography.layouts.contents import Turn
from tomography.layouts.recognise import contents_of
from tomography.storage import Frames

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
        contents = contents_of(path, file)
    except ScanError as error:
        return Inspection((_without_name(path, error),), proposal=proposal)
    missing = []
    for what, frames in (("flat", contents.flats), ("dark", contents.darks)):
        if frames is None:
            missing.append(absent(path, contents.names[what]).removeprefix(f"{str(path)!r}: "))
        elif frames.shape[0] == 0:
            missing.append(f"there are no {what} fields")
    data = contents.projections
    missing += _too_few(contents.turn, data.shape[0])
    missing += _empty_end(data)
    return Inspection(tuple(missing), data.shape[0], proposal)


def _too_few(turn: Turn, projections: int) -> list[str]:
    if turn.planned is not None and projections < turn.planned:
        return [f"{projections} of {turn.planned:.0f} projections are there"]
    if turn.theta_deg is not None and turn.theta_deg.size != projections:
        return [f"there are {projections} projections and {turn.theta_deg.size} angles"]
    return ["there is no projection"] if projections == 0 else []


def written_projections(data: Frames) -> int:
    """How many projections were written. A writer reserves the place of the others at the end, which reads as zeros."""
    count = data.shape[0]
    if count == 0 or not _is_empty(data, count - 1):
        return count
    first, last = 0, count - 1
    while first < last:  # those that were written come first
        middle = (first + last) // 2
        if _is_empty(data, middle):
            last = middle
        else:
            first = middle + 1
    return first


def _empty_end(data: Frames) -> list[str]:
    written, count = written_projections(data), data.shape[0]
    return [] if written == count else [f"the projections {written + 1} to {count} of {count} are empty"]


def _is_empty(data: Frames, frame: int) -> bool:
    try:
        return not np.any(np.nan_to_num(data.read(slice(frame, frame + 1), slice(None))))
    except OSError as error:
        raise ScanError(f"projection {frame + 1} cannot be read ({first_line(error)})") from error


def _without_name(path: Path, error: ScanError) -> str:
    """The message less the file's own name: whoever asked knows that, and may show this where it must not be read."""
    return str(error).removeprefix(f"{str(path)!r}: ")
