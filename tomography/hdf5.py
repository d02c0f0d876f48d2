"""HDF5 files as beamlines write them: opened, and single values and frames found in them.

Belongs here: what is said where a file, or a dataset in it, is not what it should be.
Does not: where things are in a scan (tomography.scan).
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import h5py
import numpy as np

from tomography.errors import ScanError

_SIEVE_BYTES = 4096
"""HDF5 reads 64 KiB for every row of a frame that it is asked for, most of it for nothing."""

_CHUNK_CACHE_BYTES = 256 * 1024**2
_CHUNK_SLOTS = 10_007  # a prime number, as HDF5 wants it, and more than two frames have chunks
_LONGEST_VALUE_BYTES = 4_000
_ROW_LOOKED_AT = 100


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


def inside(group: h5py.Group, name: str, links: int = 8) -> h5py.Dataset | h5py.Group | None:
    """What a group has by this name; None where it has nothing. A circle of ``links`` leads nowhere.

    Raises ScanError where a link leads out of the file: whoever writes a scan does not choose what this machine opens.
    KeyError, OSError and RuntimeError are h5py's where the file is damaged.
    """
    found = group
    parts = [part for part in name.split("/") if part]
    for number, part in enumerate(parts, start=1):
        # h5py's own look-ups follow a link to see whether it leads anywhere.
        if not isinstance(found, h5py.Group) or not found.id.links.exists(part.encode("utf-8", "surrogateescape")):
            return None
        kind = found.id.links.get_info(part.encode("utf-8", "surrogateescape")).type
        if kind == h5py.h5l.TYPE_EXTERNAL:
            raise ScanError(f"{name} is a link to another file: only the scan's own file is read.")
        if kind == h5py.h5l.TYPE_SOFT:
            target = found.id.links.get_val(part.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
            start = found.file if target.startswith("/") else found
            return inside(start, "/".join([target, *parts[number:]]), links - 1) if links else None
        found = found[part]
    return found


def has(file: h5py.File, name: str) -> bool:
    """Whether there is something of this name in the file itself."""
    return inside(file, name) is not None


def is_readable(found: h5py.Dataset) -> bool:
    """Whether a dataset holds numbers of its own: no other file's, and no view of other datasets."""
    return found.dtype.kind in "uif" and not found.is_virtual and not found.external


