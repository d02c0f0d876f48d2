"""Slices: gain, background, place, orientation, and the error beside other programs.

Belongs here: which phantoms are measured, and the limits. Does not: how a figure comes about (accuracy.measures).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from accuracy import faults, measures
from accuracy.chapter import Chapter
from accuracy.findings import Finding
from accuracy.phantoms import ASYMMETRIC, DISCS, foam, scan_of, truth
from accuracy.pictures import small_png
from accuracy.program import peer_slices, reconstruct, reconstruct_there
from tomography import picture
from tomography.contact_sheet import Tile, contact_sheet
from tomography.phantom import Phantom

Floats = npt.NDArray[np.floating]

OURS = "ours"
BLURRED = "ours, blurred as linear interpolation does"
WINDOWS = ("ramp", "hann")


def chapter(folder: Path) -> Chapter:
    """Values and places, and the centre of rotation."""
    findings: list[Finding] = []
    for name, phantom in (("discs", DISCS), ("foam", foam()), ("asymmetric", ASYMMETRIC)):
        raw, true = scan_of(phantom, folder / f"{name}.h5"), truth(phantom, of_areas=True)
        given = reconstruct(raw, folder / name, "--rings", "none", "--center", str(phantom.axis_px))
        findings += of_volume(name, given.volume, true)
        if name == "discs":
            findings.append(_worst_disc(given.volume, true))
        else:
            findings.append(of_orientation(name, given.volume, true))
        found = reconstruct(raw, folder / f"{name}-found")
        findings.append(of_center(name, found.results["center_px"], phantom.axis_px))
    for window in ("hann", "butterworth"):
        volume = reconstruct(folder / "discs.h5", folder / window, "--rings", "none", "--filter", window).volume
        findings.append(of_gain(f"discs, {window}", volume, truth(DISCS, of_areas=True)))
    for offset_px in (-20.4, 0.0, 13.7):
        phantom = replace(ASYMMETRIC, noisy=True, center_px=(ASYMMETRIC.columns - 1) / 2 + offset_px)
        found = reconstruct(scan_of(phantom, folder / f"{offset_px}.h5"), folder / f"center{offset_px}")
        name = f"noise, axis {offset_px:g} px off the middle"
        findings.append(of_center(name, found.results["center_px"], phantom.axis_px))
    for method in ("vo", "nelder-mead"):
        found = reconstruct(folder / "foam.h5", folder / method, "--center-method", method)
        findings.append(of_center(f"foam, {method}", found.results["center_px"], foam().axis_px))
    findings += _offset_scan(folder)
    return Chapter(
        "Values and places",
        "Discs of 512 pixels and 806 angles; foam and the beamline's asymmetric phantom of 256 pixels, 403 angles and "
        "48 rows, as a detector whose pixels average sees them. Ramp, the centre given, no correction of rings; the "
        "truth of a voxel is its mean over the area. Shifts are least squares; an orientation is right where each of "
        "the 15 others has a much larger error. Centres are found with the default settings.",
        findings,
    )


def of_volume(name: str, found: Floats, true: Floats) -> list[Finding]:
    """Gain, background and place of a volume."""
    inside = measures.inside(true.shape[-1], rim=1.0 + 1e-9)
    shifts = measures.shift_px(found, true) if len(true) > 2 * measures.MARGIN_PX else None
    places = [
        Finding(name, f"shift along {axis}", abs(shift), "px", at_most=0.1)
        for axis, shift in zip("zyx", shifts or (), strict=False)
    ]
    return [
        of_gain(name, found, true),
        Finding(name, "background", abs(measures.background(found, true)), "of the range", at_most=0.005),
        Finding(name, "largest value outside the circle", float(np.abs(found[:, ~inside]).max()), "", at_most=0),
        *places,
    ]


def _offset_scan(folder: Path) -> list[Finding]:
    """A full turn with the axis near the left edge: the right part of the detector of a scan twice as wide."""
    whole = replace(ASYMMETRIC, angles=806, range_deg=360 * 805 / 806, center_px=(ASYMMETRIC.columns - 1) / 2)
    raw = scan_of(whole, folder / "offset.h5")
    with h5py.File(raw, "r+") as file:
        for name in (faults.DATA, faults.WHITE, faults.DARK):
            seen = file[name][..., _UNSEEN:]
            del file[name]
            file[name] = seen
    made = reconstruct(raw, folder / "offset", "--rings", "none", "--stitch-360")
    center = of_center("offset scan", made.results["center_px"], whole.axis_px - _UNSEEN)
    return [center, *of_volume("offset scan", made.volume, truth(whole, of_areas=True))]


_UNSEEN = 104
"""Columns that the detector of the offset scan lacks, of 256."""


def of_gain(name: str, found: Floats, true: Floats) -> Finding:
    """The gain of a volume."""
    return Finding(name, "gain", measures.gain(found, true), "", at_most=1.005, at_least=0.995)


def of_orientation(name: str, found: Floats, true: Floats) -> Finding:
    """Whether it is upright."""
    ratio = measures.next_orientation(found, true)
    return Finding(name, "error in the best other orientation", ratio, "times as it is", at_least=3)


def of_center(name: str, found_px: float, true_px: float) -> Finding:
    """How well the centre of rotation was found."""
    return Finding(name, "distance of the centre that was found", abs(found_px - true_px), "px", at_most=0.1)


def _worst_disc(found: Floats, true: Floats) -> Finding:
    return Finding("discs", "worst disc", measures.worst_body(found, true), "of the range", at_most=0.005)


def beside_peers(folder: Path) -> Chapter:
    """The error of ours and of algotom's programs on the same raw files with the same windows."""
    findings: list[Finding] = []
    lines = [
        f"| scan | truth | window | {OURS} | {BLURRED} | algotom FBP | algotom DFI |",
        "|---|---|---|---|---|---|---|",
    ]
    pictures = []
    for name, phantom, fault in _SCANS:
        raw = scan_of(phantom, folder / f"{name}.h5")
        with h5py.File(raw, "r+") as file:
            fault(file)
        slices = _all_slices(folder, raw, phantom, rings="rings" in name)
        rows = list(_rows(phantom))
        for said, of_areas in (("areas", True), ("middles", False)):
            true = truth(phantom, of_areas=of_areas)[rows]
            errors = {key: measures.error(volume, true) for key, volume in slices.items()}
            for window in WINDOWS:
                figures = [errors[f"{program} {window}"] for program in (OURS, BLURRED, "algotom-fbp", "algotom-dfi")]
                lines.append(" | ".join([f"| {name}", said, window, *(f"{figure:.4f}" for figure in figures)]) + " |")
                if of_areas:
                    findings += of_errors(name, window, errors)
        if name == "foam":
            findings.append(_ducc0(folder, raw, phantom, slices[f"{OURS} ramp"]))
        pictures += [
            _tile(name, key, volume) for key, volume in slices.items() if key.endswith("hann") and BLURRED not in key
        ]
    return Chapter("Beside other programs", _ABOUT_PEERS, findings, {"peers.png": small_png(_sheet(pictures))}, lines)


