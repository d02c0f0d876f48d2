"""The ALS's files before Data Exchange (8.3.2 to about 2020, and 11.3.1): a group of frames, with attributes.

The group is called after the scan, as is each frame in it: ``NAME_0000_0012.tif`` is projection 12,
``NAMEbak_0003_0120.tif`` the fourth flat field before projection 120, ``NAMEdrk_0001_1024.tif`` the second dark field,
taken then. (The oldest have one number: ``NAME_12.tif``, ``NAMEbak_120.tif``.) So the names tell in what 8.3.2 and
11.3.1 differ: when flat fields were taken. Attributes of the group: ``nangles``, ``arange`` (degrees), ``pxsize`` (mm)
and ``senergy`` (eV). Each frame may have its ``rot_angle`` (degrees).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path

import h5py
import numpy as np

from tomography.errors import ScanError
from tomography.hdf5 import attribute_number, opened
from tomography.layouts.contents import Contents, Moments, Turn
from tomography.storage import ADatasetEach

ANGLES = "nangles"
PIXEL_SIZE_MM = "pxsize"
ENERGY_EV = "senergy"
RANGE_DEG = "arange"
ANGLE_DEG = "rot_angle"
DEEPEST = 4
MOST_GROUPS = 1_000
MOST_FRAMES = 200_000

_FRAME = re.compile(r"(bak|drk)?_(\d{1,9})(?:_(\d{1,9}))?\.tiff?")


@dataclass(frozen=True, order=True)
class _Frame:
    """``at``: the projection that it is, or before which it was taken."""

    at: int
    number: int
    name: str


def recognise(file: h5py.File) -> bool:
    """By a group whose frames are called after it."""
    return next(_groups(file), None) is not None


def read(path: Path, file: h5py.File) -> Contents:
    """What the file holds. Raises ScanError where it holds several scans, or frames that do not fit together."""
    where = repr(str(path))
    groups = list(_groups(file))
    if len(groups) > 1:
        names = ", ".join(repr(group.name)[:80] for group in groups[:4])
        raise ScanError(
            f"{where}: it holds {len(groups)} scans ({names}{', ...' if len(groups) > 4 else ''}), as tiled ones did. "
            "A scan is a file here: copy the group that is wanted into a file of its own (h5copy)."
        )
    [group] = groups
    kinds: dict[str, list[_Frame]] = {"": [], "bak": [], "drk": []}
    for kind, frame in _frames(group):
        kinds[kind].append(frame)
    projections, flats, darks = (sorted(kinds[kind]) for kind in ("", "bak", "drk"))
    if not projections:
        raise ScanError(
            f"{where}: {group.name!r} holds no projection {_called(group, '')}. The scan was stopped early."
        )
    turn, flags = _turn(group, projections)
    return Contents(
        layout="ALS, a group of frames",
        projections=_stored(where, group, "", projections),
        flats=_stored(where, group, "bak", flats) if flats else None,
        darks=_stored(where, group, "drk", darks) if darks else None,
        turn=turn,
        moments=_moments(flats),
        pixel_size_mm=attribute_number(group, PIXEL_SIZE_MM),
        energy_ev=attribute_number(group, ENERGY_EV),
        distance_mm=None,
        flags=flags,
        names={"flat": _called(group, "bak"), "dark": _called(group, "drk")},
    )


def _groups(file: h5py.File) -> Iterator[h5py.Group]:
    """The groups that hold frames, looked for near the root."""
    waiting: list[tuple[h5py.Group, int]] = [(file, 0)]
    for _ in range(MOST_GROUPS):
        if not waiting:
            return
        group, depth = waiting.pop(0)
        if depth and next(_frames(group), None) is not None:
            yield group
        elif depth < DEEPEST:
            waiting += [(found, depth + 1) for found in _members(group)]


def _members(group: h5py.Group) -> Iterator[h5py.Group]:
    for name in islice(group, MOST_GROUPS):
        if (
            group.id.links.get_info(name.encode()).type == h5py.h5l.TYPE_HARD
            and group.get(name, getclass=True) is h5py.Group
        ):
            yield group[name]


def _frames(group: h5py.Group) -> Iterator[tuple[str, _Frame]]:
    stem = group.name.rsplit("/", 1)[-1]
    for name in islice(group, MOST_FRAMES):
        if name.startswith(stem) and (match := _FRAME.fullmatch(name, len(stem))):
            kind, first, second = match.groups()
            at, number = (int(first), 0) if second is None else (int(second), int(first))
            yield kind or "", _Frame(at, number, name)


def _stored(where: str, group: h5py.Group, kind: str, frames: Sequence[_Frame]) -> ADatasetEach:
    return ADatasetEach.of(where, group, [frame.name for frame in frames], _called(group, kind))


def _called(group: h5py.Group, kind: str) -> str:
    return f"the frames {group.name.rsplit('/', 1)[-1] + kind + '_NNNN_NNNN.tif'!r}"


def _turn(group: h5py.Group, projections: Sequence[_Frame]) -> tuple[Turn, tuple[str, ...]]:
    """The angle of each projection, where each has one and they are not all the same; else evenly spaced ones.

    A projection that was lost leaves its angle empty: its name says which one it was.
    """
    planned, span = attribute_number(group, ANGLES), attribute_number(group, RANGE_DEG)
    step = span / (planned - 1) if span and planned and planned > 1 else None
    turn = Turn(None, planned, None, step, span, f"{ANGLE_DEG} of each frame", f"{ANGLES} and {RANGE_DEG} of the group")
    said = [attribute_number(opened(group, frame.name), ANGLE_DEG) for frame in projections]
    recorded = np.array([np.nan if angle is None else angle for angle in said])
    if np.isfinite(recorded).all() and np.ptp(recorded) > 0:
        return replace(turn, theta_deg=recorded), ()
    if step is None:
        return turn, ()
    first = 0.0 if np.isnan(recorded[0]) else float(recorded[0])
    theta = first + step * np.array([frame.at for frame in projections], np.float64)
    return replace(turn, theta_deg=theta), (f"angles computed from {ANGLES} and {RANGE_DEG}",)


def _moments(flats: Sequence[_Frame]) -> Moments:
    groups, before, start = [], [], 0
    for at, together in groupby(flats, key=lambda frame: frame.at):
        count = len(list(together))
        groups.append(slice(start, start + count))
        before.append(at)
        start += count
    return Moments(groups, before)
