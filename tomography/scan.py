"""A raw scan: Data Exchange HDF5 with the ALS metadata, read row by row.

Belongs here: where things are in the file, what makes a file unusable, angles and pixel size.
Does not: turning counts into absorption (tomography.normalise).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from tomography.errors import ScanError
from tomography.fields import Fields, Whites
from tomography.hdf5 import dataset, first_line, number, open_hdf5

DATA = "/exchange/data"
WHITE = "/exchange/data_white"
DARK = "/exchange/data_dark"
THETA = "/exchange/theta"
PIXEL_SIZE_MM = "/measurement/instrument/detector/pixel_size"
ROTATION = "/process/acquisition/rotation"
FLAT_FIELDS = "/process/acquisition/flat_fields"
ENERGY_EV = "/measurement/instrument/monochromator/energy"
DISTANCE_MM = "/measurement/instrument/camera_motor_stack/setup/camera_distance"

FEWEST_ANGLES = 3
FEWEST_COLUMNS = 8
PLAUSIBLE_PIXEL_MM = (1e-5, 1.0)  # 10 nm to 1 mm: outside, somebody typed another unit

Counts = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RawRows:
    """Some detector rows of a scan, as counted.

    ``counts`` [angle, row, column]; ``white`` and ``dark`` [row, column], means over their frames. ``whites``, where
    there are some, are the flat fields of each angle, and count instead of ``white``.
    """

    counts: Counts
    white: Floats
    dark: Floats
    whites: Whites | None = None

    def part(self, rows: slice) -> RawRows:
        """Some of these rows, without a copy."""
        whites = None if self.whites is None else self.whites.part(rows)
        return RawRows(self.counts[:, rows], self.white[rows], self.dark[rows], whites)

    def but(self, angles: npt.NDArray[np.intp]) -> RawRows:
        """The same rows at some angles only."""
        whites = None if self.whites is None else self.whites.but(angles)
        return RawRows(self.counts[angles], self.white, self.dark, whites)


@dataclass(frozen=True)
class Scan:
    """An open scan whose shapes have been checked.

    ``theta_deg`` [angle]; ``white`` and ``dark``: the flat and dark fields; ``flags``: doubts in plain words.
    """

    path: Path
    angles: int
    rows: int
    columns: int
    theta_deg: npt.NDArray[np.float64]
    pixel_size_um: float | None
    white: Fields
    dark: Fields
    flags: tuple[str, ...]
    file: h5py.File

    @property
    def unit(self) -> str:
        """The unit of reconstructed values: per centimetre, or per pixel where the pixel size is not known."""
        return "1/px" if self.pixel_size_um is None else "1/cm"

    @property
    def row_bytes(self) -> int:
        """The size of one detector row over all angles, as read."""
        return int(self.angles * self.columns * self.counts_dtype.itemsize)

    @property
    def counts_dtype(self) -> np.dtype[Any]:
        """The type of the counts."""
        dtype: np.dtype[Any] = self.file[DATA].dtype
        return dtype

    def is_decompressed_for(self, rows: int) -> bool:
        """Whether reading this many rows makes HDF5 decompress many more: compressed frame by frame, usually."""
        data = self.file[DATA]
        filtered = data.id.get_create_plist().get_nfilters() > 0
        return bool(filtered and data.chunks[1] > rows)

    def read_rows(self, start: int, stop: int) -> RawRows:
        """Every angle of the rows ``start`` to ``stop`` (exclusive). Raises ScanError where the file cannot be read."""
        return self._read(slice(0, self.angles), start, stop)

    def read_single_rows(self, rows: Sequence[int]) -> RawRows:
        """Every angle of some rows, one beside the other; in one pass where frames are compressed whole."""
        if not self.is_decompressed_for(1):
            parts = [self.read_rows(row, row + 1) for row in rows]
            joined = np.concatenate([part.counts for part in parts], axis=1)
        else:
            step = self.file[DATA].chunks[0]
            blocks = (slice(start, min(start + step, self.angles)) for start in range(0, self.angles, step))
            joined = np.concatenate([self._counts(block, slice(None))[:, list(rows)] for block in blocks])
        white, dark = (
            np.concatenate([fields.mean(row, row + 1) for row in rows]) for fields in (self.white, self.dark)
        )
        return RawRows(joined, white, dark)

    def read_projection(self, angle: int) -> Counts:
        """One whole projection, [row, column]."""
        projection: Counts = self._counts(slice(angle, angle + 1), slice(None))[0]
        return projection

    def read_projection_rows(self, angle: int, start: int, stop: int) -> RawRows:
        """One angle of the rows ``start`` to ``stop``; the counts keep an angle axis of length 1."""
        return self._read(slice(angle, angle + 1), start, stop)

    def _read(self, angles: slice, start: int, stop: int) -> RawRows:
        counts = self._counts(angles, slice(start, stop))
        return RawRows(counts, self.white.mean(start, stop), self.dark.mean(start, stop))

    def _counts(self, angles: slice, rows: slice) -> Counts:
        try:
            counts: Counts = self.file[DATA][angles, rows]
        except OSError as error:
            first, last, _ = rows.indices(self.rows)
            raise ScanError(
                f"{str(self.path)!r}: rows {first} to {last - 1} cannot be read ({first_line(error)}). "
                "The file is damaged: copy it again from where it was taken."
            ) from error
        return counts


@contextmanager
def open_scan(path: Path, *, to_look: bool = False) -> Iterator[Scan]:
    """Open and check a scan.

    ``to_look``: what a reconstruction cannot do without is flagged where it is missing, and something stands for it: a
    person wants to see just that scan. Raises ScanError where the file is missing, truncated, not HDF5, or its datasets
    do not fit together.
    """
    with open_hdf5(path) as file:
        yield _checked(path, file, to_look)


def _checked(path: Path, file: h5py.File, to_look: bool) -> Scan:
    data = dataset(path, file, DATA)
    angles, rows, columns = data.shape
    if angles < FEWEST_ANGLES:
        raise ScanError(
            f"{str(path)!r}: {DATA} holds {angles} projections; at least {FEWEST_ANGLES} are needed. "
            "The scan was stopped before it began to turn."
        )
    if rows == 0 or columns < FEWEST_COLUMNS:
        raise ScanError(f"{str(path)!r}: {DATA} has {rows} rows of {columns} columns: there is no picture in it.")
    flats, darks = (_fields(path, file, name, (rows, columns), to_look) for name in (WHITE, DARK))
    try:
        theta_deg, theta_flags = _theta(path, file, angles)
    except ScanError as error:
        if not to_look:
            raise
        theta_deg, theta_flags = np.linspace(0, 180, angles), (f"{error} Half a turn is assumed.",)
    pixel_size_um, pixel_flags = _pixel_size_um(file)
    flags = (*theta_flags, *pixel_flags)
    return Scan(path, angles, rows, columns, theta_deg, pixel_size_um, flats, darks, flags, file)


def _fields(path: Path, file: h5py.File, name: str, frame: tuple[int, int], to_look: bool) -> Fields:
    """Flat or dark fields; to look at a scan that has none, its first projection's brightest value, or 0, stands."""
    if to_look and not isinstance(file.get(name), h5py.Dataset):
        return Fields(path, None, frame, _instead(file, name))
    frames = dataset(path, file, name)
    if frames.shape[0] == 0 and not to_look:
        what = "flat" if name == WHITE else "dark"
        raise ScanError(f"{str(path)!r}: there is no {what} field ({name} is empty): nothing to normalise by.")
    if frames.shape[1:] != frame:
        raise ScanError(
            f"{str(path)!r}: {name} has frames of {frames.shape[1:]}, projections are {frame}: "
            "they are from different detectors or regions of interest."
        )
    return Fields(path, frames, frame, None if len(frames) else _instead(file, name))


