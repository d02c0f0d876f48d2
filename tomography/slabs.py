"""The slices of a scan, slab by slab: what is read together, which rows share a transform, how threads share the work.

Belongs here: the order of work over a scan.
Does not: how a slice is computed, or what becomes of it (tomography.stack).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tomography.center import Center, center_of
from tomography.fourier import Geometry, Reconstructor, geometry
from tomography.normalise import absorption
from tomography.parts import LAYER_ROWS
from tomography.polar import PolarRings
from tomography.prepared import Prepared
from tomography.rings import correct_rings
from tomography.scan import RawRows, Scan
from tomography.settings import Settings

Floats = npt.NDArray[np.float32]
Slab = tuple[int, int]


@dataclass(frozen=True)
class SliceMaker:
    """From counts to slices, for one scan and its settings. Called from any number of threads."""

    prepared: Prepared
    center: Center
    geometry: Geometry
    polar: PolarRings
    local: threading.local

    @classmethod
    def of(cls, scan: Scan, settings: Settings) -> SliceMaker:
        """Find the centre and prepare what all slices share."""
        return cls.about(scan, settings, center_of(scan, settings))

    @classmethod
    def about(cls, scan: Scan, settings: Settings, center: Center) -> SliceMaker:
        """Prepare what all slices about a centre share."""
        prepared = Prepared.of(scan, settings)
        shared = geometry(
            prepared.theta_deg, scan.columns, center.center_px, settings, scan.pixel_size_um, prepared.moved_px
        )
        polar = PolarRings(shared.columns, settings.rings_polar_px, settings.rings_polar_arc_deg)
        return cls(prepared, center, shared, polar, threading.local())

    def __call__(self, raw: RawRows) -> Floats:
        """The slices [1 or 2, n, n] of one or two prepared detector rows."""
        if not hasattr(self.local, "reconstructor"):
            self.local.reconstructor = Reconstructor(self.geometry)
        settings = self.prepared.settings
        slices: Floats = self.local.reconstructor(correct_rings(absorption(raw, settings), settings))
        return self.polar(slices)


def slab_of(layer: int, rows: int) -> Slab:
    """The rows of a layer, in a scan of so many."""
    return layer * LAYER_ROWS, min((layer + 1) * LAYER_ROWS, rows)


def make_slabs(
    slices: SliceMaker,
    slabs: Sequence[Slab],
    most_bytes: int,
    pool: ThreadPoolExecutor,
    take: Callable[[int, Floats], None],
    told: Callable[[int], None],
) -> Iterator[Slab]:
    """Make the slices of each slab in turn, and yield the slab when all are made.

    ``take`` gets each slice with its row, in any order and on the pool's threads; ``told``, how many more are done.
    Each read is at most ``most_bytes`` where that is possible at all.
    """

    def pair(raw: RawRows, start: int, row: int) -> int:
        made = slices(raw.part(slice(row - start, row - start + 2)))
        for i, image in enumerate(made):
            take(row + i, image)
        return len(made)

    ends = {stop: (start, stop) for start, stop in slabs}
    groups = reads(slices.prepared, slabs, most_bytes)
    for start, stop, raw in _read_ahead(slices.prepared, groups, pool):
        for job in as_completed([pool.submit(pair, raw, start, row) for row in range(start, stop, 2)]):
            told(job.result())
        if stop in ends:
            yield ends[stop]


def reads(prepared: Prepared, slabs: Sequence[Slab], most_bytes: int) -> list[list[Slab]]:
    """Which rows are read together, each read at most ``most_bytes`` where that is possible at all.

    A slab is one read, or several where it is too large. As many slabs are read together as fit where frames are
    compressed whole: there, every read decompresses the scan from its first byte to its last. Slices are made of pairs
    of rows, and a slab begins with an even one: how many are read at once changes no slice.
    """
    scan = prepared.scan
    height = LAYER_ROWS if prepared.needs_whole_layers else max(2, prepared.rows_within(most_bytes) // 2 * 2)
    share = scan.is_decompressed_for(LAYER_ROWS)
    together: list[list[Slab]] = []
    for first, last in slabs:
        for start in range(first, last, height):
            stop = min(start + height, last)
            if share and together and stop - together[-1][0][0] <= height:
                together[-1].append((start, stop))
            else:
                together.append([(start, stop)])
    return together


def _read_ahead(
    prepared: Prepared, groups: Sequence[list[Slab]], pool: ThreadPoolExecutor
) -> Iterator[tuple[int, int, RawRows]]:
    """The rows of each slab, the next group being read while this one is worked on: two in memory."""

    def read(group: list[Slab]) -> RawRows:
        return prepared.read(group[0][0], group[-1][1], pool)

    with ThreadPoolExecutor(1) as reader:
        coming = [reader.submit(read, group) for group in groups[:1]]
        for i, group in enumerate(groups):
            raw = coming.pop().result()
            coming = [reader.submit(read, after) for after in groups[i + 1 : i + 2]]
            first = group[0][0]
            for start, stop in group:
                yield start, stop, raw.part(slice(start - first, stop - first))
            del raw
