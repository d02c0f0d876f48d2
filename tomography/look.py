"""What a first look reads of a scan: a few rows, a few frames, and nothing else.

Belongs here: which parts of the file are read, so that a look at tens of gigabytes takes seconds.
Does not: judging what was read (tomography.quality), or pictures of it (tomography.preview).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tomography.center import Center, center_of
from tomography.inspection import Inspection, inspect_open, written_projections
from tomography.normalise import absorption
from tomography.opposite import opposite_pair
from tomography.scan import FEWEST_ANGLES, RawRows, Scan, open_scan
from tomography.settings import Settings

Counts = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

FIELD_FRAMES = 5
"""So many whole flat fields, and dark ones, are looked at for dead rows and saturation."""


@dataclass(frozen=True)
class Look:
    """What was read of a scan.

    ``rows``: three of them, all angles: ``raw`` as counted, ``sinograms`` [row, angle, column] as absorption.
    ``projections``: whole frames [row, column] by angle; ``first``, ``opposite`` and ``last`` are among them.
    ``flats``, ``darks``: whole frames [frame, row, column]; no frame where there are none.
    """

    scan: Scan
    inspection: Inspection
    center: Center
    rows: tuple[int, ...]
    raw: RawRows
    sinograms: Floats
    projections: dict[int, Counts]
    first: int
    opposite: int
    last: int
    apart_deg: float
    flats: Counts
    darks: Counts
    whole_file_was_read: bool
    """Frames are compressed whole, so that a single row costs as much as the scan."""


def looked_at_rows(rows: range) -> tuple[int, ...]:
    """A quarter, the middle and three quarters of the way down; fewer where these are the same row."""
    count = len(rows)
    return tuple(sorted({rows[count // 4], rows[count // 2], rows[count * 3 // 4]}))


@contextmanager
def open_to_look(path: Path, flat_file: Path | None = None) -> Iterator[tuple[Scan, Inspection]]:
    """Open a scan to look at it: without flats or angles too, and of one that was stopped only what was written.

    Raises ScanError where there is nothing to see.
    """
    with open_scan(path, flat_file, to_look=True) as scan:
        inspection = inspect_open(path, scan.file)
        written = written_projections(scan.projections)
        kept = max(FEWEST_ANGLES, written)
        yield replace(scan, angles=kept, theta_deg=scan.theta_deg[:kept]), inspection


def take(scan: Scan, inspection: Inspection, settings: Settings) -> Look:
    """Read what a first look needs. Raises ScanError where the file is damaged, and CenterError as ``center_of``."""
    rows = looked_at_rows(settings.some_of("rows", scan.rows))
    scan = scan.with_exposure_ratio(settings.flat_exposure_ratio)
    raw = scan.read_single_rows(rows)
    first, opposite, apart_deg = opposite_pair(scan.theta_deg)
    frames = {angle: scan.read_projection(angle) for angle in {0, first, opposite, scan.angles - 1}}
    return Look(
        scan=scan,
        inspection=inspection,
        center=center_of(scan, settings),
        rows=rows,
        raw=raw,
        sinograms=absorption(raw, settings),
        projections=frames,
        first=first,
        opposite=opposite,
        last=scan.angles - 1,
        apart_deg=apart_deg,
        flats=scan.white.some(FIELD_FRAMES),
        darks=scan.dark.some(FIELD_FRAMES),
        whole_file_was_read=scan.is_decompressed_for(1),
    )