def _instead(file: h5py.File, name: str) -> float:
    return float(max(np.nanmax(file[DATA][0]), 1)) if name == WHITE else 0.0


def _theta(path: Path, file: h5py.File, angles: int) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """The angles in degrees: recorded, else start + i * step, else evenly over the range (both ends included)."""
    recorded = file.get(THETA)
    if isinstance(recorded, h5py.Dataset) and recorded.size:
        theta = np.asarray(recorded[()], np.float64).ravel()
        if theta.size != angles or not np.isfinite(theta).all():
            raise ScanError(
                f"{str(path)!r}: {THETA} has {theta.size} angles ({np.isfinite(theta).sum()} of them numbers) for "
                f"{angles} projections: which angle belongs to which projection is unknown."
            )
        return theta, ()
    start, step, span = (number(file, f"{ROTATION}/{name}") for name in ("rotation_start", "rotation_step", "range"))
    if step:
        stepped: npt.NDArray[np.float64] = (start or 0.0) + step * np.arange(angles, dtype=np.float64)
        return stepped, ("angles computed from rotation_start and rotation_step",)
    if span:
        return (start or 0.0) + np.linspace(0, span, angles), ("angles computed from the range of rotation",)
    raise ScanError(
        f"{str(path)!r}: {THETA} is missing, and so are rotation_step and range of {ROTATION}: the angles are unknown."
    )


def _pixel_size_um(file: h5py.File) -> tuple[float | None, tuple[str, ...]]:
    size_mm = number(file, PIXEL_SIZE_MM)
    if size_mm is None:
        return None, ("no pixel size in the scan: values are per pixel",)
    smallest, largest = PLAUSIBLE_PIXEL_MM
    if not smallest <= size_mm <= largest:
        return None, (f"pixel size of {size_mm:g} mm is not plausible: values are per pixel",)
    return size_mm * 1000, ()
