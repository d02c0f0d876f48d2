"""Data Exchange, as beamline 8.3.2 has written it since 2020.

https://dxfile.readthedocs.io; the metadata are those of the acquisition program.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from tomography.errors import ScanError
from tomography.hdf5 import dataset, found_in, has, is_readable, measured, number
from tomography.layouts.contents import Contents, Doubles, Turn, moments
from tomography.storage import Frames, OneDataset

EXCHANGE = "/exchange"
DATA = "/exchange/data"
WHITE = "/exchange/data_white"
DARK = "/exchange/data_dark"
THETA = "/exchange/theta"
PIXEL_SIZE_MM = "/measurement/instrument/detector/pixel_size"
ROTATION = "/process/acquisition/rotation"
FLAT_FIELDS = "/process/acquisition/flat_fields"
ENERGY_EV = "/measurement/instrument/monochromator/energy"
DISTANCE_MM = "/measurement/instrument/camera_motor_stack/setup/camera_distance"
NAMES = {"flat": WHITE, "dark": DARK}
MOST_ANGLES = 10_000_000


def recognise(file: h5py.File) -> bool:
    """By the group that the format is named after."""
    return has(file, EXCHANGE)


def read(path: Path, file: h5py.File) -> Contents:
    """What the file holds. Raises ScanError where there are no projections."""
    projections = OneDataset(dataset(path, file, DATA))
    flats, darks = frames(path, file, WHITE), frames(path, file, DARK)
    per_group, every = (int(number(file, f"{FLAT_FIELDS}/{name}") or 0) for name in ("num_flat_fields", "i0cycle"))
    return Contents(
        layout="Data Exchange",
        projections=projections,
        flats=flats,
        darks=darks,
        turn=turn(path, file, "rotation_start", "rotation_step"),
        moments=moments(flats.shape[0] if flats else 0, projections.shape[0], per_group, every),
        pixel_size_mm=number(file, PIXEL_SIZE_MM),
        energy_ev=measured(file, ENERGY_EV),
        distance_mm=measured(file, DISTANCE_MM),
        names=NAMES,
    )


def frames(path: Path, file: h5py.File, name: str) -> Frames | None:
    """The frames of a dataset; None where there is none. Raises ScanError where it is something else."""
    is_there = isinstance(found_in(path, file, name), h5py.Dataset)
    return OneDataset(dataset(path, file, name)) if is_there else None


def turn(path: Path, file: h5py.File, start: str, step: str, theta: str = THETA) -> Turn:
    """What is said of the rotation; ``start`` and ``step`` are called differently at different beamlines."""
    planned, first, apart, span = (number(file, f"{ROTATION}/{name}") for name in ("num_angles", start, step, "range"))
    return Turn(
        _angles(path, file, theta),
        planned,
        first,
        apart,
        span,
        theta,
        f"{step} and range of {ROTATION}",
    )


def _angles(path: Path, file: h5py.File, name: str) -> Doubles | None:
    found = found_in(path, file, name)
    if not isinstance(found, h5py.Dataset) or found.size == 0 or not is_readable(found):
        return None
    if found.size > MOST_ANGLES:
        raise ScanError(f"{str(path)!r}: {name} has {found.size} values: these are not the angles of projections.")
    return np.asarray(found[()], np.float64).ravel()
