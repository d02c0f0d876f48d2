"""How far a volume is from the truth: gain, background, place, orientation, error.

Belongs here: numbers from arrays. Does not: limits, or where volumes come from.

Volumes are [z, y, x]; ``truth`` is the mean over each voxel's area.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, label, maximum_filter, minimum_filter

Floats = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]

EDGE_PX = 3
"""So near to an edge a band-limited slice cannot follow the truth."""
RIM = 0.97
"""Of half the width: what lies beyond is the edge of the circle."""
BLUR_PX = 2.0
MARGIN_PX = 6
"""So near to the ends of a volume a blurred one is not compared."""


def value_range(truth: Floats) -> float:
    """From the lowest to the highest true value."""
    return float(truth.max() - truth.min())


def inside(columns: int, rim: float = RIM) -> Mask:
    """The pixels of a slice within a part of its circle, [y, x]."""
    position = (np.arange(columns) - (columns - 1) / 2) / (columns / 2)
    within: Mask = np.hypot(position[:, None], position) < rim
    return within


def smooth(truth: Floats) -> Mask:
    """Away from edges, within the circle."""
    size = (1, 2 * EDGE_PX + 1, 2 * EDGE_PX + 1)
    flat: Mask = maximum_filter(truth, size) - minimum_filter(truth, size) < 1e-6 * value_range(truth)
    return flat & inside(truth.shape[-1])


def gain(found: Floats, truth: Floats) -> float:
    """The factor between the two where the truth is smooth, by least squares."""
    flat = smooth(truth)
    return float(np.vdot(found[flat], truth[flat]) / np.vdot(truth[flat], truth[flat]))


def worst_body(found: Floats, truth: Floats, least_pixels: int = 60) -> float:
    """The largest error of the mean over one flat part of one slice, in parts of the range."""
    errors = [0.0]
    flat = smooth(truth)
    for image, true, even in zip(found, truth, flat, strict=True):
        parts, count = label(even)
        for part in range(1, count + 1):
            where = parts == part
            if np.count_nonzero(where) >= least_pixels:
                errors.append(abs(float(image[where].mean() - true[where].mean())))
    return max(errors) / value_range(truth)


def background(found: Floats, truth: Floats) -> float:
    """The mean where there is nothing, in parts of the range."""
    empty = smooth(truth) & (np.abs(truth) < 1e-6 * value_range(truth))
    return float(found[empty].mean() / value_range(truth))


def error(found: Floats, truth: Floats) -> float:
    """The root mean square error within the circle, in parts of the range."""
    difference = (found - truth)[:, inside(truth.shape[-1])]
    return float(np.sqrt(np.mean(difference**2)) / value_range(truth))


def shift_px(found: Floats, truth: Floats) -> tuple[float, float, float]:
    """How far what was found lies from the truth along z, y and x: the least squares of its slopes.

    Both are blurred, so that a shift of a part of a pixel changes values in proportion to it.
    """
    near, true = (gaussian_filter(volume.astype(np.float64), BLUR_PX) for volume in (found, truth))
    slopes = np.gradient(true)
    margin = (slice(MARGIN_PX, -MARGIN_PX),) * 3
    design = np.stack([-slope[margin].ravel() for slope in slopes], axis=1)
    moved, *_ = np.linalg.lstsq(design, (near - true)[margin].ravel(), rcond=None)
    z, y, x = (float(part) for part in moved)
    return z, y, x


def interpolated(found: Floats) -> Floats:
    """Slices with the low-pass of linear interpolation between detector columns: sinc^2 along every direction."""
    down, across = (np.fft.fftfreq(size) for size in found.shape[1:])
    response = np.sinc(np.hypot(down[:, None], across)) ** 2
    return np.asarray(np.fft.ifft2(np.fft.fft2(found) * response).real)


def next_orientation(found: Floats, truth: Floats) -> float:
    """The error in the best of the 15 other orientations of its slices, in units of that as it is.

    Turned by quarters, mirrored, and upside down.
    """
    as_it_is = error(found, truth)
    others = []
    for turns, mirrored, upside_down in itertools.product(range(4), (False, True), (False, True)):
        if (turns, mirrored, upside_down) != (0, False, False):
            turned = np.rot90(found, turns, axes=(1, 2))
            turned = turned[:, :, ::-1] if mirrored else turned
            others.append(error(turned[::-1] if upside_down else turned, truth))
    return min(others) / as_it_is