def of_errors(name: str, window: str, errors: Mapping[str, float]) -> list[Finding]:
    """Our error against each peer's. Where there is noise and no window, theirs have one all the same: see the text."""
    noisy_ramp = window == "ramp" and "noise" in name
    ours = errors[f"{BLURRED if noisy_ramp else OURS} {window}"]
    return [
        Finding(
            "peers",
            f"{name}, {window}: error of {BLURRED if noisy_ramp else OURS}, in that of {peer}",
            ours / errors[f"{peer} {window}"],
            "",
            at_most=1,
        )
        for peer in ("algotom-fbp", "algotom-dfi")
    ]


def _ducc0(folder: Path, raw: Path, phantom: Phantom, with_finufft: Floats) -> Finding:
    """Its slices against those of finufft: it is installed where the peers are."""
    options = ("--rings", "none", "--center", str(phantom.axis_px), "--nufft", "ducc0")
    volume = reconstruct_there(raw, folder / "ducc0", *options)[list(_rows(phantom))]
    apart = float(np.sqrt(np.mean((volume - with_finufft) ** 2)) / np.ptp(with_finufft))
    return Finding("peers", "foam, ramp: ducc0 against finufft", apart, "of the range", at_most=1e-4)


_SCANS = (
    ("discs", DISCS, faults.nothing),
    ("foam", foam(), faults.nothing),
    ("foam, noise", foam(noisy=True), faults.nothing),
    ("foam, noise and rings", foam(noisy=True), faults.uneven_detector),
)

_ABOUT_PEERS = """The same raw file, the same given centre, the same window; root mean square errors within 0.97 of the
circle. Two truths: the mean over each pixel's area, as the detector's pixels average too, and the value in its middle.
Limits are for the first. Against rings ours uses its default, and algotom all of its corrections (`remove_all_stripe`).

Filtered back-projection interpolates linearly between detector columns: that is one more low-pass, sinc^2, over its
window. Where there is noise and the ramp has no window, its slices are less noisy for this, not more exact; there, the
limit is for ours with the same low-pass.

Of line integrals at points, which no detector measures, this low-pass makes filtered back-projection with the plain
ramp the nearer one: 0.0085 against 0.0107 for the discs, whose edges are steps."""


def _rows(phantom: Phantom) -> range:
    return range(0, phantom.rows, max(1, phantom.rows // 6))


def _all_slices(folder: Path, raw: Path, phantom: Phantom, *, rings: bool) -> dict[str, Floats]:
    rows = list(_rows(phantom))
    found: dict[str, Floats] = {}
    correction = () if rings else ("--rings", "none")
    for window in WINDOWS:
        stack = folder / f"{raw.stem}-{window}"
        volume = reconstruct(raw, stack, *correction, "--filter", window, "--center", str(phantom.axis_px)).volume
        found[f"{OURS} {window}"] = volume[rows]
        found[f"{BLURRED} {window}"] = measures.interpolated(volume[rows])
    options = ("--windows", ",".join(WINDOWS), *(("--rings",) if rings else ()))
    return {**found, **peer_slices(raw, phantom.axis_px, rows, *options)}


def _tile(scan: str, program: str, volume: Floats) -> Tile:
    image = volume[len(volume) // 2]
    quarter = slice(image.shape[0] // 4, image.shape[0] // 4 + 128)
    limits = picture.contrast_limits(volume.astype(np.float32))
    return Tile(f"{scan}: {program}", picture.grey(image[quarter, quarter].astype(np.float32), limits))


def _sheet(tiles: Sequence[Tile]) -> npt.NDArray[np.uint8]:
    return contact_sheet([tiles[start : start + 3] for start in range(0, len(tiles), 3)], "Hann for all")
