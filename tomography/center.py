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

from tomography.errors import CenterError
from tomography.fourier import check_full_turn, slice_width
from tomography.normalise import absorption
from tomography.opposite import Match, match, match_overlap, opposite_pair, opposite_pairs
from tomography.prepared import Prepared
from tomography.scan import Scan
from tomography.settings import Settings

Doubles = npt.NDArray[np.float64]

BANDS = 15
STITCHED_BANDS = 5
ROWS_A_BAND = 8
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
    found = _found(Prepared.of(scan, settings))
    if settings.strict_center and found.flags:
        raise CenterError(
            f"{str(scan.path)!r}: the centre of rotation is in doubt ({'; '.join(found.flags)}; best estimate "
            f"{found.center_px:.2f}). Give it with --center, or accept the estimate without --strict-center."
        )
    return found


def _found(prepared: Prepared) -> Center:
    if prepared.settings.stitch_360:
        check_full_turn(prepared.theta_deg)
        found = _overlapping(prepared)
        slice_width(prepared.scan.columns, found.center_px, prepared.settings)
        return found
    return _opposite(prepared)


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


def _agreed(matches: Sequence[Match], found_by: str, flags: list[str]) -> Center:
    """What most bands say, flagged where they do not agree."""
    good = [match for match in matches if match.correlation >= GOOD_MATCH]
    if not good:
        flags.append("opposite projections do not resemble each other in any row")
    centers = np.array([match.center_px for match in good or matches])
    low, middle, high = np.percentile(centers, [25, 50, 75])
    spread = float(high - low) / 2
    if spread > AGREEMENT_PX:
        flags.append(f"rows disagree about the centre of rotation (by {spread:.1f} px)")
    seen = [match.likeness for match in matches if match.likeness is not None]
    return Center(
        center_px=round(float(middle), 3),
        found_by=found_by,
        spread_px=round(spread, 3),
        likeness=round(float(np.median(seen)), 4) if seen else None,
        flags=tuple(flags),
    )


def _bands(rows: int, most: int) -> list[tuple[int, int]]:
    height = min(ROWS_A_BAND, rows)
    starts = np.unique(np.linspace(0, rows - height, min(most, max(1, rows // height))).astype(int))
    return [(int(start), int(start) + height) for start in starts]


def _profiles(prepared: Prepared, angle: int, bands: Sequence[tuple[int, int]]) -> Doubles:
    """The profiles of all bands [band, column]; of a frame that is compressed whole, from one read."""
    if not prepared.scan.is_decompressed_for(ROWS_A_BAND):
        return np.stack([_profile(prepared, angle, start, stop) for start, stop in bands])
    frame = absorption(prepared.read_projection(angle, 0, prepared.scan.rows), prepared.settings)[:, 0, :]
    return np.stack([frame[start:stop].mean(axis=0, dtype=np.float64) for start, stop in bands])


def _profile(prepared: Prepared, angle: int, start: int, stop: int) -> Doubles:
    raw = prepared.read_projection(angle, start, stop)
    profile: Doubles = absorption(raw, prepared.settings)[:, 0, :].mean(axis=0, dtype=np.float64)
    return profile
