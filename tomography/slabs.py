"""The slices of a scan, slab by slab: what is read together, which rows share a transform, how threads share the work.

Belongs here: the order of work over a scan.
Does not: how a slice is computed, or what becomes of it (tomography.stack).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tomography.arithmetic import Arithmetic, arithmetic_of
from tomography.center import Center, center_of
from tomography.fourier import Geometry, geometry, reconstructing
from tomography.normalise import absorption
from tomography.parts import LAYER_ROWS
from tomography.polar import PolarRings
from tomography.prepared import Prepared
from tomography.rings import correct_rings
from tomography.scan import RawRows, Scan
from tomography.settings import Settings

Floats = npt.NDArray[np.float32]
Slab = tuple[int, int]

FIRST_ROWS = 16


@dataclass(frozen=True)
class SliceMaker:
    """From counts to slices, for one scan and its settings. Called from any number of threads."""

    prepared: Prepared
    center: Center
    geometry: Geometry
    arithmetic: Arithmetic
    reconstruct: Callable[[Floats], Floats]
    polar: PolarRings

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
        arithmetic = arithmetic_of(settings)
        return cls(prepared, center, shared, arithmetic, reconstructing(shared, arithmetic), polar)

    def __call__(self, raw: RawRows) -> Floats:
        """The slices [1 or 2, n, n] of one or two prepared detector rows."""
        settings = self.prepared.settings
        return self.polar(self.reconstruct(correct_rings(absorption(raw, settings), settings)))


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
    Each read is at most ``most_bytes`` where that is possible at all. Two are in memory: the next one is read, and its
    slices wait in the pool, while this one's are made; so no thread waits for another's last slice but at a slab's end.
    """

    def pair(raw: RawRows, start: int, row: int) -> int:
        made = slices(raw.part(slice(row - start, row - start + 2)))
        for i, image in enumerate(made):
            take(row + i, image)
        return len(made)

    def finish(jobs: Sequence[Future[int]]) -> None:
        for job in as_completed(jobs):
            told(job.result())

    ends = {stop: (start, stop) for start, stop in slabs}
    parts = reads(slices.prepared, slabs, most_bytes)
    before: list[Future[int]] = []
    with ThreadPoolExecutor(1) as reader:
        coming = [reader.submit(slices.prepared.read, *part, pool) for part in parts[:1]]
        for i, (start, stop) in enumerate(parts):
            raw = coming.pop().result()
            jobs = [pool.submit(pair, raw, start, row) for row in range(start, stop, 2)]
            del raw
            finish(before)
            coming = [reader.submit(slices.prepared.read, *part, pool) for part in parts[i + 1 : i + 2]]
            before = jobs
            if stop in ends:
                finish(before)
                before = []
                yield ends[stop]


def reads(prepared: Prepared, slabs: Sequence[Slab], most_bytes: int) -> list[Slab]:
    """Which rows are read together, each read at most ``most_bytes`` where that is possible at all.

    A slab is one read, or several where it is too large; of the first slab a few rows come first, so that there is
    something to do. Slices are made of pairs of rows, and a slab begins with an even one: how many are read at once
    changes no slice.
    """
    height = LAYER_ROWS if prepared.needs_whole_layers else max(2, prepared.rows_within(most_bytes) // 2 * 2)
    # Where a read costs more than its rows, by margins or by what is decompressed with them, few are not read alone.
    rows = FIRST_ROWS if prepared.takes_single_rows and prepared.scan.projections.chunk is None else height
    found = []
    for start, last in slabs:
        while start < last:
            stop = min(start + min(rows, height), last)
            found.append((start, stop))
            start, rows = stop, 2 * rows
    return found
