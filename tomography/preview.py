"""A first look at a scan: a few slices, from only the rows that they need.

Belongs here: which rows, their pictures, ``preview.json``.
Does not: slices themselves (tomography.stack).
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tomography import picture
from tomography.manifest import Input, Manifest
from tomography.product import Build, Request, make
from tomography.progress import Reporter
from tomography.scan import Scan
from tomography.settings import Settings
from tomography.stack import SliceMaker, facts

_OWN = re.compile(r"slice_\d+\.png|preview\.json")


def preview_rows(rows: int) -> list[int]:
    """A quarter, the middle and three quarters of the way down; fewer where these are the same row."""
    return sorted({rows // 4, rows // 2, rows * 3 // 4})


def preview(
    scan: Scan, source: Input, directory: Path, settings: Settings, threads: int, reporter: Reporter
) -> tuple[Manifest, bool]:
    """Write the preview of a scan; returns its manifest and whether anything had to be made.

    Raises OutputError, CenterError, ScanError.
    """
    request = Request(
        directory, "preview", source, settings.model_dump(mode="json"), lambda name: bool(_OWN.fullmatch(name))
    )
    with ThreadPoolExecutor(threads) as pool:
        return make(request, pool, lambda build: _write(scan, settings, build, pool, reporter))


def _write(
    scan: Scan, settings: Settings, build: Build, pool: ThreadPoolExecutor, reporter: Reporter
) -> dict[str, Any]:
    rows = preview_rows(scan.rows)
    reporter.progress("preview", 0, len(rows), "slices")
    maker = SliceMaker.of(scan, settings)
    jobs = [pool.submit(maker, scan.read_rows(row, row + 1)) for row in rows]
    slices = []
    for job in jobs:
        slices.append(job.result()[0])
        reporter.progress("preview", len(slices), len(rows), "slices")
    limits = picture.contrast_limits(np.stack(slices))
    pictures = [picture.grey(image, limits) for image in slices]
    description = {
        **facts(scan, maker.center),
        "rows": rows,
        "shape": [scan.rows, scan.columns, scan.columns],
        "dtype": "float32",
        "contrast_limits": list(limits),
    }
    for row, image in zip(rows, pictures, strict=True):
        build.record([build.write(f"slice_{row}.png", picture.png(image))])
    text = json.dumps(description, sort_keys=True, indent=1) + "\n"
    build.record([build.write("preview.json", text.encode())])
    return {**description, "thumbnail_png": picture.thumbnail(np.hstack(pictures))}
