"""Projections as TIFF files: as they were counted, with flat and dark fields, or normalised.

Belongs here: which frames become files, and their names.
Does not: how a frame is normalised (tomography.prepared and what it needs).

As the old program wrote them: ``NAME_00012.tiff`` is projection 12, ``NAMEbak_00003.tiff`` flat field 3 and
``NAMEdrk_00001.tiff`` dark field 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tomography import picture
from tomography.errors import SettingsError
from tomography.manifest import FileEntry, Input, Manifest
from tomography.normalise import interpolate_columns, lit, transmission
from tomography.prepared import Prepared
from tomography.product import Build, Request, make
from tomography.progress import Reporter
from tomography.scan import Scan
from tomography.settings import Settings
from tomography.tiffs import encode_tiff, tiff_name

Frame = npt.NDArray[Any]

AT_ONCE = 8
"""So many projections are in memory together."""


class Content(StrEnum):
    """What a file holds: the part of the light that came through, or the detector's counts."""

    NORMALISED = "normalised"
    RAW = "raw"


def write_projections(
    scan: Scan,
    source: Input,
    directory: Path,
    settings: Settings,
    content: Content,
    threads: int,
    reporter: Reporter,
) -> tuple[Manifest, bool]:
    """Write the projections that the settings choose; returns the manifest and whether anything had to be made.

    Raises OutputError, ScanError, SettingsError.
    """
    if settings.zinger_1d:
        raise SettingsError("--zinger-1d compares sinograms' columns: projections are written one by one, without it.")
    prepared = Prepared.of(scan, settings)
    own = re.compile(re.escape(directory.name) + r"(bak|drk)?_\d{5,}\.tiff")
    said = {"content": str(content), **settings.model_dump(mode="json")}
    request = Request(directory, "projections", source, said, lambda name: bool(own.fullmatch(name)))

    with ThreadPoolExecutor(threads) as pool:

        def work(build: Build) -> dict[str, Any]:
            stem = directory.name
            if content is Content.RAW:
                for what, fields in (("bak", scan.white), ("drk", scan.dark)):
                    for number in range(len(fields)):
                        frame = fields.frame(number)[_slice(prepared.rows)]
                        build.record([_write(build, tiff_name(f"{stem}{what}", number), frame, scan)])
            total = prepared.kept.size
            done = total - sum(len(numbers) for numbers in _together(prepared, build))
            reporter.progress("projections", done, total, "projections")
            for numbers in _together(prepared, build):
                frames = _read(prepared, content, numbers, pool)
                names = [tiff_name(stem, int(number)) for number in numbers]
                jobs = [pool.submit(_write, build, *one, scan) for one in zip(names, frames, strict=True)]
                build.record([job.result() for job in jobs])
                done += len(numbers)
                reporter.progress("projections", done, total, "projections")
            return _results(prepared, content, pool)

        return make(request, pool, work)


def _together(prepared: Prepared, build: Build) -> Iterator[npt.NDArray[np.intp]]:
    """The projections that are not there yet, a few at a time."""
    stem = build.request.directory.name
    missing = [number for number in prepared.kept if tiff_name(stem, int(number)) not in build.kept]
    for start in range(0, len(missing), AT_ONCE):
        yield np.array(missing[start : start + AT_ONCE], np.intp)


def _read(prepared: Prepared, content: Content, numbers: npt.NDArray[np.intp], pool: ThreadPoolExecutor) -> Frame:
    rows = _slice(prepared.rows)
    if content is Content.RAW:
        return np.stack([prepared.scan.read_projection(int(number))[rows] for number in numbers])
    raw = prepared.read_projections(numbers, pool)
    transmissions = transmission(raw)
    alive = lit(raw.white, raw.dark)
    for row in np.flatnonzero(~alive.all(axis=1)):
        interpolate_columns(transmissions[row], alive[row])
    frames: Frame = transmissions.transpose(1, 0, 2)[:, rows]
    return frames


def _slice(rows: range) -> slice:
    return slice(rows.start, rows.stop, rows.step)


def _write(build: Build, name: str, frame: Frame, scan: Scan) -> FileEntry:
    return build.write(name, encode_tiff(np.ascontiguousarray(frame), scan.pixel_size_um))


def _results(prepared: Prepared, content: Content, pool: ThreadPoolExecutor) -> dict[str, Any]:
    scan = prepared.scan
    [first] = _read(prepared, content, prepared.kept[:1], pool)
    limits = picture.contrast_limits(first.astype(np.float32))
    return {
        "content": str(content),
        "unit": "counts" if content is Content.RAW else "part of the light",
        "pixel_size_um": scan.pixel_size_um,
        "shape": [int(prepared.kept.size), *first.shape],
        "dtype": str(first.dtype),
        "theta_deg": [float(angle) for angle in prepared.theta_deg],
        "flags": list(scan.flags),
        "contrast_limits": list(limits),
        "thumbnail_png": picture.thumbnail(picture.grey(first.astype(np.float32), limits)),
    }
