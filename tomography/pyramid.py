"""A TIFF stack as an OME-Zarr pyramid, streamed: one slab of slices in memory, every level in one pass.

Belongs here: slabs, levels, chunks.
Does not: reconstruction, and what the metadata says (tomography.ome).

An interrupted pyramid is begun again: it is bound by reading the stack, which a continuation would need as well.
"""

from __future__ import annotations

import re
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numcodecs.blosc
import numpy as np
import numpy.typing as npt

from tomography import ome, picture
from tomography.errors import OutputError
from tomography.manifest import FileEntry, Manifest
from tomography.ome import CHUNK, COMPRESSOR, Shape
from tomography.product import Build, Request, make
from tomography.progress import Reporter
from tomography.tiffs import Stack

Floats = npt.NDArray[np.float32]

# Chunks are compressed by our threads; blosc's own would also make the bytes depend on their number.
numcodecs.blosc.use_threads = False

_OWN = re.compile(r"\.zgroup|\.zattrs|\d+/\.zarray|\d+/\.zattrs|\d+/\d+/\d+/\d+")


def build_pyramid(stack: Stack, directory: Path, threads: int, reporter: Reporter) -> tuple[Manifest, bool]:
    """Write the pyramid of a stack; returns its manifest and whether anything had to be made.

    Raises OutputError, and StackError where a slice is not what the stack's manifest says.
    """
    if directory.suffix != ".zarr":
        raise OutputError(f"{directory.name!r}: the name of a pyramid ends in .zarr; viewers go by it.")
    settings = {
        **ome.SETTINGS,
        "pixel_size_um": stack.pixel_size_um,
        "reconstruction": stack.settings,
    }
    request = Request(directory, "zarr", stack.input, settings, lambda name: bool(_OWN.fullmatch(name)))
    with ThreadPoolExecutor(threads) as pool:
        return make(request, pool, lambda build: _write(stack, build, pool, reporter))


def level_shapes(shape: Shape) -> list[Shape]:
    """The shapes of the levels, finest first: halved, rounded up, until the longest axis fits one chunk."""
    shapes = [shape]
    while max(shapes[-1]) > CHUNK:
        z, y, x = ((size + 1) // 2 for size in shapes[-1])
        shapes.append((z, y, x))
    return shapes


def halve(rows: Floats, pool: Executor) -> Floats:
    """The mean of each 2x2x2 voxels of [z, y, x]; at an odd end, of those that exist."""
    depth, height, width = ((size + 1) // 2 for size in rows.shape)
    half = np.empty((depth, height, width), np.float32)

    def plane(z: int) -> None:
        both = rows[2 * z] + rows[min(2 * z + 1, len(rows) - 1)]
        # Counting a last row or column twice gives the mean of what exists.
        both = np.pad(both, [(0, size % 2) for size in both.shape], mode="edge")
        lines = both[0::2] + both[1::2]
        np.multiply(lines[:, 0::2] + lines[:, 1::2], np.float32(0.125), out=half[z])

    for _ in pool.map(plane, range(depth)):
        pass
    return half


class _Level:
    """One level while it is written: collects rows until they fill a layer of chunks, then passes their halves on."""

    def __init__(self, index: int, shapes: list[Shape], build: Build, pool: Executor) -> None:
        depth, height, width = shapes[index]
        self.rows = np.empty((min(depth, CHUNK), height, width), np.float32)
        self.coarser = _Level(index + 1, shapes, build, pool) if index + 1 < len(shapes) else None
        self._index = index
        self._build = build
        self._pool = pool
        self._filled = 0
        self._layer = 0

    @property
    def coarsest(self) -> Floats:
        """The voxels of the last level, once everything is finished: it is never deeper than one layer."""
        return self.rows if self.coarser is None else self.coarser.coarsest

    def take(self, rows: Floats) -> None:
        """Append rows [z, y, x] that lie elsewhere."""
        self.rows[self._filled : self._filled + len(rows)] = rows
        self.filled(len(rows))

    def filled(self, count: int) -> None:
        """The next ``count`` of ``rows`` have been filled in place."""
        self._filled += count
        if self._filled == CHUNK:
            self._pass_on()

    def finish(self) -> None:
        """Write what did not fill a layer, here and in the coarser levels."""
        if self._filled:
            self._pass_on()
        if self.coarser is not None:
            self.coarser.finish()

    def _pass_on(self) -> None:
        rows = self.rows[: self._filled]
        self._build.record(self._write_layer(rows))
        self._filled = 0
        self._layer += 1
        if self.coarser is not None:
            self.coarser.take(halve(rows, self._pool))

    def _write_layer(self, rows: Floats) -> list[FileEntry]:
        def chunk(corner: tuple[int, int]) -> FileEntry:
            y, x = corner
            voxels = np.zeros((CHUNK, CHUNK, CHUNK), np.float32)
            part = rows[:, y : y + CHUNK, x : x + CHUNK]
            voxels[: part.shape[0], : part.shape[1], : part.shape[2]] = part
            name = f"{self._index}/{self._layer}/{y // CHUNK}/{x // CHUNK}"
            return self._build.write(name, COMPRESSOR.encode(voxels))

        _, height, width = rows.shape
        corners = [(y, x) for y in range(0, height, CHUNK) for x in range(0, width, CHUNK)]
        return list(self._pool.map(chunk, corners))


def _write(stack: Stack, build: Build, pool: Executor, reporter: Reporter) -> dict[str, Any]:
    shapes = level_shapes(stack.shape)
    finest = _Level(0, shapes, build, pool)
    slices = stack.shape[0]
    reporter.progress("pyramid", 0, slices, "slices")
    for start in range(0, slices, CHUNK):
        stop = min(start + CHUNK, slices)
        stack.read_into(finest.rows[: stop - start], start, pool)
        finest.filled(stop - start)
        reporter.progress("pyramid", stop, slices, "slices")
    finest.finish()
    # Those of the stack's own picture, so that the two look alike.
    middle = stack.read(slices // 2)
    limits = picture.contrast_limits(middle)
    # The metadata comes last: before it is there, no reader takes the directory for an image.
    documents = ome.documents(stack.directory.name, shapes, stack.pixel_size_um, finest.coarsest, limits)
    build.record([build.write(name, content) for name, content in documents])
    return {
        **stack.facts,
        "axes": ["z", "y", "x"],
        "shape": list(stack.shape),
        "dtype": "float32",
        "levels": len(shapes),
        "contrast_limits": list(limits),
        "thumbnail_png": picture.thumbnail(picture.grey(middle, limits)),
    }
