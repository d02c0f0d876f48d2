"""A first look at a scan: pictures of what it holds, and what is wrong with it, from a few of its rows and frames.

Belongs here: which pictures there are, ``preview.json``, and the order of work.
Does not: what is read (tomography.look), judged (tomography.quality), or how it is laid out (contact_sheet, page).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tomography import picture
from tomography.contact_sheet import Tile, contact_sheet
from tomography.inspection import Inspection
from tomography.look import Look, take
from tomography.manifest import Input, Manifest
from tomography.metadata import stated_in
from tomography.normalise import absorption
from tomography.page import page
from tomography.product import Build, Request, make
from tomography.progress import Reporter
from tomography.quality import Finding, judge
from tomography.scan import RawRows, Scan
from tomography.settings import Device, Settings
from tomography.slabs import SliceMaker
from tomography.stack import facts

CENTER_OFFSETS_PX = (-4, -2, 0, 2, 4)
"""Where else the axis could be: a wrong one doubles every edge."""
LONGEST_VALUE = 300
"""Characters of a value on the page."""
MOST_BESIDE_PX = 768
"""The middle of a slice is enough to see that, at its own size."""

_OWN = re.compile(
    r"(slice_\d+|center_(minus|plus)_\d+|sinogram_\d+|projection_(first|last)|contact_sheet)\.png|preview\.json|look\.html"
)

Floats = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One picture of a look: its file's name without ``.png``, and what is said under it."""

    name: str
    caption: str
    image: Grey


def preview(
    scan: Scan,
    inspection: Inspection,
    source: Input,
    directory: Path,
    settings: Settings,
    threads: int,
    reporter: Reporter,
) -> tuple[Manifest, bool]:
    """Write the first look at a scan; returns its manifest and whether anything had to be made.

    Raises OutputError, CenterError, ScanError.
    """
    request = Request(
        directory, "preview", source, settings.model_dump(mode="json"), lambda name: bool(_OWN.fullmatch(name))
    )
    with ThreadPoolExecutor(threads) as pool:
        return make(request, pool, lambda build: _write(scan, inspection, settings, build, pool, reporter))


def _write(
    scan: Scan, inspection: Inspection, settings: Settings, build: Build, pool: ThreadPoolExecutor, reporter: Reporter
) -> dict[str, Any]:
    reporter.progress("preview", 0, 3, "parts")
    look = take(scan, inspection, settings)
    findings = judge(look)
    reporter.progress("preview", 1, 3, "parts")
    slices = _slices(look, settings, pool)
    reporter.progress("preview", 2, 3, "parts")
    limits = picture.contrast_limits(np.stack(slices.rows))
    lines = [list(line) for line in _lines(look, slices, limits, settings)]
    pictures = [one for line in lines for one in line]
    description = {
        **facts(scan, look.center, [finding.said for finding in findings.values() if finding.wrong]),
        "quality": {name: finding.to_json() for name, finding in findings.items()},
        "rows": list(look.rows),
        "shape": [scan.rows, *slices.rows[0].shape],
        "dtype": "float32",
        "contrast_limits": list(limits),
        "whole_file_was_read": look.whole_file_was_read,
    }
    sheet = contact_sheet([[Tile(one.caption, one.image) for one in line] for line in lines], _headline(findings))
    files = {f"{one.name}.png": pool.submit(picture.png, one.image) for one in pictures}
    build.record([build.write(name, made.result()) for name, made in files.items()])
    build.record([build.write("contact_sheet.png", picture.png(sheet))])
    shown = [[(one.caption, picture.jpeg(one.image, picture.PAGE_WIDTH_PX)) for one in line] for line in lines]
    html = page(build.request.input.name, findings, shown, _said(scan), description)
    build.record([build.write("look.html", html)])
    text = json.dumps(description, sort_keys=True, indent=1) + "\n"
    build.record([build.write("preview.json", text.encode())])
    reporter.progress("preview", 3, 3, "parts")
    greys = [picture.grey(image, limits) for image in slices.rows]
    return {
        **description,
        "thumbnail_png": picture.thumbnail(np.hstack(greys)),
        "contact_sheet_jpeg": picture.small_jpeg(sheet),
    }


# -- slices ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Slices:
    """``rows``: a slice [y, x] of each row looked at. ``beside``: the middle one, by the offset of its centre."""

    rows: list[Floats]
    beside: dict[int, Floats]


