"""Projections that are compressed frame by frame, decompressed once: into a temporary file, row by row readable.

Belongs here: which scans need that, the file, and its end.
Does not: how frames lie in the scan's own file (tomography.storage).

A slab of rows is a part of every frame, so that each slab would decompress the whole scan. The file has no name: it is
gone when the program ends, however it ends.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from tomography.progress import Reporter
from tomography.scan import Scan
from tomography.storage import Counts, Frames, SpoolError

ROWS_AT_ONCE = 128
"""So many rows are read together, as a rule: chunks that divide them are decompressed once anyway."""


@contextmanager
def decompressed_once(scan: Scan, directory: Path, reporter: Reporter) -> Iterator[Scan]:
    """The scan, whose projections are decompressed at most once, when the first of them is read.

    ``directory`` takes the temporary file: as large as the projections are without compression. OSError is raised, when
    they are read, where it has no room for that.
    """
    chunk = scan.projections.chunk
    if chunk is None or ROWS_AT_ONCE % chunk[1] == 0:
        yield scan
        return
    gigabytes = scan.row_bytes * scan.rows / 1e9
    flag = f"projections are compressed frame by frame: decompressed once, into {gigabytes:.2g} GB of temporary space"
    spool = _Spool(scan.projections, chunk, directory, reporter)
    try:
        yield replace(scan, projections=spool, flags=(*scan.flags, flag))
    finally:
        spool.close()


@dataclass
class _Spool:
    """Frames that lie in a file one after another, once they are asked for. Called from any number of threads."""

    source: Frames
    compressed: tuple[int, int]
    directory: Path
    reporter: Reporter
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _file: IO[bytes] | None = None

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    @property
    def chunk(self) -> None:
        return None

    def read(self, frames: slice, rows: slice) -> Counts:
        with self._lock:
            if self._file is None:
                self._file = self._filled()
        file = self._file.fileno()
        total, height, width = self.shape
        wanted, lines = range(total)[frames], range(height)[rows]
        counts = np.empty((len(wanted), len(lines), width), self.dtype)
        for place, frame in zip(counts, wanted, strict=True):
            self._read_into(place, file, self._offset(frame, lines.start))
        return counts

    def close(self) -> None:
        """The file is gone with it."""
        if self._file is not None:
            self._file.close()

    def _read_into(self, place: Counts, file: int, at: int) -> None:
        view = place.data.cast("B")
        while view:
            got = os.preadv(file, [view], at)
            if got == 0:
                raise SpoolError(errno.EIO, "the temporary file of decompressed projections ends too early")
            view, at = view[got:], at + got

    def _filled(self) -> IO[bytes]:
        try:
            file = tempfile.TemporaryFile(dir=self.directory, prefix=".decompressed-", buffering=0)  # noqa: SIM115 closed by close()
        except OSError as error:
            raise SpoolError(*error.args) from error
        try:
            self._reserve(file.fileno())
            self._fill(file.fileno())
        except BaseException:
            file.close()
            raise
        return file

    def _reserve(self, file: int) -> None:
        """Refuse at once what would fail in an hour."""
        size = self._offset(self.shape[0], 0)
        disk = os.fstatvfs(file)
        free = disk.f_bavail * disk.f_frsize
        if free < size:
            raise SpoolError(
                errno.ENOSPC,
                f"the scan is compressed frame by frame, and takes {size / 1e9:.1f} GB of temporary space in "
                f"{str(self.directory)!r} to be decompressed once; {free / 1e9:.1f} GB are free there",
            )

    def _fill(self, file: int) -> None:
        total, height, _ = self.shape
        together, band = self.compressed
        for first in range(0, total, together):
            for row in range(0, height, band):
                frames, rows = slice(first, min(first + together, total)), slice(row, min(row + band, height))
                for frame, part in enumerate(self.source.read(frames, rows), start=first):
                    self._write(file, np.ascontiguousarray(part), self._offset(frame, row))
            self.reporter.progress("decompress", min(first + together, total), total, "projections")

    def _write(self, file: int, part: Counts, at: int) -> None:
        view = part.data.cast("B")
        while view:
            try:
                put = os.pwrite(file, view, at)
            except OSError as error:
                raise SpoolError(*error.args) from error
            view, at = view[put:], at + put

    def _offset(self, frame: int, row: int) -> int:
        _, height, width = self.shape
        return (frame * height + row) * width * self.dtype.itemsize
