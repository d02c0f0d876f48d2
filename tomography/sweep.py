"""One setting tried with several values on a few slices, so that a person can pick.

Belongs here: which values, their slices, the sheet, and a file of settings for each value, which passes a choice on.
Does not: what a setting does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tomography import picture
from tomography.contact_sheet import Tile, contact_sheet
from tomography.errors import SettingsError
from tomography.look import looked_at_rows
from tomography.manifest import Input, Manifest
from tomography.options import settings_of
from tomography.product import Build, Request, make
from tomography.progress import Reporter
from tomography.scan import Scan
from tomography.settings import Settings, option, written
from tomography.slabs import SliceMaker

Floats = npt.NDArray[np.float32]

MOST_VALUES = 50
MOST_ROWS = 50
A_LINE = 5
_OWN = re.compile(r"\d\d_slice_\d+\.png|\d\d_settings\.yaml|sheet\.png")


@dataclass(frozen=True)
class Try:
    """One value: what is said of it, and the settings with it."""

    value: str
    settings: Settings


def tries(base: Settings, name: str, values: str) -> list[Try]:
    """The settings, less ``rows``, with each value of one of them: ``a,b,c``, or ``first:last:step`` for numbers, both
    ends included. Raises SettingsError.
    """
    if name == "rows":
        raise SettingsError("--over rows: a sheet shows several rows anyway; --rows says which.")
    words = _range(values) if ":" in values else [word.strip() for word in values.split(",") if word.strip()]
    if not 1 <= len(words) <= MOST_VALUES:
        raise SettingsError(f"--values {values}: {len(words)} values; 1 to {MOST_VALUES} can be looked at.")
    return [Try(word, settings_of({**base.model_dump(), "rows": "", name: word})) for word in words]


def _range(values: str) -> list[str]:
    try:
        first, last, step = (float(word) for word in values.split(":"))
    except ValueError as error:
        raise SettingsError(f"--values {values}: a range is first:last:step, three numbers.") from error
    if step == 0 or (last - first) / step < 0 or (last - first) / step > MOST_VALUES:
        raise SettingsError(f"--values {values}: that are not 1 to {MOST_VALUES} values.")
    count = int(np.floor((last - first) / step + 1e-9)) + 1
    return [f"{first + i * step:.10g}" for i in range(count)]


def sweep(
    scan: Scan,
    source: Input,
    directory: Path,
    name: str,
    chosen: Sequence[Try],
    base: Settings,
    threads: int,
    reporter: Reporter,
) -> tuple[Manifest, bool]:
    """Write the sheet, every slice at full size, and every value's settings; returns the manifest and whether anything
    had to be made.

    Slices are made of the rows of ``base``, or of three of them where it says none. Raises OutputError, CenterError,
    ScanError, SettingsError.
    """
    every = base.some_of("rows", scan.rows)
    rows = list(every if base.rows else looked_at_rows(every))
    if len(rows) > MOST_ROWS:
        raise SettingsError(f"--rows {base.rows}: {len(rows)} rows; at most {MOST_ROWS} can be looked at.")
    asked = {"setting": name, "rows": rows, "values": [one.settings.model_dump(mode="json") for one in chosen]}
    request = Request(directory, "sweep", source, asked, lambda path: bool(_OWN.fullmatch(path)))
    with ThreadPoolExecutor(threads) as pool:
        return make(request, pool, lambda build: _write(scan, name, chosen, rows, build, pool, reporter))


def _write(
    scan: Scan,
    name: str,
    chosen: Sequence[Try],
    rows: Sequence[int],
    build: Build,
    pool: ThreadPoolExecutor,
    reporter: Reporter,
) -> dict[str, Any]:
    slices: list[list[Floats]] = []
    flags: dict[str, None] = {}
    for number, one in enumerate(chosen):
        reporter.progress("sweep", number, len(chosen), "values")
        maker = SliceMaker.of(scan, one.settings)  # one at a time: each has a geometry of its own
        flags |= dict.fromkeys(maker.arithmetic.flags)
        jobs = [pool.submit(maker, maker.prepared.read(row, row + 1, pool)) for row in rows]
        slices.append([job.result()[0] for job in jobs])
    limits = picture.contrast_limits(np.stack(slices[len(slices) // 2]))
    word = option(name).removeprefix("--")
    for number, (one, images) in enumerate(zip(chosen, slices, strict=True), start=1):
        build.record([build.write(f"{number:02}_settings.yaml", written(one.settings).encode())])
        for row, image in zip(rows, images, strict=True):
            shown = picture.png(picture.grey(image, limits))
            build.record([build.write(f"{number:02}_slice_{row}.png", shown)])
    middle = rows[len(rows) // 2]
    tiles = [
        Tile(f"{number:02}: {word} {one.value}", picture.grey(images[len(rows) // 2], limits))
        for number, (one, images) in enumerate(zip(chosen, slices, strict=True), start=1)
    ]
    lines = [tiles[start : start + A_LINE] for start in range(0, len(tiles), A_LINE)]
    sheet = contact_sheet(lines, f"{word}, slice {middle}. Take one with --settings NN_settings.yaml")
    build.record([build.write("sheet.png", picture.png(sheet))])
    reporter.progress("sweep", len(chosen), len(chosen), "values")
    return {
        "setting": word,
        "values": [one.value for one in chosen],
        "rows": list(rows),
        "contrast_limits": list(limits),
        "flags": list(flags),
        "contact_sheet_jpeg": picture.small_jpeg(sheet),
    }
