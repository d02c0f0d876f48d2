"""Pyramids are the exact means, in the right place, in a form that viewers read.

Belongs here: what is measured of a pyramid. Does not: slices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from ome_zarr_models import v04, v05
from pydantic import ValidationError
from pydantic_zarr import v2, v3

from accuracy.chapter import Chapter
from accuracy.findings import Finding
from accuracy.phantoms import scan_of
from accuracy.program import reconstruct, tomography
from tomography.phantom import Phantom

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]

IMAGES: dict[str, Any] = {"0.4": v04.Image, "0.5": v05.Image}
ODD = Phantom(rows=141, columns=299, angles=151, noisy=False)
"""Two layers of chunks, and an odd size along every axis."""


def chapter(folder: Path) -> Chapter:
    """A pyramid of a stack."""
    raw = scan_of(ODD, folder / "scan.h5")
    made = reconstruct(raw, folder / "rec")
    findings: list[Finding] = []
    for version in IMAGES:
        pyramid = folder / f"{version}.zarr"
        tomography("pyramid", str(made.stack), str(pyramid), "--ome-zarr", version)
        group = zarr.open_group(pyramid, mode="r")
        levels = [np.asarray(array[:]) for _, array in sorted(group.arrays())]
        part = f"OME-Zarr {version}"
        attributes: Any = group.attrs.get("ome", group.attrs)
        findings += of_levels(part, made.volume, levels)
        findings += of_places(part, levels, attributes["multiscales"][0]["datasets"], ODD.pixel_size_um)
        findings.append(Finding(part, "errors of ome-zarr-models", schema_errors(pyramid, version), at_most=0))
    return Chapter(
        "Pyramids",
        f"A stack of {' x '.join(map(str, made.volume.shape))} voxels in {len(levels)} levels. Each level is compared "
        "with the mean of the 2 x 2 x 2 voxels below that exist, in double precision; its place in the metadata with "
        "the middle of those voxels.",
        findings,
    )


def of_levels(part: str, stack: Floats, levels: Sequence[Floats]) -> list[Finding]:
    """The finest level against the stack, and each coarser one against the exact mean."""
    findings = [Finding(part, "voxels of level 0 that differ from the stack", _differing(stack, levels[0]), at_most=0)]
    expected = stack.astype(np.float64)
    for number, level in enumerate(levels[1:], start=1):
        expected = mean_of_existing(expected)
        same = level.shape == expected.shape
        off = float(np.abs(level - expected).max() / np.ptp(stack)) if same else np.inf
        findings.append(Finding(part, f"level {number}: largest distance from the mean", off, "of the range", 1e-6))
    return findings


def of_places(
    part: str, levels: Sequence[Floats], datasets: Sequence[Mapping[str, Any]], pixel_size_um: float
) -> list[Finding]:
    """Where the metadata puts the voxels of each level, against the middles of those they are the means of."""
    findings = []
    middles = [np.arange(size, dtype=np.float64) * pixel_size_um for size in levels[0].shape]
    for number, (level, dataset) in enumerate(zip(levels, datasets, strict=True)):
        scale, shift = _placed(dataset)
        middles = [_halved(positions) for positions in middles] if number else middles
        off = max(
            float(np.abs(np.arange(size) * step + first - positions).max())
            for size, step, first, positions in zip(level.shape, scale, shift, middles, strict=True)
        )
        what = f"level {number}: places in the metadata are off by"
        findings.append(Finding(part, what, off / pixel_size_um, "px", at_most=1e-6))
    return findings


def schema_errors(pyramid: Path, version: str) -> int:
    """How many errors ome-zarr-models finds."""
    image = IMAGES[version]
    # ome-zarr-models 1.6 leaves two names for pydantic 2.14 to find.
    library = v2 if version == "0.4" else v3
    image.model_rebuild(_types_namespace={"ArraySpec": library.ArraySpec, "GroupSpec": library.GroupSpec})
    try:
        image.from_zarr(zarr.open_group(pyramid, mode="r"))
    except ValidationError as error:
        return error.error_count()
    return 0


def mean_of_existing(volume: Doubles) -> Doubles:
    """The mean of each 2 x 2 x 2 voxels, at an odd end of those that there are."""
    padded = np.pad(volume, [(0, size % 2) for size in volume.shape], constant_values=np.nan)
    z, y, x = (size // 2 for size in padded.shape)
    return np.asarray(np.nanmean(padded.reshape(z, 2, y, 2, x, 2), axis=(1, 3, 5)))


def _halved(positions: Doubles) -> Doubles:
    """The middles of pairs; the last of an odd number stands in the middle of a pair of which one is not there."""
    step = positions[1] - positions[0]
    whole = np.append(positions, positions[-1] + step) if positions.size % 2 else positions
    return np.asarray(whole.reshape(-1, 2).mean(axis=1))


def _differing(one: Floats, other: Floats) -> int:
    return int(np.count_nonzero(one != other)) if one.shape == other.shape else one.size


def _placed(dataset: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    steps = {step["type"]: step[step["type"]] for step in dataset["coordinateTransformations"]}
    return steps["scale"], steps["translation"]
