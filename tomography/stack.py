"""A scan as a stack of TIFF files: one float32 slice a file, one file a detector row.

Belongs here: the order of work over a scan (slabs, pairs, threads), the TIFF files, what the manifest says of them.
Does not: how a slice is computed (tomography.fourier and what it needs).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from tomography import picture
from tomography.center import Center, center_of
from tomography.fourier import Geometry, Reconstructor, geometry, missing_wedge_deg
from tomography.machine import Machine
from tomography.manifest import FileEntry, Input, Manifest
from tomography.normalise import absorption, lit
from tomography.prepared import Prepared
from tomography.product import Build, Request, make
from tomography.progress import Reporter
from tomography.rings import correct_rings
from tomography.scan import RawRows, Scan
from tomography.settings import Settings
from tomography.tiffs import encode_tiff, tiff_name

Floats = npt.NDArray[np.float32]
Slab = tuple[int, int]

SLAB_ROWS = 128  # everywhere, whatever the machine: what is resumed and which rows share a transform must not vary
MEMORY_SHARE = 4  # one read may fill this part of the free memory, and two are held


def reconstruct(
    scan: Scan, source: Input, directory: Path, settings: Settings, machine: Machine, reporter: Reporter
) -> tuple[Manifest, bool]:
    """Reconstruct every row of a scan into ``directory``; returns the manifest and whether anything had to be made.

    Raises OutputError, CenterError, ScanError.
    """
    stem = directory.name
    own = re.compile(re.escape(stem) + r"_\d{5,}\.tiff")
    request = Request(
        directory, "tiff", source, settings.model_dump(mode="json"), lambda name: bool(own.fullmatch(name))
    )

    with ThreadPoolExecutor(machine.threads) as pool:

        def work(build: Build) -> dict[str, Any]:
            slices = SliceMaker.of(scan, settings)
            _write_slices(scan, slices, build, pool, machine, reporter)
            return _results(scan, slices, directory)

        return make(request, pool, work)


@dataclass(frozen=True)
class SliceMaker:
    """From counts to slices, for one scan and its settings. Called from any number of threads."""

    prepared: Prepared
    center: Center
    geometry: Geometry
    local: threading.local

    @classmethod
    def of(cls, scan: Scan, settings: Settings) -> SliceMaker:
        """Find the centre and prepare what all slices share."""
        return cls.about(scan, settings, center_of(scan, settings))

    @classmethod
    def about(cls, scan: Scan, settings: Settings, center: Center) -> SliceMaker:
        """Prepare what all slices about a centre share."""
        prepared = Prepared.of(scan, settings)
        shared = geometry(prepared.theta_deg, scan.columns, center.center_px, settings, scan.pixel_size_um)
        return cls(prepared, center, shared, threading.local())

    def __call__(self, raw: RawRows) -> Floats:
        """The slices [1 or 2, n, n] of one or two prepared detector rows."""
        if not hasattr(self.local, "reconstructor"):
            self.local.reconstructor = Reconstructor(self.geometry)
        settings = self.prepared.settings
        slices: Floats = self.local.reconstructor(correct_rings(absorption(raw, settings), settings))
        return slices


def flags_of(scan: Scan, slices: SliceMaker) -> list[str]:
    """What a person should know before trusting the slices, in plain words."""
    flags = [*scan.flags, *slices.center.flags]
    turn_deg = 360 if slices.prepared.settings.stitch_360 else 180
    if wedge := missing_wedge_deg(slices.prepared.theta_deg, turn_deg):
        flags.append(f"no projections over {wedge:.1f} degrees")
    fields = (scan.white.mean(0, scan.rows), scan.dark.mean(0, scan.rows))
    if dead := int(np.count_nonzero(~lit(*fields))):
        flags.append(f"{dead} detector pixels see no light in the flat fields")
    return flags


def _write_slices(
    scan: Scan, slices: SliceMaker, build: Build, pool: ThreadPoolExecutor, machine: Machine, reporter: Reporter
) -> None:
    stem = build.request.directory.name
    slabs = [
        (start, min(start + SLAB_ROWS, scan.rows))
        for start in range(0, scan.rows, SLAB_ROWS)
        if any(tiff_name(stem, row) not in build.kept for row in range(start, min(start + SLAB_ROWS, scan.rows)))
    ]

    def pair(raw: RawRows, start: int, row: int) -> list[FileEntry]:
        some = slice(row - start, row - start + 2)
        images = slices(raw.part(some))
        return [
            build.write(tiff_name(stem, row + i), encode_tiff(image, scan.pixel_size_um))
            for i, image in enumerate(images)
        ]

    done = scan.rows - sum(stop - start for start, stop in slabs)
    reporter.progress("reconstruct", done, scan.rows, "slices")
    groups = reads(slices.prepared, slabs, machine.memory_bytes // MEMORY_SHARE)
    for start, stop, raw in _read_ahead(slices.prepared, groups, pool):
        jobs = [pool.submit(pair, raw, start, row) for row in range(start, stop, 2)]
        for job in as_completed(jobs):
            done += len(job.result())
            reporter.progress("reconstruct", done, scan.rows, "slices")
        build.record(entry for job in jobs for entry in job.result())


def reads(prepared: Prepared, slabs: Sequence[Slab], most_bytes: int) -> list[list[Slab]]:
    """Which rows are read together, each read at most ``most_bytes`` where that is possible at all.

    A slab is one read, or several where it is too large. As many slabs are read together as fit where frames are
    compressed whole: there, every read decompresses the scan from its first byte to its last. Slices are made of pairs
    of rows, and a slab begins with an even one: how many are read at once changes no slice.
    """
    scan = prepared.scan
    height = max(2, prepared.rows_within(most_bytes) // 2 * 2)
    share = scan.is_decompressed_for(SLAB_ROWS)
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


def _results(scan: Scan, slices: SliceMaker, directory: Path) -> dict[str, Any]:
    middle = tifffile.imread(directory / tiff_name(directory.name, scan.rows // 2))
    limits = picture.contrast_limits(middle)
    return {
        **facts(scan, slices.center, flags_of(scan, slices)),
        "axes": ["z", "y", "x"],
        "shape": [scan.rows, slices.geometry.columns, slices.geometry.columns],
        "dtype": "float32",
        "contrast_limits": list(limits),
        "thumbnail_png": picture.thumbnail(picture.grey(middle, limits)),
    }


def facts(scan: Scan, center: Center, flags: Sequence[str]) -> dict[str, Any]:
    """What every product of a scan says about how its values came about."""
    return {
        "center_px": center.center_px,
        "center_found_by": center.found_by,
        "center_spread_px": center.spread_px,
        "unit": scan.unit,
        "pixel_size_um": scan.pixel_size_um,
        "angles": scan.angles,
        "flags": list(flags),
    }
