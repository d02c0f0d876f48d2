"""The centre of rotation: the detector column on which the rotation axis falls.

Belongs here: which method finds it, on which rows, and saying how sure that is.
Does not: the methods (tomography.opposite, tomography.double_wedge, tomography.entropy), or reconstruction. Centres are
in pixels, 0 in the middle of the first column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tomography.double_wedge import axis_of, joined
from tomography.entropy import sharpest
from tomography.errors import CenterError, SettingsError
from tomography.fourier import Reconstructor, check_full_turn, geometry, slice_width
from tomography.normalise import absorption
from tomography.opposite import Match, match, match_overlap, opposite_pair, opposite_pairs
from tomography.prepared import Prepared
from tomography.resample import taken_at
from tomography.rings import correct_rings
from tomography.scan import Scan
from tomography.settings import CenterMethod, Filter, Settings

Doubles = npt.NDArray[np.float64]

BANDS = 15
STITCHED_BANDS = 5
ROWS_A_BAND = 8
WEDGE_ROWS = 3
ENTROPY_COLUMNS = 640
GOOD_MATCH = 0.8
AGREEMENT_PX = 1.0
FARTHEST_PAIR_DEG = 2.0


@dataclass(frozen=True)
class Center:
    """A centre of rotation and how it came about.

    ``spread_px`` is half the range in which half of the bands lie. ``likeness`` is the correlation of opposite
    projections, as a part of what their noise allows: the median of those bands in which there is something to see;
    None where there is none.
    """

    center_px: float
    found_by: str
    spread_px: float | None = None
    likeness: float | None = None
    flags: tuple[str, ...] = ()


def center_of(scan: Scan, settings: Settings) -> Center:
    """The given centre, or the one found.

    Raises CenterError where the given one is not on the detector, or where ``strict_center`` is set and the rows
    disagree or nothing can be compared; SettingsError as ``Prepared.of``.
    """
    if settings.center_px is not None:
        if settings.center_px > scan.columns - 1:
            raise CenterError(
                f"--center {settings.center_px:g} is not on the detector, whose columns are 0 to {scan.columns - 1}."
            )
        return Center(settings.center_px, "given")
    # Of which rows there are slices must not move the axis.
    found = _found(Prepared.of(scan, settings.model_copy(update={"rows": ""})))
    if settings.strict_center and found.flags:
        raise CenterError(
            f"{str(scan.path)!r}: the centre of rotation is in doubt ({'; '.join(found.flags)}; best estimate "
            f"{found.center_px:.2f}). Give it with --center, or accept the estimate without --strict-center."
        )
    return found


def _found(prepared: Prepared) -> Center:
    settings = prepared.settings
    if settings.stitch_360:
        if settings.center_method is not CenterMethod.PHASE_CORRELATION:
            raise SettingsError(
                f"--center-method {settings.center_method} finds no axis near an edge, as --stitch-360 has it: "
                "leave it out, and the overlap of opposite projections tells, or give --center."
            )
        check_full_turn(prepared.theta_deg)
        found = _overlapping(prepared)
        slice_width(prepared.scan.columns, found.center_px, settings)
        return found
    if settings.center_method is CenterMethod.VO:
        return _by_double_wedge(prepared)
    found = _opposite(prepared)
    return _by_entropy(prepared, found) if settings.center_method is CenterMethod.NELDER_MEAD else found


def _opposite(prepared: Prepared) -> Center:
    first, second, apart_deg = opposite_pair(prepared.theta_deg)
    flags: list[str] = []
    if abs(apart_deg - 180) > FARTHEST_PAIR_DEG:
        flags.append(f"no two projections are 180 degrees apart (nearest: {apart_deg:.2f})")
    matches = [
        match(*(_profile(prepared, angle, start, stop) for angle in (first, second)))
        for start, stop in _bands(prepared.scan.rows, BANDS)
    ]
    return _agreed(matches, "phase correlation of opposite projections", flags)


def _overlapping(prepared: Prepared) -> Center:
    """Of an offset scan: the axis about which opposite projections agree where they overlap."""
    pairs = opposite_pairs(prepared.theta_deg)
    bands = _bands(prepared.scan.rows, STITCHED_BANDS)
    profiles = {angle: _profiles(prepared, angle, bands) for angle in sorted({one for pair in pairs for one in pair})}
    direct, opposite = (np.stack([profiles[pair[i]] for pair in pairs], axis=1) for i in (0, 1))
    return _agreed(list(map(match_overlap, direct, opposite)), "overlap of opposite projections", [])


def _by_double_wedge(prepared: Prepared) -> Center:
    half = prepared.half_turn()
    sinograms = prepared.sinograms(_spread(prepared.scan.rows, WEDGE_ROWS))[:, half]
    if prepared.moved_px.any():
        columns = np.arange(prepared.scan.columns)
        for angle, moved in enumerate(prepared.moved_px[half]):
            sinograms[:, angle] = taken_at(sinograms[:, angle], columns + moved)
    centers = [axis_of(sinogram) for sinogram in sinograms]
    low, middle, high = np.percentile(centers, [25, 50, 75])
    spread = float(high - low) / 2
    flags = _disagreement(spread)
    if np.ptp(prepared.theta_deg) < 180 - FARTHEST_PAIR_DEG:
        flags.append("the angles are less than half a turn, which Vo's method needs")
    return Center(round(float(middle), 3), "Vo's method", round(spread, 3), flags=tuple(flags))


def _by_entropy(prepared: Prepared, first: Center) -> Center:
    """From a first estimate on. Two rows are one transform.

    Of full slices noise would decide: columns are joined, and the window is Butterworth's, whatever the result's is.
    """
    settings = prepared.settings.model_copy(update={"filter": Filter.BUTTERWORTH})
    size = -(-prepared.scan.columns // ENTROPY_COLUMNS)
    sinograms = correct_rings(prepared.sinograms(_spread(prepared.scan.rows, 2)), settings)
    lines = np.stack([joined(sinogram, 1, size) for sinogram in sinograms])
    center_px = (first.center_px - (size - 1) / 2) / size
    shared = geometry(prepared.theta_deg, lines.shape[2], center_px, settings, None, prepared.moved_px / size)
    make = Reconstructor(shared)
    moved = size * sharpest(lambda moved_px: make(lines, moved_px))
    return Center(round(first.center_px + moved, 3), "least entropy of slices", flags=first.flags)


def _spread(rows: int, count: int) -> list[int]:
    """So many rows, away from the ends."""
    return sorted({rows * (2 * i + 1) // (2 * count) for i in range(count)})


def _agreed(matches: Sequence[Match], found_by: str, flags: list[str]) -> Center:
    """What most bands say, flagged where they do not agree."""
    good = [match for match in matches if match.correlation >= GOOD_MATCH]
    if not good:
        flags.append("opposite projections do not resemble each other in any row")
    centers = np.array([match.center_px for match in good or matches])
    low, middle, high = np.percentile(centers, [25, 50, 75])
    spread = float(high - low) / 2
    flags += _disagreement(spread)
    seen = [match.likeness for match in matches if match.likeness is not None]
    return Center(
        center_px=round(float(middle), 3),
        found_by=found_by,
        spread_px=round(spread, 3),
        likeness=round(float(np.median(seen)), 4) if seen else None,
        flags=tuple(flags),
    )


def _disagreement(spread_px: float) -> list[str]:
    if spread_px <= AGREEMENT_PX:
        return []
    return [f"rows disagree about the centre of rotation (by {spread_px:.1f} px)"]


def _bands(rows: int, most: int) -> list[tuple[int, int]]:
    height = min(ROWS_A_BAND, rows)
    starts = np.unique(np.linspace(0, rows - height, min(most, max(1, rows // height))).astype(int))
    return [(int(start), int(start) + height) for start in starts]


def _profiles(prepared: Prepared, angle: int, bands: Sequence[tuple[int, int]]) -> Doubles:
    """The profiles of all bands [band, column]; of a frame that is compressed whole, from one read."""
    if not prepared.scan.is_decompressed_for(ROWS_A_BAND):
        return np.stack([_profile(prepared, angle, start, stop) for start, stop in bands])
    frame = absorption(prepared.read_projection(angle, 0, prepared.scan.rows), prepared.settings)[:, 0, :]
    profiles = np.stack([frame[start:stop].mean(axis=0, dtype=np.float64) for start, stop in bands])
    return taken_at(profiles, np.arange(profiles.shape[1]) + prepared.moved_px[angle])


def _profile(prepared: Prepared, angle: int, start: int, stop: int) -> Doubles:
    raw = prepared.read_projection(angle, start, stop)
    profile: Doubles = absorption(raw, prepared.settings)[:, 0, :].mean(axis=0, dtype=np.float64)
    return taken_at(profile, np.arange(profile.size) + prepared.moved_px[angle])
