"""Is a scan any good? What a first look tells, one named finding for each thing that can be wrong with it.

Belongs here: the findings, in plain words.
Does not: reading the scan (tomography.look), measuring it (tomography.measures), or thresholds (tomography.criteria).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tomography import measures
from tomography.center import FARTHEST_PAIR_DEG
from tomography.criteria import THRESHOLDS
from tomography.look import Look

Severity = Literal["warning", "error"]


@dataclass(frozen=True)
class Finding:
    """What one check has found. ``said`` is for people, also where nothing is wrong."""

    said: str
    wrong: Severity | None = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the results of a preview."""
        return {"passed": self.wrong is None, "severity": self.wrong or "warning", "said": self.said}


def judge(look: Look) -> dict[str, Finding]:
    """Everything that was found, by the names of ``criteria.CHECKS`` and in their order."""
    return {name: judge(look) for name, judge in _JUDGES.items()}


def _whole(look: Look) -> Finding:
    missing = look.inspection.missing
    projections = f"{look.inspection.projections} projections, all there"
    return Finding("; ".join(missing), "error") if missing else Finding(projections)


def _flats_and_darks(look: Look) -> Finding:
    counts = {"flat": len(look.scan.white), "dark": len(look.scan.dark)}
    seen = " and ".join(f"{number} {what} fields" for what, number in counts.items())
    if min(counts.values()) == 0:
        return Finding(f"{seen}: nothing can be normalised by them", "error")
    if min(counts.values()) < THRESHOLDS.fewest_fields:
        return Finding(f"{seen}: fewer than {THRESHOLDS.fewest_fields}, their noise is seen in every slice", "warning")
    return Finding(seen)


def _exposure(look: Look) -> Finding:
    frames = {"flat fields": look.flats, **{f"projection {i + 1}": frame for i, frame in look.projections.items()}}
    shares = {name: measures.saturated_share(frame) for name, frame in frames.items()}
    worst = max(shares, key=lambda name: shares[name])
    said = f"{shares[worst]:.1%} of the pixels of {worst} are at the detector's largest value"
    if shares[worst] > THRESHOLDS.saturated_share:
        return Finding(f"saturated: {said}; what is there cannot be measured", "warning")
    return Finding("no saturated pixels" if shares[worst] == 0 else said)


def _beam(look: Look) -> Finding:
    light = measures.light(look.raw)
    if light is None:
        return Finding("not judged: without flat fields nothing is known of the beam")
    closed = measures.without_light(light, THRESHOLDS.no_light)
    total = len(light.per_angle)
    if closed.any():
        return Finding(
            f"{int(closed.sum())} of {total} projections got no light ({measures.ranges(closed)}): the shutter was "
            "closed, or the beam was away",
            "error",
        )
    step = measures.largest_step(light)
    if step.size > THRESHOLDS.beam_step:
        return Finding(f"the light changes by {step.size:.0%} at projection {step.angle + 1} of {total}", "warning")
    drift = measures.drift(light, look.apart_deg)
    if drift is not None and abs(drift) > THRESHOLDS.beam_drift:
        return Finding(f"opposite projections differ in light by {abs(drift):.0%}", "warning")
    if light.brightest > 1 + THRESHOLDS.brighter_than_flats:
        return Finding(
            f"projections are up to {light.brightest:.2f} times as bright as the flat fields: these are of another "
            "beam or exposure",
            "warning",
        )
    return Finding(f"steady: it changes by at most {step.size:.1%} from one projection to the next")


def _angles(look: Look) -> Finding:
    recorded, projections = look.scan.contents.turn, look.scan.contents.projections.shape[0]
    if recorded.unknown:
        return Finding("the angles are unknown: neither theta nor a step or a range was recorded", "error")
    if recorded.theta_deg is not None and recorded.theta_deg.size != projections:
        return Finding(
            f"{recorded.theta_deg.size} angles for {projections} projections: which belongs to which is unknown",
            "error",
        )
    theta = look.scan.theta_deg
    if measures.are_radians(theta):
        return Finding(f"the angles end at {theta.max():.3f}: these are radians, not degrees", "error")
    wrong = measures.wrong_angles(theta, recorded, THRESHOLDS.uneven_step, THRESHOLDS.angle_error_deg)
    if wrong:
        return Finding("; ".join(wrong), "warning")
    return Finding(f"{len(theta)} angles from {theta.min():g} to {theta.max():g} degrees")


def _opposite(look: Look) -> Finding:
    if abs(look.apart_deg - 180) > FARTHEST_PAIR_DEG:
        return Finding(
            f"not judged: no two projections are 180 degrees apart (nearest: {look.apart_deg:.1f}), so neither the "
            "centre nor motion can be told from them",
            "warning",
        )
    likeness = look.center.likeness
    pair = f"projections {look.first + 1} and {look.opposite + 1}"
    if likeness is None:
        return Finding(f"not judged: nothing is to be seen in {pair}")
    if likeness < THRESHOLDS.likeness:
        return Finding(
            f"{pair} are opposite, and are not mirror images (correlation {likeness:.2f}): the sample has moved, or "
            "the angles are not what was recorded",
            "warning",
        )
    return Finding(f"{pair} are mirror images (correlation {likeness:.3f})")


