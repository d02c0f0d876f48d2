"""Which layout a file has, by what is in it.

Belongs here: the layouts in the order in which they are tried, and what is said of a file that has none of them.
Does not: the layouts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import h5py

from tomography.errors import ScanError
from tomography.hdf5 import first_line
from tomography.layouts import als, data_exchange, sls, tomoscan
from tomography.layouts.contents import Contents

_LAYOUTS: tuple[tuple[Callable[[h5py.File], bool], Callable[[Path, h5py.File], Contents]], ...] = (
    (tomoscan.recognise, tomoscan.read),
    (sls.recognise, sls.read),
    (data_exchange.recognise, data_exchange.read),
    (als.recognise, als.read),
)
_LOOKED_FOR = (
    f"{data_exchange.DATA} (Data Exchange, TomoScan, SLS), or a group of frames called after it, as "
    "NAME/NAME_0000_0000.tif (ALS before 2020)"
)
_NAMED = 12
_LONGEST_NAME = 80


def contents_of(path: Path, file: h5py.File) -> Contents:
    """What an open file holds of a scan. Raises ScanError where it holds none, or its structure is damaged."""
    try:
        for recognise, read in _LAYOUTS:
            if recognise(file):
                return read(path, file)
        found = list(islice(_named(file), _NAMED + 1))
    except ScanError as error:
        here = f"{str(path)!r}: "
        raise ScanError(f"{here}{str(error).removeprefix(here)}") from error
    except (KeyError, OSError, RuntimeError, UnicodeError) as error:
        raise ScanError(
            f"{str(path)!r}: its structure cannot be read ({first_line(error)}). The file is damaged: copy it again."
        ) from error
    what = ", ".join(found[:_NAMED]) + (", ..." if len(found) > _NAMED else "") if found else "nothing"
    raise ScanError(f"{str(path)!r}: no scan of a known layout. Looked for: {_LOOKED_FOR}. Found: {what}.")


def _named(file: h5py.File) -> Iterator[str]:
    """What is in a file, level by level, each in a few words; nothing is followed out of it."""
    waiting = [file]
    while waiting:
        group = waiting.pop(0)
        for name in islice(group, _NAMED + 1):
            full = repr(f"{group.name.rstrip('/')}/{name}")
            short = full if len(full) <= _LONGEST_NAME else full[: _LONGEST_NAME - 3] + "..."
            if group.id.links.get_info(name.encode("utf-8", "surrogateescape")).type != h5py.h5l.TYPE_HARD:
                yield f"{short} (a link)"
                continue
            item = group[name]
            if isinstance(item, h5py.Dataset):
                size = " x ".join(map(str, item.shape or ())) or "one value"
                yield f"{short} ({size}, type {item.dtype.kind}{item.dtype.itemsize})"
            elif isinstance(item, h5py.Group):
                yield f"{short} (a group)"
                waiting.append(item)
