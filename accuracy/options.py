"""Every option that is for no fault of the scan: what it changes, and what it must not.

Belongs here: each option beside the volume that its definition gives. Does not: steps and their faults (steps).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from accuracy.chapter import Chapter, rows_of
from accuracy.faults import DARK, DATA, THETA, WHITE
from accuracy.findings import Finding
from accuracy.measures import error, inside, value_range
from accuracy.phantoms import foam, scan_of, truth
from accuracy.program import Reconstruction, reconstruct, tomography
from tomography.phantom import Phantom

Floats = npt.NDArray[np.floating]

SCAN = foam(rows=24, pores=30)
CUT_PX = 40
"""What a detector that is narrower than the sample loses on either side."""
SEEN = 0.9
"""Of half the width of that: towards its rim everything depends on what was not measured."""
PAIR = 1e-4
"""In parts of the range: two rows are one transform, and with another partner a row has another error of that."""
HALF_A_STEP = 0.51
"""Half of one, and the rounding of single precision before."""


def chapter(folder: Path, phantom: Phantom = SCAN) -> Chapter:
    """One volume as usual, and one for each option."""
    raw = scan_of(phantom, folder / "scan.h5")
    usual = reconstruct(raw, folder / "usual", *_always(phantom.axis_px))
    true = truth(phantom, of_areas=True)
    findings = [
        *_storage(raw, folder, phantom, usual),
        *_parts_of_a_scan(raw, folder, phantom, usual),
        *_edges(raw, folder, phantom, usual, true),
    ]
    return Chapter(
        "Every other option",
        "Foam of 256 pixels and 403 angles. Options that choose, store or divide must give what their definition says "
        "of the volume as usual; differences are the largest, in parts of its range. A narrow detector is the same "
        f"scan without {CUT_PX} columns on either side; its errors are root mean squares within {SEEN} of the circle, "
        "less their mean, which no such scan has.",
        findings,
        table=rows_of(findings),
    )


def _always(axis_px: float) -> tuple[str, ...]:
    return ("--center", str(axis_px), "--rings", "none")


def _storage(raw: Path, folder: Path, phantom: Phantom, usual: Reconstruction) -> Iterator[Finding]:
    """A stored number is half a step from its value at most; beyond the limits it is the limit."""
    for numbers, largest in (("uint8", 255), ("uint16", 65_535)):
        for name, limits in (("given limits", ("--lowest", "-5", "--highest", "20")), ("percentiles", ())):
            made = reconstruct(
                raw, folder / f"{numbers} {name}", *_always(phantom.axis_px), "--dtype", numbers, *limits
            )
            low, high = (float(made.results[end]) for end in ("lowest", "highest"))
            step = (high - low) / largest
            values = low + made.volume.astype(np.float64) * step
            off = float(np.abs(values - np.clip(usual.volume, low, high)).max()) / step
            yield Finding(f"dtype {numbers}, {name}", "farthest value from its number", off, "steps", HALF_A_STEP)
            if not limits:
                beyond = np.mean((usual.volume < low) | (usual.volume > high), where=usual.volume != 0)
                yield Finding(f"dtype {numbers}, {name}", "values beyond the limits", float(beyond), "of all", 0.01)


def _parts_of_a_scan(raw: Path, folder: Path, phantom: Phantom, usual: Reconstruction) -> Iterator[Finding]:
    always = _always(phantom.axis_px)

    def same(what: str, made: Reconstruction, expected: Floats, most: float = 0.0) -> Finding:
        difference = float(np.abs(made.volume - expected).max()) / value_range(usual.volume)
        return Finding(what, "largest difference from its definition", difference, "of the range", most)

    made = reconstruct(raw, folder / "rows", *always, "--rows", "3:20:4")
    yield same("rows 3:20:4", made, usual.volume[3:21:4], most=PAIR)
    every_other = _changed(raw, folder / "half.h5", lambda file: _keep(file, slice(None, None, 2)))
    made = reconstruct(raw, folder / "projections", *always, "--projections", "::2")
    yield same("projections ::2", made, reconstruct(every_other, folder / "half", *always).volume)
    longer = _changed(raw, folder / "longer.h5", _exposed_twice)
    spoilt = _changed(raw, folder / "spoilt.h5", lambda file: _replaced(file, WHITE, file[WHITE][()] // 3))
    made = reconstruct(spoilt, folder / "flat", *always, "--flat-file", str(longer), "--flat-exposure-ratio", "2")
    yield same("flat-file, flat-exposure-ratio 2", made, usual.volume, most=2e-3)
    for what, options in (("threads 1", ("--threads", "1")), ("memory 0.25", ("--memory", "0.25"))):
        yield same(what, reconstruct(raw, folder / what, *always, *options), usual.volume)
    parts = folder / "parts"
    for part in ("1/2", "2/2"):
        tomography("reconstruct", str(raw), str(parts), *always, "--part", part)
    tomography("merge", str(parts))
    yield same("part, merge", reconstruct(raw, parts, *always), usual.volume)


def _edges(raw: Path, folder: Path, phantom: Phantom, usual: Reconstruction, true: Floats) -> Iterator[Finding]:
    always, width = _always(phantom.axis_px), usual.volume.shape[-1]
    scale, seen = value_range(usual.volume), inside(width)
    whole = reconstruct(raw, folder / "no circle", *always, "--no-circle").volume
    within = float(np.abs(whole - usual.volume)[:, seen].max()) / scale
    yield Finding("no-circle", "largest difference within the circle", within, "of the range", 0.0)
    for name, options in (("padding zero", ("--padding", "zero")), ("padding-factor 4", ("--padding-factor", "4"))):
        found = reconstruct(raw, folder / name, *always, *options).volume
        yield Finding(
            name, "error of a sample that fits", error(found, true), "of the range", 1.02 * error(usual.volume, true)
        )
    narrow = _changed(raw, folder / "narrow.h5", _narrowed)
    always = _always(phantom.axis_px - CUT_PX)
    middle = slice(CUT_PX, width - CUT_PX)
    errors = {
        padding: _shape_error(
            reconstruct(narrow, folder / padding, *always, "--padding", padding).volume, true[:, middle, middle]
        )
        for padding in ("zero", "edge")
    }
    yield Finding("padding zero", "error with a narrow detector", errors["zero"], "of the range")
    yield Finding("padding edge", "error with a narrow detector", errors["edge"], "of the range", 0.75 * errors["zero"])


def _shape_error(found: Floats, true: Floats) -> float:
    within = inside(true.shape[-1], SEEN)
    difference = (found - true)[:, within]
    return float(np.std(difference) / value_range(true))


def _changed(raw: Path, path: Path, change: Callable[[h5py.File], None]) -> Path:
    path.write_bytes(raw.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def _replaced(file: h5py.File, name: str, values: npt.NDArray[Any]) -> None:
    attributes = dict(file[name].attrs)
    del file[name]
    file[name] = values
    file[name].attrs.update(attributes)


def _keep(file: h5py.File, projections: slice) -> None:
    for name in (DATA, THETA):
        _replaced(file, name, file[name][projections])


def _exposed_twice(file: h5py.File) -> None:
    """A scan without its sample, exposed for twice as long: projections are what the beam alone gives."""
    dark = file[DARK][()].mean(axis=0)
    light = file[WHITE][()].mean(axis=0) - dark
    frames = np.rint(dark + 2 * light).clip(0, 65_535).astype(np.uint16)
    _replaced(file, DATA, np.broadcast_to(frames, (len(file[THETA]), *frames.shape)))


def _narrowed(file: h5py.File) -> None:
    for name in (DATA, WHITE, DARK):
        _replaced(file, name, file[name][..., CUT_PX:-CUT_PX])