def _center(look: Look) -> Finding:
    center = look.center
    if center.likeness is None or abs(look.apart_deg - 180) > FARTHEST_PAIR_DEG:
        return Finding(f"a guess: {center.center_px:.1f} px; nothing could be compared", "warning")
    spread = center.spread_px or 0.0
    if spread > THRESHOLDS.center_spread_px:
        return Finding(
            f"unsure: {center.center_px:.1f} px, but rows disagree by {spread:.1f} px; look at the pictures beside it",
            "warning",
        )
    return Finding(f"{center.center_px:.2f} px, rows agree within {spread:.2f} px")


def _field_of_view(look: Look) -> Finding:
    share = left, right = _outside(look)
    if measures.is_offset_scan(look.scan, look.center.center_px) and min(share) <= THRESHOLDS.outside_share:
        return Finding("one side is outside the field, as in a full turn about an axis at the edge")
    if max(share) > THRESHOLDS.outside_share:
        where = " and ".join(
            side for side, part in (("left", left), ("right", right)) if part > THRESHOLDS.outside_share
        )
        return Finding(
            f"the sample is outside the field on the {where} in {max(share):.0%} of the projections: values are "
            "right up to an offset, and bright at the rim",
            "warning",
        )
    return Finding("the sample is inside")


def _motion(look: Look) -> Finding:
    if max(_outside(look)) > THRESHOLDS.outside_share:
        return Finding("not judged: the sample is not all inside the field")
    shift = measures.vertical_shift(look)
    if shift is not None and abs(shift) > THRESHOLDS.vertical_shift_px:
        return Finding(f"opposite projections are shifted by {abs(shift):.0f} px along the axis", "warning")
    lit = _lit(look)
    wandering = measures.wandering(look.sinograms[:, lit], look.scan.theta_deg[lit])
    if wandering is None:
        return Finding("not judged: too little absorbs")
    seen = f"the sample's centre of mass stays within {wandering.largest_px:.1f} px of a turning body's path"
    if wandering.largest_px > max(THRESHOLDS.motion_px, THRESHOLDS.motion_over_noise * wandering.noise_px):
        most = int(np.flatnonzero(lit)[wandering.angle]) + 1
        return Finding(
            f"the sample has moved: its centre of mass leaves a turning body's path by {wandering.largest_px:.1f} px, "
            f"most at projection {most}",
            "warning",
        )
    return Finding(seen)


def _lit(look: Look) -> npt.NDArray[np.bool_]:
    """The projections with about as much light as the others, [angle]: of the rest neither edges nor mass are known."""
    light = measures.light(look.raw)
    if light is None:
        return np.ones(look.scan.angles, bool)
    return ~measures.without_light(light, 1 - THRESHOLDS.beam_step)


def _outside(look: Look) -> tuple[float, float]:
    lit = _lit(look)
    return measures.outside_share(look.sinograms[:, lit], THRESHOLDS.outside_level) if lit.any() else (0.0, 0.0)


def _detector(look: Look) -> Finding:
    if not len(look.flats):
        return Finding("not judged: there are no flat fields")
    dead = measures.dead_lines(look.flats, look.darks, THRESHOLDS.dark_line)
    lines = [(name, dead_ones) for name, dead_ones in (("row", dead.rows), ("column", dead.columns)) if dead_ones]
    if lines:
        said = " and ".join(f"{len(dead_ones)} dead {name}s (first: {dead_ones[0]})" for name, dead_ones in lines)
        return Finding(f"{said}: rings or missing slices", "warning")
    if dead.share > THRESHOLDS.dead_share:
        return Finding(f"{dead.share:.1%} of the pixels see no light in the flat fields", "warning")
    return Finding(f"no dead rows or columns; {dead.share:.2%} of the pixels see no light")


def _metadata(look: Look) -> Finding:
    missing = measures.missing_metadata(look.scan)
    if missing:
        return Finding(f"{'; '.join(missing)}", "warning")
    return Finding(f"pixels of {look.scan.pixel_size_um:.3g} um, {look.scan.energy_ev:.0f} eV")


_JUDGES: Mapping[str, Callable[[Look], Finding]] = {
    "whole": _whole,
    "flats_and_darks": _flats_and_darks,
    "exposure": _exposure,
    "beam": _beam,
    "angles": _angles,
    "opposite_projections": _opposite,
    "center": _center,
    "field_of_view": _field_of_view,
    "motion": _motion,
    "detector": _detector,
    "metadata": _metadata,
}