def opened(group: h5py.Group, name: str) -> h5py.Dataset:
    """A dataset, with a cache that suits its chunks.

    Of compressed ones it holds two frames, so that what needs two of them in turn decompresses each once. Of others it
    holds nothing: HDF5 would read whole chunks for a few of their rows.
    """
    found = h5py.h5d.open(group.id, name.encode("utf-8", "surrogateescape"))
    plist = found.get_create_plist()
    if plist.get_layout() != h5py.h5d.CHUNKED:
        return h5py.Dataset(found)
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    chunk_bytes = math.prod(plist.get_chunk()) * found.dtype.itemsize
    rows = -(-found.shape[-2] // plist.get_chunk()[-2]) * -(-found.shape[-1] // plist.get_chunk()[-1])
    cache_bytes = min(2 * rows * chunk_bytes, _CHUNK_CACHE_BYTES) if plist.get_nfilters() else 0
    access.set_chunk_cache(_CHUNK_SLOTS, cache_bytes, 0.75)
    del found, plist  # a dataset that is open already keeps the cache that it has
    return h5py.Dataset(h5py.h5d.open(group.id, name.encode("utf-8", "surrogateescape"), access))


def dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset of frames. Raises ScanError where it is missing, damaged or something else."""
    found = found_in(path, file, name)
    if not isinstance(found, h5py.Dataset):
        raise ScanError(absent(path, name))
    if found.is_virtual or found.external:
        raise ScanError(f"{str(path)!r}: {name} lies in other files: only the scan's own file is read.")
    if found.ndim != 3 or found.dtype.kind not in "uif":
        raise ScanError(
            f"{str(path)!r}: {name} has shape {found.shape} and type {found.dtype}; "
            "numbers of [frame, row, column] were expected."
        )
    if lacking := _lacking_filters(found):
        raise ScanError(
            f"{str(path)!r}: {name} is compressed with {lacking}, which this installation cannot read. "
            "Copy the scan with another compression (h5repack)."
        )
    above, own_name = found.parent, found.name
    del found
    return opened(above, own_name)


def found_in(path: Path, file: h5py.File, name: str) -> h5py.Dataset | h5py.Group | None:
    """What a scan has by this name, or None. Raises ScanError where it is in another file."""
    try:
        return inside(file, name)
    except ScanError as error:
        raise ScanError(f"{str(path)!r}: {error}") from error
    except (KeyError, OSError, RuntimeError) as error:
        raise ScanError(f"{str(path)!r}: {name} cannot be read ({first_line(error)}). The file is damaged.") from error


def absent(path: Path, name: str) -> str:
    """What is said of a dataset that a scan must have."""
    return (
        f"{str(path)!r}: the dataset {name} is missing. This is not a tomography scan, or its writer was interrupted."
    )


def _lacking_filters(found: h5py.Dataset) -> str:
    """The compressions that cannot be undone, in words; those of beamlines come with a library of their own."""
    plist = found.id.get_create_plist()
    filters = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    if all(h5py.h5z.filter_avail(code) for code, *_ in filters):
        return ""
    import hdf5plugin  # noqa: F401 registers its filters; half a tenth of a second that few files need

    return ", ".join(
        f"{name.decode('utf-8', 'replace')!r} (filter {code})"
        for code, _, _, name in filters
        if not h5py.h5z.filter_avail(code)
    )


def attribute(group: h5py.Group | h5py.Dataset, name: str) -> str | None:
    """An attribute as text, whether it is text or a number; None where there is none, or it is neither or very long."""
    if name not in group.attrs:
        return None
    if h5py.h5a.open(group.id, name.encode("utf-8", "surrogateescape")).get_storage_size() > _LONGEST_VALUE_BYTES:
        return None
    try:
        value = np.asarray(group.attrs[name]).ravel()
    except (OSError, RuntimeError, TypeError, ValueError):
        return None
    if value.size != 1:
        return None
    return _as_text(value[0])


def attribute_number(group: h5py.Group | h5py.Dataset, name: str) -> float | None:
    """An attribute as a number; None where there is none, or it is none."""
    return _as_number(attribute(group, name))


def number(file: h5py.File, name: str) -> float | None:
    """A number that the acquisition program wrote as a scalar, an array of one, or text; None where there is none."""
    value = _single(file, name)
    return None if value is None else _as_number(value)


def measured(file: h5py.File, name: str) -> float | None:
    """The same, of which there may be a row, one a projection: then the first that is not 0."""
    found = inside(file, name)
    if not isinstance(found, h5py.Dataset) or found.ndim != 1 or found.size < 2 or not is_readable(found):
        return number(file, name)
    values = found[:_ROW_LOOKED_AT].astype(float)
    useful = values[np.isfinite(values) & (values != 0)]
    return float(useful[0]) if useful.size else None


def _single(file: h5py.File, name: str) -> object:
    found = inside(file, name)
    if not isinstance(found, h5py.Dataset) or found.size != 1 or found.is_virtual or found.external:
        return None
    return None if found.dtype.itemsize > _LONGEST_VALUE_BYTES else np.asarray(found[()]).ravel()[0]


def _as_number(value: object) -> float | None:
    try:
        number = float(value.decode() if isinstance(value, bytes) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, UnicodeDecodeError):
        return None
    return number if np.isfinite(number) else None


def text(file: h5py.File, name: str) -> str | None:
    """A text that the acquisition program wrote as a scalar or an array of one; None where there is none."""
    value = _single(file, name)
    if value is None:
        return None
    return _as_text(value)


def _as_text(value: object) -> str | None:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip("\0 \t\r\n") or None


def first_line(error: Exception) -> str:
    """The first line of what HDF5 says, which says it at length."""
    return str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__
