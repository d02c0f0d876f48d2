"""The phantoms that the proof uses, their scans and their truth.

Belongs here: discs of known values, foam, and the beamline's asymmetric phantom at the sizes that are measured.
Does not: line integrals and files (tomography.phantom).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tomography.phantom import Body, Phantom, true_slice, write_phantom

Floats = npt.NDArray[np.float64]

FINER = 3
"""The truth of a pixel is the mean over so many times so many points."""

_DISC = Body(0.01, -0.02, 0.85, 0.85, 0, 0.4)
_INSERTS = tuple(
    Body(0.52 * np.cos(np.deg2rad(51 * number)), 0.52 * np.sin(np.deg2rad(51 * number)), radius, radius, 0, density)
    for number, (radius, density) in enumerate(
        ((0.18, 0.6), (0.15, -0.4), (0.13, 0.3), (0.10, -0.2), (0.08, 0.6), (0.05, 0.6), (0.03, 0.6))
    )
)

DISCS = Phantom(rows=8, columns=512, angles=806, noisy=False, center_px=259.3, pixel_width=1, bodies=(_DISC, *_INSERTS))
ASYMMETRIC = Phantom(rows=48, columns=256, angles=403, noisy=False, center_px=124.7, pixel_width=1)


def foam(rows: int = 48, columns: int = 256, pores: int = 60, *, noisy: bool = False) -> Phantom:
    """A cylinder with ellipsoidal pores that do not touch."""
    chance = np.random.default_rng(8)
    height_px = columns / 2
    made: list[Body] = []
    while len(made) < pores:
        reach, turn = 0.7 * np.sqrt(chance.random()), chance.random() * 2 * np.pi
        radius, long = chance.uniform(0.03, 0.11), chance.uniform(1, 1.4)
        pore = Body(
            reach * np.cos(turn),
            reach * np.sin(turn),
            radius * long,
            radius,
            float(chance.uniform(0, 180)),
            -1.0,
            z=float(chance.random()),
            height=radius * height_px / rows,
        )
        if all(_apart(pore, other, rows, height_px) for other in made):
            made.append(pore)
    return Phantom(
        rows=rows,
        columns=columns,
        angles=403,
        noisy=noisy,
        center_px=columns / 2 + 1.2,
        pixel_width=1,
        bodies=(Body(0.0, 0.0, 0.88, 0.86, 0, 1.0), *made),
    )


def _apart(one: Body, other: Body, rows: int, height_px: float) -> bool:
    along = (one.z - other.z) * rows / height_px
    distance = np.sqrt((one.x - other.x) ** 2 + (one.y - other.y) ** 2 + along**2)
    return bool(distance > one.half_length + other.half_length + 0.01)


def truth(phantom: Phantom, *, of_areas: bool = False) -> Floats:
    """The true volume in 1/cm, [z, y, x]: at the middle of each pixel of each slice, or the mean over its area."""
    finer = FINER if of_areas else 1
    fine = replace(phantom, columns=finer * phantom.columns, pixel_size_um=phantom.pixel_size_um / finer)
    size = phantom.columns
    slices = (true_slice(fine, row).reshape(size, finer, size, finer).mean(axis=(1, 3)) for row in range(phantom.rows))
    return np.stack(list(slices))


def scan_of(phantom: Phantom, path: Path) -> Path:
    """The raw file of a phantom."""
    write_phantom(path, phantom, lambda *_: None)
    return path
