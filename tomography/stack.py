"""What becomes of a scan: a stack of TIFF files, a pyramid, or both from one pass.

Belongs here: the two products of a reconstruction, what their manifests say of it.
Does not: the order of work over a scan (tomography.slabs), how a slice is computed, how a pyramid is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tomography import picture
from tomography.allocation import keep_freed_memory
from tomography.arithmetic import arithmetic_of
from tomography.center import Center
from tomography.errors import OutputError
from tomography.fourier import missing_wedge_deg
from tomography.machine import Machine
from tomography.manifest import FileEntry, Input, Manifest
from tomography.memory import Plan, plan_reconstruction
from tomography.normalise import lit
from tomography.numbers import Coding
from tomography.ome import Shape
from tomography.parts import LAYER_ROWS, Format, Part, layers_of, rows_told, told_of
from tomography.product import Build, Request, make_together
from tomography.progress import Reporter
from tomography.pyramid import Layers, Pyramid, level_shapes, pyramid_request
from tomography.scan import Scan
from tomography.settings import Settings
from tomography.slabs import SliceMaker, make_slabs, slab_of
from tomography.tiffs import encode_tiff, read_tiff, tiff_name

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Outputs:
    """What is wanted of a scan: a folder of TIFF files, a pyramid, or both; or one part of them."""

    tiff: Path | None = None
    pyramid: Path | None = None
    version: Format = Format.V04
    part: Part | None = None


def reconstruct(
    scan: Scan, source: Input, outputs: Outputs, settings: Settings, machine: Machine, reporter: Reporter
) -> list[tuple[Path, Manifest, bool]]:
    """Reconstruct the rows of a scan; returns each product with its manifest, and whether anything had to be made.

    Raises OutputError, CenterError, ScanError, SettingsError.
    """
    said = settings.model_dump(mode="json")
    rows = settings.some_of("rows", scan.rows)
    arithmetic = arithmetic_of(settings)
    for flag in arithmetic.flags:
        reporter.note(flag)
    requests = []
    if outputs.tiff is not None:
        requests.append(tiff_request(outputs.tiff, source, said, rows, outputs.part))
    if outputs.pyramid is not None:
        of_pyramid = {"pixel_size_um": scan.pixel_size_um, "reconstruction": said}
        requests.append(pyramid_request(outputs.pyramid, outputs.version, source, of_pyramid, len(rows), outputs.part))
    requests = [replace(request, device=arithmetic.device) for request in requests]
    if not requests or outputs.tiff == outputs.pyramid:
        raise OutputError("say where the slices go: a folder for TIFF files, --pyramid OUT.zarr, or both.")

    with ThreadPoolExecutor(machine.threads) as pool:

        def work(builds: Sequence[Build | None]) -> list[dict[str, Any]]:
            by_kind = {request.artifact: build for request, build in zip(requests, builds, strict=True)}
            slices = SliceMaker.of(scan, settings)
            shape = (len(rows), slices.geometry.columns, slices.geometry.columns)
            coding = _coding(slices, settings, pool)
            shapes = [] if by_kind.get("zarr") is None else level_shapes(shape)
            itemsize = coding.dtype.itemsize
            plan = plan_reconstruction(machine, slices.prepared, slices.geometry, shapes, outputs.version, itemsize)
            keep_freed_memory(plan.bytes, machine.memory_bytes)
            with ThreadPoolExecutor(plan.threads) as workers:
                run = _Run(scan, slices, coding, shape, outputs, workers, plan, reporter)
                return run.make(by_kind.get("tiff"), by_kind.get("zarr"))

        made = make_together(requests, pool, work)
    return [(request.directory, *one) for request, one in zip(requests, made, strict=True)]


def tiff_request(directory: Path, source: Input, said: dict[str, Any], rows: range, part: Part | None) -> Request:
    """A stack of TIFF files that somebody wants, or a part of it."""
    own = re.compile(re.escape(directory.name) + r"_(\d{5,})\.tiff")
    layers = layers_of(len(rows), part)

    def mine(name: str) -> bool:
        match = own.fullmatch(name)
        row = -1 if match is None else int(match[1])
        return part is None or (row in rows and rows.index(row) // LAYER_ROWS in layers)

    return Request(directory, "tiff", source, said, lambda name: bool(own.fullmatch(name)), part, mine)


@dataclass(frozen=True)
class _Run:
    """One pass over a scan. A product whose build is None is intact, or not wanted."""

    scan: Scan
    slices: SliceMaker
    coding: Coding
    shape: Shape
    outputs: Outputs
    pool: ThreadPoolExecutor
    plan: Plan
    reporter: Reporter

    def make(self, tiff: Build | None, zarr: Build | None) -> list[dict[str, Any]]:
        """Make what is missing; the results of each build."""
        said = {
            **facts(self.scan, self.slices.center, flags_of(self.scan, self.slices)),
            "detector_rows": told_of(self.slices.prepared.rows),
            **self.coding.said,
            "device": self.slices.arithmetic.device.value,
        }
        pixel = self.scan.pixel_size_um
        shape, dtype = self.shape, self.coding.dtype
        pyramid = None if zarr is None else Pyramid(zarr, self.outputs.version, shape, dtype, self.pool)
        layers = self._layers(tiff, pyramid)
        if pyramid is not None:
            pyramid.write(layers)
        for _ in layers:
            pass  # those that only the stack lacks
        results = []
        if tiff is not None:
            results.append(tiff_results(tiff, said, shape, dtype))
        if pyramid is not None:
            results.append(pyramid.results(said, pixel))
        return results

    def _layers(self, tiff: Build | None, pyramid: Pyramid | None) -> Layers:
        """The layers that a product lacks, in order. Where the files of the stack are intact, they are read."""
        rows = self.slices.prepared.rows
        slabs = {layer: slab_of(layer, len(rows)) for layer in layers_of(len(rows), self.outputs.part)}
        unread = {} if tiff is None else {layer: slab for layer, slab in slabs.items() if _lacks(tiff, rows, slab)}
        needed = [] if pyramid is None else pyramid.missing
        if self.outputs.tiff is None:
            unread = {layer: slabs[layer] for layer in needed}
        room = np.empty((0, 0, 0), self.coding.dtype) if pyramid is None else pyramid.room
        entries: list[FileEntry] = []
        done = sum(stop - start for layer, (start, stop) in slabs.items() if layer not in unread)
        total = sum(stop - start for start, stop in slabs.values())
        self.reporter.progress("reconstruct", done, total, "slices")

        def take(row: int, image: Floats) -> None:
            stored = self.coding.encode(image)
            if pyramid is not None:
                room[row % LAYER_ROWS] = stored
            if tiff is not None:
                name = tiff_name(tiff.request.directory.name, rows[row])
                entries.append(tiff.write(name, encode_tiff(stored, self.scan.pixel_size_um)))

        def told(slices: int) -> None:
            nonlocal done
            done += slices
            self.reporter.progress("reconstruct", done, total, "slices")

        made = make_slabs(self.slices, list(unread.values()), self.plan.read_bytes, self.pool, take, told)
        for layer in sorted(unread.keys() | set(needed)):
            start, stop = slabs[layer]
            if layer in unread:
                next(made)
                if tiff is not None:
                    tiff.record(sorted(entries, key=lambda entry: entry.path))
                    entries.clear()
            else:
                self._read_stack(room, start, stop)
            yield layer, room[: stop - start]

    def _read_stack(self, room: npt.NDArray[Any], start: int, stop: int) -> None:
        directory = self.outputs.tiff
        assert directory is not None  # noqa: S101 its files are intact

        def read(row: int) -> None:
            name = tiff_name(directory.name, self.slices.prepared.rows[row])
            room[row - start] = read_tiff(directory / name)

        for _ in self.pool.map(read, range(start, stop)):
            pass


def _lacks(tiff: Build, rows: range, slab: tuple[int, int]) -> bool:
    return any(tiff_name(tiff.request.directory.name, row) not in tiff.kept for row in rows[slice(*slab)])


def _coding(slices: SliceMaker, settings: Settings, pool: Executor) -> Coding:
    prepared = slices.prepared

    def slices_of(rows: Iterable[int]) -> Iterator[Floats]:
        for row in rows:
            yield slices(prepared.read(row, row + 1, pool))[0]

    return Coding.of(settings, len(prepared.rows), slices_of)


def tiff_results(build: Build, said: dict[str, Any], shape: Shape, dtype: np.dtype[Any]) -> dict[str, Any]:
    """What the manifest of a stack says; of a part, without the picture, which is another's."""
    results = {**said, "axes": ["z", "y", "x"], "shape": list(shape), "dtype": str(dtype)}
    if build.request.part is not None:
        return results
    directory = build.request.directory
    middle = read_tiff(directory / tiff_name(directory.name, rows_told(said, shape[0])[shape[0] // 2]))
    limits = picture.contrast_limits(middle)
    return {
        **results,
        "contrast_limits": list(limits),
        "thumbnail_png": picture.thumbnail(picture.grey(middle, limits)),
    }


def flags_of(scan: Scan, slices: SliceMaker) -> list[str]:
    """What a person should know before trusting the slices, in plain words."""
    flags = [*scan.flags, *slices.center.flags, *slices.arithmetic.flags]
    turn_deg = 360 if slices.prepared.settings.stitch_360 else 180
    if wedge := missing_wedge_deg(slices.prepared.theta_deg, turn_deg):
        flags.append(f"no projections over {wedge:.1f} degrees")
    fields = (scan.white.mean(0, scan.rows), scan.dark.mean(0, scan.rows))
    if dead := int(np.count_nonzero(~lit(*fields))):
        flags.append(f"{dead} detector pixels see no light in the flat fields")
    return flags


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
