"""An OME-Zarr pyramid, streamed: layers of rows come from somewhere, and every level is written in one pass.

Belongs here: levels, their layers, what of them is made, read back, or left to others.
Does not: where rows come from (tomography.stack, tomography.tiffs), files and metadata (tomography.chunks, ome).

A layer is what a row of chunks holds. It is written when its rows are there: the finest level's come from the source,
those of every other are halves of the one or two layers below. So all levels are made in one pass, with one layer of
each in memory. What an earlier attempt or another part has written is read back where a coarser level needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tomography import ome, picture
from tomography.allocation import keep_freed_memory
from tomography.chunks import CHUNKINGS, Chunking
from tomography.errors import OutputError
from tomography.machine import Machine
from tomography.manifest import FileEntry, Input, Manifest
from tomography.memory import plan_pyramid
from tomography.ome import Shape
from tomography.parts import LAYER_ROWS, Format, Part, layers_of, rows_told
from tomography.product import Build, Request, make
from tomography.progress import Reporter
from tomography.tiffs import Stack

Voxels = npt.NDArray[Any]
Layers = Iterator[tuple[int, Voxels]]
"""Layers of the finest level, by number, in order. Their voxels stay as they are until the next one is taken."""


def pyramid_request(
    directory: Path, version: Format, source: Input, settings: dict[str, Any], rows: int, part: Part | None
) -> Request:
    """A pyramid that somebody wants, or a part of it. Raises OutputError where it cannot have this name."""
    if directory.suffix != ".zarr":
        raise OutputError(f"{directory.name!r}: the name of a pyramid ends in .zarr; viewers go by it.")
    chunking, own, all_layers = CHUNKINGS[version], layers_of(rows, part), layers_of(rows, None)

    def mine(name: str) -> bool:
        place = chunking.place(name)
        return part is None or (place is not None and _is_within(*place, own, all_layers))

    made_so = {**ome.SETTINGS[version], **settings}
    owned = chunking.owned
    return Request(directory, "zarr", source, made_so, lambda name: bool(owned.fullmatch(name)), part, mine)


def build_pyramid(
    stack: Stack,
    directory: Path,
    machine: Machine,
    reporter: Reporter,
    version: Format = Format.V04,
    part: Part | None = None,
) -> tuple[Manifest, bool]:
    """Write the pyramid of a stack; returns its manifest and whether anything had to be made.

    Raises OutputError, LimitError, and StackError where a slice is not what the stack's manifest says.
    """
    settings = {"pixel_size_um": stack.pixel_size_um, "reconstruction": stack.settings}
    request = pyramid_request(directory, version, stack.source, settings, stack.shape[0], part)
    plan = plan_pyramid(machine, level_shapes(stack.shape), version, np.dtype(stack.dtype).itemsize)
    keep_freed_memory(plan.bytes, machine.memory_bytes)
    with ThreadPoolExecutor(plan.threads) as pool:

        def work(build: Build) -> dict[str, Any]:
            pyramid = Pyramid(build, version, stack.shape, np.dtype(stack.dtype), pool)
            pyramid.write(_from_stack(stack, pyramid, pool, reporter))
            return pyramid.results(stack.facts, stack.pixel_size_um)

        return make(request, pool, work)


def _from_stack(stack: Stack, pyramid: Pyramid, pool: Executor, reporter: Reporter) -> Layers:
    missing = pyramid.missing
    done, total = 0, stack.shape[0]
    reporter.progress("pyramid", done, total, "slices")
    for layer in missing:
        start = layer * LAYER_ROWS
        rows = pyramid.room[: min(LAYER_ROWS, total - start)]
        stack.read_into(rows, start, pool)
        yield layer, rows
        done += len(rows)
        reporter.progress("pyramid", done, total, "slices")


def level_shapes(shape: Shape) -> list[Shape]:
    """The shapes of the levels, finest first: halved, rounded up, until the longest axis fits one layer's height."""
    shapes = [shape]
    while max(shapes[-1]) > LAYER_ROWS:
        z, y, x = ((size + 1) // 2 for size in shapes[-1])
        shapes.append((z, y, x))
    return shapes


def halve(rows: Voxels, halves: Voxels, pool: Executor) -> None:
    """Fill ``halves`` with the mean of each 2x2x2 voxels of ``rows`` [z, y, x]; at an odd end, of those that exist."""

    def plane(z: int) -> None:
        both = _sum(rows[2 * z], rows[min(2 * z + 1, len(rows) - 1)])
        lines = _pairs(both)
        mean = _pairs(lines.T).T * np.float32(0.125)
        halves[z] = mean if halves.dtype.kind == "f" else np.rint(mean)

    for _ in pool.map(plane, range(len(halves))):
        pass


def _sum(one: Voxels, other: Voxels) -> Voxels:
    return np.add(one, other, dtype=np.float32)


def _pairs(lines: Voxels) -> Voxels:
    """The sums of two lines each. A last one that is alone counts twice: that gives the mean of what exists."""
    even = len(lines) // 2 * 2
    if even == len(lines):
        summed: Voxels = lines[0::2] + lines[1::2]
        return summed
    return np.concatenate([lines[0:even:2] + lines[1:even:2], 2 * lines[even:]])


@dataclass
class Pyramid:
    """A pyramid while it is written, or the part of it that ``build`` asks for."""

    build: Build
    version: Format
    shape: Shape
    dtype: np.dtype[Any]
    pool: Executor
    shapes: list[Shape] = field(init=False)
    coarsest: Voxels | None = field(init=False, default=None)
    _middle: Voxels | None = field(init=False, default=None)
    _source: Callable[[int], Voxels] = field(init=False)

    def __post_init__(self) -> None:
        self.shapes = level_shapes(self.shape)

    @property
    def missing(self) -> list[int]:
        """The layers of the finest level that are not there yet and must come from the source."""
        own = layers_of(self.shape[0], self.build.request.part)
        return [layer for layer in own if self._absent(0, layer)]

    def write(self, layers: Layers) -> None:
        """Take the missing layers from ``layers``, which may have others; write all that can be made of them."""

        def take(layer: int) -> Voxels:
            for number, rows in layers:
                if number == layer:
                    return rows
            raise ValueError(f"layer {layer} was promised and did not come")

        self._source = take
        for level, layer in self._roots(len(self.shapes) - 1, 0):
            rows = self._layer(level, layer, wanted=level == len(self.shapes) - 1)
            if level == len(self.shapes) - 1:
                self.coarsest = rows

    @cached_property
    def room(self) -> Voxels:
        """Where a layer of the finest level is put, by the source or from its files: there is one at a time."""
        return self._empty(0, 0)

    @property
    def middle(self) -> Voxels:
        """The slice in the middle, [y, x]: it gives the picture."""
        if self._middle is None:
            self._middle = self._read_slice(self.shape[0] // 2)
        return self._middle

    def results(self, facts: dict[str, Any], pixel_size_um: float | None) -> dict[str, Any]:
        """What the manifest says; before, of a whole pyramid, the metadata is written.

        The metadata comes last: before it is there, no reader takes the directory for an image.
        """
        said = {
            **facts,
            "axes": ["z", "y", "x"],
            "shape": list(self.shape),
            "dtype": str(self.dtype),
            "levels": len(self.shapes),
        }
        if self.build.request.part is not None or self.coarsest is None:
            return said
        limits = picture.contrast_limits(self.middle)
        name = self.build.request.directory.stem
        rows = rows_told(facts, self.shape[0])
        documents = ome.documents(self.version, name, self.shapes, pixel_size_um, rows, self.coarsest, limits)
        self.build.record([self.build.write(path, content) for path, content in documents])
        return {
            **said,
            "contrast_limits": list(limits),
            "thumbnail_png": picture.thumbnail(picture.grey(self.middle, limits)),
        }

    @property
    def _chunking(self) -> Chunking:
        return CHUNKINGS[self.version]

    def _roots(self, level: int, layer: int) -> Iterator[tuple[int, int]]:
        """The coarsest layers that are wholly this part's; every finer one of it lies below them."""
        own, everything = layers_of(self.shape[0], self.build.request.part), layers_of(self.shape[0], None)
        if _is_within(level, layer, own, everything):
            yield level, layer
        elif level > 0:
            for below in self._below(level, layer):
                yield from self._roots(level - 1, below)

    def _below(self, level: int, layer: int) -> range:
        """The layers of the next finer level that a layer is made of."""
        count = -(-self.shapes[level - 1][0] // LAYER_ROWS)
        return range(2 * layer, min(2 * layer + 2, count))

    def _layer(self, level: int, layer: int, *, wanted: bool) -> Voxels | None:
        """See to it that a layer and all below it are there; its rows, if they are wanted or had to be made."""
        absent = self._absent(level, layer)
        rows: Voxels | None = None
        if level == 0:
            rows = self._source(layer) if absent else None
        else:
            if absent:
                rows = self._empty(level, layer)
            filled = 0
            for below in self._below(level, layer):
                finer = self._layer(level - 1, below, wanted=absent)
                if absent and rows is not None and finer is not None:
                    height = (len(finer) + 1) // 2
                    halve(finer, rows[filled : filled + height], self.pool)
                    filled += height
                del finer  # while the next one is made
        if rows is not None:
            self._write_layer(level, layer, rows)
        elif wanted:
            rows = self._read_back(level, layer)
        if level == 0 and rows is not None:
            self._keep_middle(layer, rows)
        return rows

    def _empty(self, level: int, layer: int) -> Voxels:
        return np.empty((self._height(level, layer), *self.shapes[level][1:]), self.dtype)

    def _height(self, level: int, layer: int) -> int:
        return min(LAYER_ROWS, self.shapes[level][0] - layer * LAYER_ROWS)

    def _keep_middle(self, layer: int, rows: Voxels) -> None:
        row = self.shape[0] // 2
        if layer == row // LAYER_ROWS:
            self._middle = rows[row - layer * LAYER_ROWS].copy()

    def _files(self, level: int, layer: int) -> dict[str, tuple[int, int]]:
        _, height, width = self.shapes[level]
        chunking = self._chunking
        return {chunking.file(level, layer, y, x): (y, x) for y, x in chunking.corners(height, width)}

    def _absent(self, level: int, layer: int) -> bool:
        return any(name not in self.build.kept for name in self._files(level, layer))

    def _write_layer(self, level: int, layer: int, rows: Voxels) -> None:
        def write(file: tuple[str, tuple[int, int]]) -> FileEntry:
            name, (y, x) = file
            width = self._chunking.width
            return self.build.write(name, self._chunking.encode(rows[:, y : y + width, x : x + width]))

        files = {name: at for name, at in self._files(level, layer).items() if name not in self.build.kept}
        self.build.record(self.pool.map(write, files.items()))

    def _read_back(self, level: int, layer: int) -> Voxels:
        rows = self._empty(level, layer) if level > 0 else self.room[: self._height(level, layer)]

        def read(file: tuple[str, tuple[int, int]]) -> None:
            name, (y, x) = file
            width = self._chunking.width
            content = (self.build.request.directory / name).read_bytes()
            self._chunking.decode(content, rows[:, y : y + width, x : x + width])

        for _ in self.pool.map(read, self._files(level, layer).items()):
            pass
        return rows

    def _read_slice(self, row: int) -> Voxels:
        image = np.empty(self.shape[1:], self.dtype)
        layer, width = row // LAYER_ROWS, self._chunking.width
        for name, (y, x) in self._files(0, layer).items():
            part = image[y : y + width, x : x + width]
            voxels = np.empty((self._height(0, layer), *part.shape), self.dtype)
            self._chunking.decode((self.build.request.directory / name).read_bytes(), voxels)
            part[:] = voxels[row - layer * LAYER_ROWS]
        return image


def _is_within(level: int, layer: int, own: range, everything: range) -> bool:
    """Whether all that a layer is made of is this part's."""
    first, last = layer << level, min((layer + 1) << level, everything.stop)
    return own.start <= first and last <= own.stop and len(own) > 0
