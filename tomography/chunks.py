"""The files that hold a pyramid's voxels: which there are, how voxels lie in them.

Belongs here: chunks, shards, their names and their encoding, for both versions of the format.
Does not: metadata (tomography.ome), or which voxels there are (tomography.pyramid).
"""

from __future__ import annotations

import itertools
import re
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numcodecs
import numcodecs.blosc
import numpy as np
import numpy.typing as npt

from tomography.parts import LAYER_ROWS, Format

Voxels = npt.NDArray[Any]

# Chunks are compressed by our threads; blosc's own would also make the bytes depend on their number.
numcodecs.blosc.use_threads = False

COMPRESSOR = numcodecs.Blosc("zstd", 1, numcodecs.Blosc.SHUFFLE)
_ABSENT = 2**64 - 1
_scratch = threading.local()


@dataclass(frozen=True)
class Chunking:
    """How the voxels of one format lie in files. A file is a layer high and ``width`` voxels deep and wide; ``chunk``
    is the edge of the cubes in it that are compressed one by one: in version 0.4 one a file.
    """

    format: Format
    width: int
    chunk: int

    @property
    def owned(self) -> re.Pattern[str]:
        """The files that such a pyramid consists of."""
        return _OWNED[self.format]

    def file(self, level: int, layer: int, y: int, x: int) -> str:
        """The path of the file whose first voxel is at ``y`` and ``x``."""
        inner = "" if self.format is Format.V04 else "c/"
        return f"{level}/{inner}{layer}/{y // self.width}/{x // self.width}"

    def place(self, path: str) -> tuple[int, int] | None:
        """The level and the layer that a file holds; None for metadata."""
        words = path.replace("/c/", "/").split("/")
        return (int(words[0]), int(words[1])) if len(words) == 4 else None

    def corners(self, height: int, width: int) -> list[tuple[int, int]]:
        """Where the files of a layer begin, (y, x)."""
        return list(itertools.product(range(0, height, self.width), range(0, width, self.width)))

    def encode(self, voxels: Voxels) -> bytes:
        """The content of a file: of voxels [z, y, x], fewer than it can hold where the array ends."""
        if self.format is Format.V04:
            return bytes(COMPRESSOR.encode(_full(voxels, self.chunk)))
        return _shard(voxels, self.width, self.chunk)

    def decode(self, content: bytes, voxels: Voxels) -> None:
        """Fill ``voxels`` [z, y, x] with what a file holds."""
        if self.format is Format.V04:
            _put(voxels, content, self.chunk)
            return
        for (z, y, x), part in _parts(content, self.width, self.chunk):
            inside = voxels[z : z + self.chunk, y : y + self.chunk, x : x + self.chunk]
            if inside.size:
                _put(inside, part, self.chunk)


CHUNKINGS = {Format.V04: Chunking(Format.V04, 128, 128), Format.V05: Chunking(Format.V05, 512, 64)}
_OWNED = {
    Format.V04: re.compile(r"\.zgroup|\.zattrs|\d+/\.zarray|\d+/\.zattrs|\d+/\d+/\d+/\d+"),
    Format.V05: re.compile(r"zarr\.json|\d+/zarr\.json|\d+/c/\d+/\d+/\d+"),
}


def _full(voxels: Voxels, edge: int) -> Voxels:
    """Voxels as a whole chunk: zero beyond the end of the array. Overwritten by the thread's next call."""
    full: Voxels | None = getattr(_scratch, "chunk", None)
    if full is None or full.dtype != voxels.dtype or len(full) != edge:
        # Fresh memory for each chunk would cost as much as compressing it.
        full = _scratch.chunk = np.empty((edge, edge, edge), voxels.dtype)
    if voxels.shape != full.shape:
        full[:] = 0
    full[tuple(slice(size) for size in voxels.shape)] = voxels
    return full


def _put(voxels: Voxels, content: bytes, edge: int) -> None:
    decoded = np.frombuffer(COMPRESSOR.decode(content), voxels.dtype).reshape(edge, edge, edge)
    voxels[:] = decoded[tuple(slice(size) for size in voxels.shape)]


def _grid(width: int, chunk: int) -> list[tuple[int, int, int]]:
    """Where the chunks of a shard begin, in the order of its index."""
    return list(itertools.product(range(0, LAYER_ROWS, chunk), range(0, width, chunk), range(0, width, chunk)))


def _shard(voxels: Voxels, width: int, chunk: int) -> bytes:
    """Chunks one after the other, then where each lies, and the checksum of that (Zarr v3, sharding-indexed)."""
    parts: list[bytes] = []
    index: list[int] = []
    offset = 0
    for z, y, x in _grid(width, chunk):
        inside = voxels[z : z + chunk, y : y + chunk, x : x + chunk]
        if inside.size == 0:
            index += [_ABSENT, _ABSENT]
            continue
        parts.append(bytes(COMPRESSOR.encode(_full(inside, chunk))))
        index += [offset, len(parts[-1])]
        offset += len(parts[-1])
    places = struct.pack(f"<{len(index)}Q", *index)
    return b"".join([*parts, places, struct.pack("<I", google_crc32c.value(places))])


def _parts(content: bytes, width: int, chunk: int) -> Iterator[tuple[tuple[int, int, int], bytes]]:
    grid = _grid(width, chunk)
    begin = len(content) - 16 * len(grid) - 4
    index: Sequence[int] = struct.unpack_from(f"<{2 * len(grid)}Q", content, begin)
    for corner, offset, size in zip(grid, index[0::2], index[1::2], strict=True):
        if offset != _ABSENT:
            yield corner, content[offset : offset + size]
