"""What a scan's file says of itself: its single values, and a few of each row of values.

Belongs here: reading them without trusting the file.
Does not: pixels (tomography.scan), or what the values mean (whoever asks).

A file is written by people's programs, and what is read here is shown to others. So nothing outside of the file is
read: HDF5 can name other files as links, as a dataset's storage, or as the sources of a virtual one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import h5py
import numpy as np

from tomography.errors import ScanError
from tomography.hdf5 import attribute, attribute_number, first_line, open_hdf5
from tomography.layouts import als

PIXELS = "exchange"
DATASETS = 1_000
TEXT_CHARACTERS = 4_000
SAMPLES = 10
_LARGEST_ROW = 10_000_000

Single = str | int | float | bool | None


@dataclass(frozen=True)
class Stated:
    """A value, or samples of a row of values; numbers that are none (NaN, infinity) are None."""

    value: Single | list[Single]
    unit: str | None = None


def metadata(path: Path) -> dict[str, Stated]:
    """The values by their paths in the file, at most 1,000. What cannot be read is left out.

    Raises ScanError where the file is missing, truncated or not HDF5.
    """
    with open_hdf5(path) as file:
        try:
            return stated_in(file)
        except (OSError, RuntimeError) as error:
            raise ScanError(f"{str(path)!r}: its values cannot be read ({first_line(error)}).") from error


def stated_in(file: h5py.File) -> dict[str, Stated]:
    """The same, of an open file. Raises OSError or RuntimeError where its structure is damaged."""
    found: dict[str, Stated] = {}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> bool | None:
        if isinstance(item, h5py.Dataset) and name.split("/")[0] != PIXELS and _is_inside(item):
            stated = _stated(item)
            found.update({} if stated is None else {f"/{name}": stated})
        elif isinstance(item, h5py.Group) and als.ANGLES in item.attrs:
            found.update({f"/{name}/{attribute}": stated for attribute, stated in _attributes(item)})
        return True if len(found) >= DATASETS else None  # what is returned ends the visit

    file.visititems(visit)  # follows no link, and visits each object once
    return found


def _attributes(group: h5py.Group) -> Iterator[tuple[str, Stated]]:
    """What a group of frames says of itself: its layout has attributes where others have datasets."""
    for name in islice(group.attrs, DATASETS):
        number, text = attribute_number(group, name), attribute(group, name)
        if text is not None:
            yield name, Stated(text if number is None else number)


def _is_inside(dataset: h5py.Dataset) -> bool:
    return not dataset.is_virtual and not dataset.external


def _stated(dataset: h5py.Dataset) -> Stated | None:
    try:
        return Stated(_read(dataset), _unit(dataset)) if _is_readable(dataset) else None
    except (OSError, RuntimeError, TypeError, ValueError):
        return None  # damaged, or of a type that numpy does not have: the other values are as good as before


def _is_readable(dataset: h5py.Dataset) -> bool:
    if dataset.shape is None or dataset.ndim > 1 or dataset.dtype.itemsize > TEXT_CHARACTERS:
        return False
    return 0 < dataset.size <= _LARGEST_ROW and dataset.dtype.kind in "biufSO"


def _read(dataset: h5py.Dataset) -> Single | list[Single]:
    if dataset.size == 1:
        return _single(np.asarray(dataset[()]).ravel()[0])
    last = dataset.size - 1
    rows = sorted({round(last * index / (SAMPLES - 1)) for index in range(SAMPLES)})
    return [_single(dataset[row]) for row in rows]


def _single(value: object) -> Single:
    if isinstance(value, bytes):
        return value[:TEXT_CHARACTERS].decode("utf-8", "replace").strip("\0 \t\r\n")
    if isinstance(value, str):
        return value[:TEXT_CHARACTERS].strip("\0 \t\r\n")
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return None


def _unit(dataset: h5py.Dataset) -> str | None:
    said = dataset.attrs.get("units")
    if isinstance(said, np.ndarray) and said.size == 1:
        said = said.ravel()[0]
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return text[:TEXT_CHARACTERS] if isinstance(text, str) else None
