"""Every step on and off: what it does to a clean scan, and what it leaves of the fault that it is for.

Belongs here: the table of steps, with limits. Does not: the faults (accuracy.faults), or the steps (tomography).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from accuracy import faults
from accuracy.chapter import Chapter
from accuracy.findings import Finding
from accuracy.measures import inside
from accuracy.phantoms import foam, scan_of
from accuracy.pictures import small_png
from accuracy.program import reconstruct
from tomography import picture
from tomography.contact_sheet import Tile, contact_sheet
from tomography.phantom import Phantom

Floats = npt.NDArray[np.float32]

PART = "steps"
_CROP = slice(48, 208)


@dataclass(frozen=True)
class Step:
    """A step, its fault, and how much of it may be left. ``harm`` is how much it may change a clean scan, as an error
    in parts of the range, and what is left of the fault is measured from there; None: on a clean scan it is no use, and
    what is left is measured from the slices without fault and step.
    """

    name: str
    options: tuple[str, ...]
    fault: Callable[[h5py.File], None]
    left: float
    harm: float | None


STEPS = (
    Step("rings: mean-sinogram", ("--rings", "mean-sinogram"), faults.uneven_detector, 0.4, 0.0065),
    Step("rings: fourier-wavelet", ("--rings", "fourier-wavelet"), faults.uneven_detector, 0.6, 0.15),
    Step("rings: titarenko", ("--rings", "titarenko"), faults.uneven_detector, 0.6, 0.02),
    Step("rings: smoothing", ("--rings", "smoothing"), faults.uneven_detector, 0.6, 0.06),
    Step("rings: vo", ("--rings", "vo"), faults.uneven_detector, 0.6, 0.2),
    Step("rings-polar", ("--rings-polar", "61"), faults.uneven_detector, 0.8, 0.2),
    Step("zinger-1d", ("--zinger-1d", "0.3"), faults.zingers, 0.1, 0.005),
    Step("zinger-2d", ("--zinger-2d", "0.3"), faults.zingers, 0.1, 0.005),
    Step("flats: interpolated", ("--flats", "interpolated"), faults.fading_beam, 0.05, 0.0005),
    Step("flats: nearest", ("--flats", "nearest"), faults.stepping_beam, 0.05, 0.0005),
    Step("minimum-transmission", ("--minimum-transmission", "0.1"), faults.dropouts, 0.6, 0.0005),
    Step("beam-hardening", ("--beam-hardening", "1,0.1"), faults.hardened_beam, 0.05, None),
    Step("phase: paganin", ("--phase", "paganin", "--phase-alpha", "0.05"), faults.phase_fringes(0.05), 0.1, None),
    Step(
        "phase: legacy", ("--phase", "legacy", "--phase-alpha", "0.05"), faults.fringes_after_logarithm(0.05), 0.1, None
    ),
    Step("angle-offset", ("--angle-offset", "-10"), faults.turned, 0.01, None),
    Step("ignored-projections", ("--ignored-projections", "40-42,200,300"), faults.blank_projections, 0.1, 0.005),
    Step("tilt", ("--tilt", "1"), faults.tilted, 0.3, None),
    Step("drift", ("--drift-across", "3.6", "--drift-down", "2"), faults.drifting, 0.3, None),
    Step("lens-distortion", ("--lens-distortion", "--lens-factors", "1,1e-4"), faults.distorted, 0.3, None),
    Step("filter: hann", ("--filter", "hann"), faults.noise, 0.6, None),
    Step("filter: butterworth", ("--filter", "butterworth"), faults.noise, 0.6, None),
)


@dataclass(frozen=True)
class _Tried:
    step: Step
    fault: float
    left: float
    harm: float
    slices: tuple[Floats, Floats]

    @property
    def findings(self) -> list[Finding]:
        of_fault = Finding(PART, f"{self.step.name}: left of its fault", self.left / self.fault, "", self.step.left)
        changed = Finding(PART, f"{self.step.name}: change of a clean scan", self.harm, "", self.step.harm)
        return [of_fault, changed]


SCAN = foam(rows=24, pores=30)


def chapter(folder: Path, steps: Sequence[Step] = STEPS, phantom: Phantom = SCAN) -> Chapter:
    """Four volumes of each step: with and without it, of a clean scan and of one with its fault."""
    always = ("--center", str(phantom.axis_px))
    clean = scan_of(phantom, folder / "clean.h5")
    truth = _volume(clean, folder / "clean", *always, "--rings", "none")
    tried = []
    for number, step in enumerate(steps):
        faulty = folder / f"{number}.h5"
        faulty.write_bytes(clean.read_bytes())
        with h5py.File(faulty, "r+") as file:
            step.fault(file)
        off = ("--rings", "none")
        on = step.options if "--rings" in step.options else (*off, *step.options)
        without = _volume(faulty, folder / f"{number}-off", *always, *off)
        mended = _volume(faulty, folder / f"{number}-on", *always, *on)
        harmed = _volume(clean, folder / f"{number}-clean", *always, *on)
        middle = len(truth) // 2
        tried.append(
            _Tried(
                step,
                _apart(without, truth),
                _apart(mended, truth if step.harm is None else harmed),
                _apart(harmed, truth),
                (without[middle], mended[middle]),
            )
        )
    return Chapter(
        "Every step on and off",
        "Foam of 256 pixels and 403 angles. *Fault*: how far the fault alone moves the slices, as a root mean square "
        "in parts of the range; *left*: what the step leaves of it; *clean*: how far it moves a scan without fault. "
        "Foam within a cylinder about the axis is the hardest sample for corrections of rings: all of algotom's "
        "(`remove_all_stripe`) move the clean one by 0.197. The limit of the default, `mean-sinogram`, was 0.005 until "
        "the pores were more; it moves the clean foam by 0.0058.",
        [finding for one in tried for finding in one.findings],
        {"steps.png": small_png(_sheet(tried, truth[len(truth) // 2]))},
        _table(tried),
    )


def _volume(raw: Path, stack: Path, *options: str) -> Floats:
    """Without the rows at its ends, into which a step that moves rows brings what was never measured."""
    volume = reconstruct(raw, stack, *options).volume
    return volume[len(volume) // 4 : -(len(volume) // 4)]


def _apart(volume: Floats, truth: Floats) -> float:
    seen = inside(truth.shape[-1])
    return float(np.sqrt(np.mean((volume - truth)[:, seen] ** 2)) / np.ptp(truth[:, seen]))


def _table(tried: Sequence[_Tried]) -> list[str]:
    lines = ["| step | fault | left | limit | | clean | limit | |", "|---|---|---|---|---|---|---|---|"]
    for one in tried:
        left, harm = one.findings
        remains = f"{one.left:.4f} ({left.measured:.0%}) | {one.step.left:.0%} | {left.verdict}"
        changed = f"{one.harm:.4f} | {'' if one.step.harm is None else one.step.harm} | {harm.verdict}"
        lines.append(f"| {one.step.name} | {one.fault:.4f} | {remains} | {changed} |")
    return lines


def _sheet(tried: Sequence[_Tried], clean: Floats) -> npt.NDArray[np.uint8]:
    limits = picture.contrast_limits(clean[_CROP, _CROP])
    pairs = [
        (f"{one.step.name}: {word}", image)
        for one in tried
        for word, image in zip(("off", "on"), one.slices, strict=True)
    ]
    tiles = [Tile(caption, picture.grey(image[_CROP, _CROP], limits)) for caption, image in pairs]
    return contact_sheet([tiles[start : start + 8] for start in range(0, len(tiles), 8)], "With its fault: off, on")
