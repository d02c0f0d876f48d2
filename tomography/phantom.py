"""A scan whose true answer is known: projections of ellipsoids and cylinders from their analytic line integrals.

Belongs here: the bodies, their exact projections and slices, and a raw file as beamline 8.3.2 would write it.
Does not: anything that reconstruction uses; the phantom must not share its mistakes.

Lengths are fractions of half the detector's width; heights are fractions of the rows, 0 at detector row 0.
x grows with the columns and y with the rows of a slice; the geometry is written down in tomography.fourier.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from tomography.errors import OutputError

Doubles = npt.NDArray[np.float64]

DARK_COUNTS = 100
FLAT_COUNTS = 30_000
FLAT_FRAMES = 10
DARK_FRAMES = 10
ABSORPTION_ACROSS = 2.0  # of a body of density 1 and the detector's width


@dataclass(frozen=True)
class Body:
    """An ellipsoid, or a cylinder along the axis of rotation where ``height`` is None."""

    x: float
    y: float
    half_length: float
    half_width: float
    turned_deg: float
    density: float
    z: float = 0.5
    height: float | None = None
    """Half the extent along the axis, in fractions of the rows."""

    def cross_section(self, z: Doubles) -> Doubles:
        """By how much the ellipse is smaller at the heights ``z`` than in the middle; 0 above and below the body."""
        if self.height is None:
            return np.ones_like(z)
        return np.sqrt(np.clip(1 - ((z - self.z) / self.height) ** 2, 0, None))


# Nothing here is symmetric, so that a picture which is mirrored, turned or upside down is seen to be.
BODIES = (
    Body(0.02, -0.03, 0.80, 0.72, 10, 0.5),
    Body(-0.05, 0.02, 0.66, 0.58, 35, 0.3, z=0.45, height=0.9),
    Body(0.38, -0.22, 0.16, 0.16, 0, 0.6, z=0.30, height=0.5),
    Body(-0.30, -0.30, 0.20, 0.07, 60, -0.4, z=0.60, height=0.7),
    Body(-0.18, 0.36, 0.09, 0.09, 0, 0.9),
    Body(0.15, 0.30, 0.24, 0.05, -20, 0.5, z=0.75, height=0.6),
)


@dataclass(frozen=True)
class Phantom:
    """The size and the set-up of a phantom scan."""

    rows: int = 256
    columns: int = 512
    angles: int = 361
    seed: int = 0
    noisy: bool = True
    center_px: float | None = None
    """Column of the rotation axis, 0 in the middle of the first column; None: a hundredth of the width off centre."""

    pixel_size_um: float = 0.65
    range_deg: float = 180.0
    bodies: tuple[Body, ...] = BODIES
    pixel_width: float = 0.0
    """Over which part of its column a detector pixel averages: 1 as real ones do, 0 for a line through its middle."""

    @property
    def axis_px(self) -> float:
        """Column of the rotation axis."""
        return (self.columns - 1) / 2 + self.columns / 100 if self.center_px is None else self.center_px

    @property
    def theta_deg(self) -> Doubles:
        """The angles, both ends of the range included."""
        return np.linspace(0, self.range_deg, self.angles)

    @property
    def density_per_px(self) -> float:
        """What a body of density 1 absorbs along one pixel."""
        return ABSORPTION_ACROSS / self.columns


def true_slice(phantom: Phantom, row: int) -> Doubles:
    """The absorption coefficient at the pixel centres of the slice of a detector row, [row, column], in 1/cm."""
    half = phantom.columns / 2
    position = (np.arange(phantom.columns) - (phantom.columns - 1) / 2) / half
    x, y = position[None, :], position[:, None]
    z = np.array([(row + 0.5) / phantom.rows])
    total = np.zeros((phantom.columns, phantom.columns))
    for body in phantom.bodies:
        scale = body.cross_section(z)[0]
        if scale == 0:
            continue
        turned = np.deg2rad(body.turned_deg)
        along = (x - body.x) * np.cos(turned) + (y - body.y) * np.sin(turned)
        beside = (y - body.y) * np.cos(turned) - (x - body.x) * np.sin(turned)
        inside = (along / body.half_length) ** 2 + (beside / body.half_width) ** 2 <= scale**2
        total += body.density * inside
    return total * phantom.density_per_px / (phantom.pixel_size_um * 1e-4)


def true_projection(phantom: Phantom, angle_deg: float) -> Doubles:
    """The exact line integrals through the pixel centres, or their means over pixels, [row, column], without unit.

    The chord of an ellipse with semi-axes a and b, seen at an angle, is 2 a b sqrt(A^2 - t^2) / A^2 with
    A^2 = a^2 cos^2 + b^2 sin^2 (Kak and Slaney, 1988, eq. 3.4).
    """
    half = phantom.columns / 2
    theta = np.deg2rad(angle_deg)
    t = ((np.arange(phantom.columns) - phantom.axis_px) / half)[None, :]
    z = ((np.arange(phantom.rows) + 0.5) / phantom.rows)[:, None]
    total = np.zeros((phantom.rows, phantom.columns))
    for body in phantom.bodies:
        turned = theta - np.deg2rad(body.turned_deg)
        reach2 = (body.half_length * np.cos(turned)) ** 2 + (body.half_width * np.sin(turned)) ** 2
        offset = t - (body.x * np.cos(theta) + body.y * np.sin(theta))
        half_chord = _half_chords(offset, np.sqrt(reach2) * body.cross_section(z), phantom.pixel_width / half)
        total += 2 * body.density * body.half_length * body.half_width / reach2 * half_chord
    return total * half * phantom.density_per_px


def _half_chords(offset: Doubles, reach: Doubles, width: float) -> Doubles:
    """sqrt(reach^2 - offset^2), 0 beyond; its mean over a ``width`` about each offset, from its antiderivative."""
    if width == 0:
        chords: Doubles = np.sqrt(np.clip(reach**2 - offset**2, 0, None))
        return chords

    def up_to(t: Doubles) -> Doubles:
        within = np.clip(t, -reach, reach)
        share = np.divide(within, reach, out=np.zeros_like(within), where=reach > 0)
        area: Doubles = (within * np.sqrt(np.clip(reach**2 - within**2, 0, None)) + reach**2 * np.arcsin(share)) / 2
        return area

    return (up_to(offset + width / 2) - up_to(offset - width / 2)) / width


def write_phantom(path: Path, phantom: Phantom, on_angle: Callable[[int, int], None]) -> None:
    """Write the scan at ``path``, whole or not at all; ``on_angle`` is told (done, total).

    Raises OutputError where ``path`` holds something else. The same phantom gives the same bytes.
    """
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{str(path.parent)!r} is not a directory: make it first, or check the output's name.")
    if path.exists() and not path.is_file():
        raise OutputError(f"{str(path)!r} is not a file. Choose another output.")
    partial = path.with_name(f".{os.getpid()}.phantom.partial")
    try:
        with h5py.File(partial, "w") as file:
            _write_metadata(file, phantom, path.name)
            _write_frames(file, phantom, on_angle)
        if path.exists() and path.read_bytes() != partial.read_bytes():
            raise OutputError(
                f"{str(path)!r} exists and is not this phantom. A scan is never overwritten: choose another."
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_frames(file: h5py.File, phantom: Phantom, on_angle: Callable[[int, int], None]) -> None:
    frame = (phantom.rows, phantom.columns)
    fixed = np.random.default_rng([phantom.seed, 0])
    dark = DARK_COUNTS + 5 * fixed.standard_normal(frame)
    across = np.linspace(-1, 1, phantom.columns)[None, :]
    down = np.linspace(-1, 1, phantom.rows)[:, None]
    beam = np.exp(-0.5 * (0.8 * across - 0.1) ** 2 - 0.5 * (0.9 * down + 0.05) ** 2)
    light = FLAT_COUNTS * beam * (1 + 0.02 * fixed.standard_normal(frame))

    def counts(number: int, transmission: Doubles | float) -> npt.NDArray[np.uint16]:
        expected = dark + light * transmission
        if phantom.noisy:
            noise = np.random.default_rng([phantom.seed, number]).standard_normal(frame, np.float32)
            expected = expected + noise * np.sqrt(np.maximum(expected, 0))
        return np.clip(np.rint(expected), 0, 65535).astype(np.uint16)

    exchange = file.require_group("exchange")
    exchange["theta"] = phantom.theta_deg
    darks = exchange.create_dataset("data_dark", (DARK_FRAMES, *frame), np.uint16)
    whites = exchange.create_dataset("data_white", (FLAT_FRAMES, *frame), np.uint16)
    data = exchange.create_dataset("data", (phantom.angles, *frame), np.uint16)
    numbers = iter(range(1, 1 + DARK_FRAMES + FLAT_FRAMES + phantom.angles))
    for i in range(DARK_FRAMES):
        darks[i] = counts(next(numbers), 0.0)
    for i in range(FLAT_FRAMES):
        whites[i] = counts(next(numbers), 1.0)
    for i, angle_deg in enumerate(phantom.theta_deg):
        data[i] = counts(next(numbers), np.exp(-true_projection(phantom, float(angle_deg))))
        on_angle(i + 1, phantom.angles)


def _write_metadata(file: h5py.File, phantom: Phantom, file_name: str) -> None:
    """The paths and units of the acquisition program. No person's name, and no time: equal phantoms are equal files."""
    values: dict[str, str | int | float] = {
        "implements": "exchange:measurement:process",
        "measurement/instrument/instrument_name": "8.3.2 phantom",
        "measurement/instrument/detector/dimension_x": phantom.columns,
        "measurement/instrument/detector/dimension_y": phantom.rows,
        "measurement/instrument/detector/pixel_size": phantom.pixel_size_um / 1000,
        "measurement/instrument/camera_motor_stack/setup/camera_distance": 50.0,
        "measurement/instrument/monochromator/energy": 25_000.0,
        "measurement/sample/file_name": file_name.encode("utf-8", "backslashreplace").decode(),
        "measurement/sample/experiment/proposal": "BLS-00000",
        "measurement/sample/experiment/pi": "Unknown",
        "measurement/sample/experiment/beamline": "bl832",
        "measurement/sample/experimenter/email": "phantom@example.com",
        "process/acquisition/rotation/num_angles": phantom.angles,
        "process/acquisition/rotation/range": phantom.range_deg,
        "process/acquisition/rotation/rotation_start": 0.0,
        "process/acquisition/rotation/rotation_step": phantom.range_deg / (phantom.angles - 1),
        "process/acquisition/flat_fields/i0cycle": 0,
        "process/acquisition/flat_fields/num_flat_fields": FLAT_FRAMES,
        "process/acquisition/dark_fields/num_dark_fields": DARK_FRAMES,
    }
    for name, value in values.items():
        file[name] = value