def _slices(look: Look, settings: Settings, pool: ThreadPoolExecutor) -> _Slices:
    """All that are shown, from one geometry: an axis so many pixels to the right is a sinogram as many to the left."""
    # A few slices are not worth waking a card for.
    some = settings.model_copy(update={"rows": "", "device": Device.CPU})
    maker = SliceMaker.about(look.scan, some, look.center)
    prepared = maker.prepared
    if prepared.takes_single_rows:
        kept = look.raw.but(prepared.kept)
        raw = [kept.part(slice(i, i + 1)) for i in range(len(look.rows))]
    else:
        raw = [prepared.read(row, row + 1, pool) for row in look.rows]
    rows = [pool.submit(maker, row) for row in raw]
    middle = raw[len(raw) // 2]
    beside = {offset: pool.submit(maker, _moved(middle, offset)) for offset in CENTER_OFFSETS_PX}
    return _Slices([job.result()[0] for job in rows], {offset: job.result()[0] for offset, job in beside.items()})


def _moved(raw: RawRows, offset: int) -> RawRows:
    """Columns moved to the left by ``offset``; the one at the edge is repeated."""
    last = raw.counts.shape[2] - 1
    columns = np.clip(np.arange(last + 1) + offset, 0, last)
    whites = None if raw.whites is None else replace(raw.whites, means=raw.whites.means[..., columns])
    return RawRows(raw.counts[..., columns], raw.white[..., columns], raw.dark[..., columns], whites)


# -- pictures ----------------------------------------------------------------------------------------------------


def _lines(look: Look, slices: _Slices, limits: tuple[float, float], settings: Settings) -> Iterator[Iterable[Picture]]:
    """All pictures, in the lines in which they are shown."""
    yield [
        Picture(f"slice_{row}", f"slice {row}", picture.grey(image, limits))
        for row, image in zip(look.rows, slices.rows, strict=True)
    ]
    yield _about_the_center(look, slices, limits)
    yield _as_measured(look, settings)


def _about_the_center(look: Look, slices: _Slices, limits: tuple[float, float]) -> Iterator[Picture]:
    center = look.center.center_px
    for offset, image in slices.beside.items():
        name = f"center_{'minus' if offset < 0 else 'plus'}_{abs(offset)}"
        caption = f"centre {center + offset:.1f}" + ("" if offset else ", as found")
        yield Picture(name, caption, picture.grey(_middle(image), limits))


def _as_measured(look: Look, settings: Settings) -> Iterator[Picture]:
    row = look.rows[len(look.rows) // 2]
    sinogram = look.sinograms[len(look.rows) // 2]
    yield Picture(f"sinogram_{row}", f"sinogram of row {row}", _grey(sinogram))
    for name, angle in (("first", 0), ("last", look.last)):
        theta = look.scan.theta_deg[angle]
        caption = f"{name} projection, {theta:.1f} degrees"
        yield Picture(f"projection_{name}", caption, _grey(_projection(look, angle, settings)))


def _projection(look: Look, angle: int, settings: Settings) -> Floats:
    """A whole projection as absorption [row, column], by the few flat fields that were looked at."""
    counts = look.projections[angle]
    white = look.flats.mean(axis=0) if len(look.flats) else look.scan.white.mean(0, look.scan.rows)
    dark = look.darks.mean(axis=0) if len(look.darks) else np.zeros_like(white)
    raw = RawRows(counts[None], white.astype(np.float32), dark.astype(np.float32))
    return absorption(raw, settings)[:, 0, :]


def _grey(image: Floats) -> Grey:
    return picture.grey(image, picture.contrast_limits(image))


def _middle(image: Floats) -> Floats:
    size = min(MOST_BESIDE_PX, image.shape[0])
    start = (image.shape[0] - size) // 2
    return image[start : start + size, start : start + size]


def _said(scan: Scan) -> dict[str, str]:
    """The file's single values in words, by their paths; none where they cannot be read: the pictures are there."""
    try:
        stated = stated_in(scan.file)
    except (OSError, RuntimeError):
        return {"(the file)": "its values cannot be read: it is damaged there"}
    return {
        path: f"{one.value} {one.unit or ''}".strip()[:LONGEST_VALUE]
        for path, one in stated.items()
        if one.value is not None and not isinstance(one.value, list)
    }


def _headline(findings: dict[str, Finding]) -> str:
    wrong = [name.replace("_", " ") for name, finding in findings.items() if finding.wrong]
    return f"look at: {', '.join(wrong)}" if wrong else "nothing found wrong"
