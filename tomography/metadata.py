"""What a scan's file says of itself: every single value in it, as text, with its unit.

Belongs here: finding them, and bounds on how many and how long. Does not: what they mean.
"""

from __future__ import annotations

import h5py
import numpy as np

from tomography.hdf5 import text

MOST_VALUES = 400
LONGEST_TEXT = 300


def single_values(file: h5py.File) -> dict[str, str]:
    """By path in the file, in its order: every dataset of one value. Bounded: somebody else wrote the file."""
    found: dict[str, str] = {}

    def visit(path: str, item: object) -> bool | None:
        if isinstance(item, h5py.Dataset) and item.size == 1:
            try:
                value = _shown(file, path)
            except OSError:
                value = "(cannot be read: the file is damaged there)"
            if value is not None:
                unit = item.attrs.get("units", item.attrs.get("unit"))
                found[path[:LONGEST_TEXT]] = value if unit is None else f"{value} {_as_text(unit)}"
        return True if len(found) >= MOST_VALUES else None

    file.visititems(visit)
    return found


def _shown(file: h5py.File, path: str) -> str | None:
    value = np.asarray(file[path][()]).ravel()[0]
    if isinstance(value, np.floating):
        return f"{value:g}"
    found = text(file, path)
    return None if found is None else found[:LONGEST_TEXT]


def _as_text(unit: object) -> str:
    return unit.decode("utf-8", "replace")[:20] if isinstance(unit, bytes) else str(unit)[:20]
