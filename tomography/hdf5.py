"""HDF5 files as beamlines write them: opened, and single values and frames found in them.

Belongs here: what is said where a file, or a dataset in it, is not what it should be.
Does not: where things are in a scan (tomography.scan).
"""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

from tomography.errors import ScanError

_SIEVE_BYTES = 4096
"""HDF5 reads 64 KiB for every row of a frame that it is asked for, most of it for nothing."""


def open_hdf5(path: Path) -> h5py.File:
    """Open a file to read. Raises ScanError where it is missing, truncated or not HDF5."""
    if not path.is_file():
        raise ScanError(f"{str(path)!r}: there is no such file. Check the name, and whether the copy arrived.")
    try:
        return h5py.File(h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, _access()))
    except PermissionError:
        raise
    except OSError as error:
        if not h5py.is_hdf5(path):
            raise ScanError(
                f"{str(path)!r}: this is not an HDF5 file ({path.stat().st_size} bytes). "
                "It is another kind of file, or a copy that never got its beginning."
            ) from error
        raise ScanError(
            f"{str(path)!r}: the HDF5 file cannot be opened ({first_line(error)}). "
            "It is truncated or still being written: wait for the end of the scan, or copy it again."
        ) from error


def _access() -> h5py.h5p.PropFAID:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    # Shared file systems often refuse HDF5's locks, and a finished scan needs none.
    access.set_file_locking(use_file_locking=True, ignore_when_disabled=True)
    access.set_sieve_buf_size(_SIEVE_BYTES)
    return access


def dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset of frames. Raises ScanError where it is missing, damaged or something else."""
    try:
        found = file.get(name)
    except (KeyError, OSError, RuntimeError) as error:
        raise ScanError(f"{str(path)!r}: {name} cannot be read ({first_line(error)}). The file is damaged.") from error
    if not isinstance(found, h5py.Dataset):
        raise ScanError(
            f"{str(path)!r}: the dataset {name} is missing. "
            "This is not a tomography scan, or its writer was interrupted."
        )
    if found.ndim != 3 or found.dtype.kind not in "uif":
        raise ScanError(
            f"{str(path)!r}: {name} has shape {found.shape} and type {found.dtype}; "
            "numbers of [frame, row, column] were expected."
        )
    return found


def number(file: h5py.File, name: str) -> float | None:
    """A number that the acquisition program wrote as a scalar, an array of one, or text; None where there is none."""
    found = file.get(name)
    if not isinstance(found, h5py.Dataset) or found.size != 1:
        return None
    value = np.asarray(found[()]).ravel()[0]
    try:
        number = float(value.decode() if isinstance(value, bytes) else value)
    except (ValueError, UnicodeDecodeError):
        return None
    return number if np.isfinite(number) else None


def text(file: h5py.File, name: str) -> str | None:
    """A text that the acquisition program wrote as a scalar or an array of one; None where there is none."""
    found = file.get(name)
    if not isinstance(found, h5py.Dataset) or found.size != 1:
        return None
    value = np.asarray(found[()]).ravel()[0]
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip("\0 \t\r\n") or None


def first_line(error: Exception) -> str:
    """The first line of what HDF5 says, which says it at length."""
    return str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__
