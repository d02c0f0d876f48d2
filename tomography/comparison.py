"""Two results of one scan beside each other: three slices of each, their difference, and which settings differ.

Belongs here: opening two volumes of equal shape, the figures of their difference, ``comparison.json``.
Does not: how that is drawn (side_by_side), or reconstructing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from tomography import picture, side_by_side
from tomography.errors import StackError
from tomography.look import looked_at_rows
from tomography.manifest import Input, Manifest, files_input, journal_path, read_manifest
from tomography.product import Build, Request, make
from tomography.progress import Reporter
from tomography.tiffs import open_stack

Floats = npt.NDArray[np.float32]

_OWN = re.compile(r"comparison\.(?:png|json)")
_THUMBNAIL_WIDTH_PX, _THUMBNAIL_BYTES = 960, 74_000  # 99 kB once in base64
_FACTS = ("center_px", "center_found_by")


@dataclass(frozen=True)
class Volume:
    """A reconstructed volume on disk, a stack of TIFF files or a pyramid, and what its manifest says of it."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[int], Floats]
    """One slice [y, x]."""
    source: Input
    settings: dict[str, Any] | None
    """Those of its reconstruction; None where nobody wrote them down."""
    program: str | None
    facts: dict[str, Any]

    @property
    def made_with(self) -> dict[str, Any]:
        """Everything that may explain why it differs from another."""
        found = {name: self.facts[name] for name in _FACTS if name in self.facts}
        return {"program": self.program, **(self.settings or {}), **{f"{name} (found)": v for name, v in found.items()}}


def open_volume(path: Path) -> Volume:
    """A stack of TIFF files, or the finest level of a pyramid. Raises StackError."""
    return _pyramid(path) if path.suffix == ".zarr" else _stack(path)


def compare(first: Volume, second: Volume, directory: Path, threads: int, reporter: Reporter) -> tuple[Manifest, bool]:
    """Write the comparison of two volumes; returns its manifest and whether anything had to be made.

    Raises StackError for volumes of different shapes, OutputError.
    """
    if first.shape != second.shape:
        raise StackError(
            f"{first.name!r} is {_size(first)} voxels and {second.name!r} {_size(second)}: "
            "only results of equal shape can be compared slice by slice."
        )
    rows = looked_at_rows(range(first.shape[0]))
    settings = {"first": first.name, "second": second.name, "rows": list(rows)}
    request = Request(directory, "comparison", _both(first, second), settings, lambda name: bool(_OWN.fullmatch(name)))
    with ThreadPoolExecutor(threads) as pool:
        return make(request, pool, lambda build: _write(first, second, rows, build, reporter))


def figures(row: int, first: Floats, second: Floats) -> dict[str, float]:
    """How a slice of the second differs from that of the first, in their own unit; and as a part of its spread."""
    difference = second.astype(np.float64) - first
    rms, spread = float(np.sqrt(np.mean(difference**2))), float(np.std(first, dtype=np.float64))
    return {
        "row": row,
        "mean": float(np.mean(difference)),
        "rms": rms,
        "largest": float(np.max(np.abs(difference))),
        "rms_of_spread": rms / spread if spread > 0 else 0.0,
    }


def differing(first: Volume, second: Volume) -> dict[str, list[Any]]:
    """What they were made with, where that is not the same: name, and both values."""
    one, other = first.made_with, second.made_with
    names = [*one, *(name for name in other if name not in one)]
    return {name: [one.get(name), other.get(name)] for name in names if one.get(name) != other.get(name)}


def _write(first: Volume, second: Volume, rows: Sequence[int], build: Build, reporter: Reporter) -> dict[str, Any]:
    pairs = []
    reporter.progress("compare", 0, len(rows), "slices")
    for row in rows:
        pairs.append((_finite(first, row), _finite(second, row)))
        reporter.progress("compare", len(pairs), len(rows), "slices")
    drawn = side_by_side.draw(rows, pairs, (first.name, second.name), str(first.facts.get("unit") or ""))
    description = {
        "axes": ["z", "y", "x"],
        "shape": list(first.shape),
        "unit": first.facts.get("unit"),
        "slices": [figures(row, *pair) for row, pair in zip(rows, pairs, strict=True)],
        "differing": differing(first, second),
        "contrast_limits": list(drawn.limits),
        "difference_limits": [-drawn.largest, drawn.largest],
    }
    build.record([build.write("comparison.png", picture.png(drawn.image))])
    text = json.dumps(description, sort_keys=True, indent=1) + "\n"
    build.record([build.write("comparison.json", text.encode())])
    return {
        **description,
        "thumbnail_png": picture.thumbnail(drawn.middle, _THUMBNAIL_WIDTH_PX, _THUMBNAIL_BYTES),
    }


def _finite(volume: Volume, row: int) -> Floats:
    image = volume.read(row)
    if not np.isfinite(image).all():
        raise StackError(f"slice {row} of {volume.name!r} holds values that are no numbers: reconstruct it again.")
    return image


def _both(first: Volume, second: Volume) -> Input:
    sources = [("1", first.source), ("2", second.source)]
    return files_input(
        f"{first.name} | {second.name}", ((number, source.bytes, source.fingerprint) for number, source in sources)
    )


def _size(volume: Volume) -> str:
    return " x ".join(map(str, volume.shape))


def _stack(path: Path) -> Volume:
    stack = open_stack(path, None)
    manifest = read_manifest(path, "tiff")
    program = None if manifest is None else f"{manifest.program.name} {manifest.program.version}"
    return Volume(path.name, stack.shape, stack.read, stack.input, stack.settings, program, stack.facts)


def _pyramid(path: Path) -> Volume:
    manifest = read_manifest(path, "zarr")
    if manifest is None:
        state = "is not finished" if journal_path(path, "zarr").exists() else "has no manifest beside it"
        raise StackError(f"{str(path)!r} {state}: a comparison needs to know what it is.")
    try:
        level = zarr.open_array(str(path), path="0", mode="r")
    except (OSError, ValueError) as error:
        raise StackError(f"{str(path)!r} cannot be read as a pyramid: {error}.") from error
    entries = ((entry.path, entry.bytes, entry.sha256) for entry in manifest.files)
    return Volume(
        path.name,
        level.shape,
        lambda row: np.asarray(level[row], np.float32),
        files_input(path.name, entries),
        manifest.settings.get("reconstruction"),
        f"{manifest.program.name} {manifest.program.version}",
        manifest.results,
    )
