"""By what a scan is judged at its first look: the checks by name, and the threshold of each.

Belongs here: names, what they mean, numbers. Imports the standard library alone: the asset graph shows them too.
Does not: judging (tomography.quality).
"""

from collections.abc import Mapping
from dataclasses import dataclass

CHECKS: Mapping[str, str] = {
    "whole": "The scan was finished: every projection is there, and none is empty.",
    "flats_and_darks": "There are enough flat and dark fields.",
    "exposure": "No pixels at the detector's largest value.",
    "beam": "The beam was there, and steady, in every projection, and as bright as in the flat fields.",
    "angles": "As many angles as projections, in degrees, evenly in one direction, over the range that was planned.",
    "opposite_projections": "Projections 180 degrees apart are mirror images.",
    "center": "All rows agree about the centre of rotation.",
    "field_of_view": "The sample is inside the field in every projection.",
    "motion": "The sample has turned, and not moved.",
    "detector": "No dead rows or columns.",
    "metadata": "Pixel size and photon energy were recorded.",
}
"""Every check by its name, in the order in which they are shown."""


@dataclass(frozen=True)
class Thresholds:
    """Beyond these something is said. docs/first-look.md has them as a table, with what they were chosen by."""

    fewest_fields: int = 5
    """Flat fields, and dark ones. Fewer carry their own noise into every projection."""
    saturated_share: float = 0.001
    """Of the pixels of a frame, at the detector's largest value."""
    no_light: float = 0.1
    """Of the light of the brightest projections: less, and the shutter was closed."""
    beam_step: float = 0.2
    """The change of light from one projection to the next, as a part of it."""
    beam_drift: float = 0.2
    """The change of light from the beginning of half a turn to its end, as a part of it."""
    brighter_than_flats: float = 0.25
    """How much brighter projections are than the flat fields, as a part of these."""
    likeness: float = 0.95
    """The correlation of opposite projections, as a part of what their noise allows."""
    center_spread_px: float = 1.0
    """Half the range in which the centres of half of the bands lie."""
    vertical_shift_px: float = 2.0
    """Between opposite projections."""
    angle_error_deg: float = 1.0
    """Of the whole range, against what was planned."""
    uneven_step: float = 5.0
    """A step between neighbouring angles, in mean steps."""
    outside_level: float = 0.1
    """The absorption at the edge of the field, of the largest in its row."""
    outside_share: float = 0.05
    """Of the projections, with the sample at the edge of the field."""
    motion_px: float = 2.0
    """How far the sample's centre of mass leaves the path of a turning body."""
    motion_over_noise: float = 6.0
    """The same, in standard deviations of its noise."""
    dark_line: float = 0.2
    """The light of a dead row or column, of its neighbours'."""
    dead_share: float = 0.01
    """Of the pixels, without light in the flat fields."""


THRESHOLDS = Thresholds()
