"""A raw scan: Data Exchange HDF5 with the ALS metadata, read row by row.

Belongs here: where things are in the file, what makes a file unusable, angles and pixel size.
Does not: turning counts into absorption (tomography.normalise).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from tomography.errors import ScanError

DATA = "/exchange/data"
WHITE = "/exchange/data_white"
DARK = "/exchange/data_dark"
THETA = "/exchange/theta"
PIXEL_SIZE_MM = "/measurement/instrument/detector/pixel_size"
ROTATION = "/process/acquisition/rotation"

FEWEST_ANGLES = 3
FEWEST_COLUMNS = 8
PLAUSIBLE_PIXEL_MM = (1e-5, 1.0)  # 10 nm to 1 mm: outside, somebody typed another unit

Counts = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RawRows:
    """Some detector rows of a scan, as counted.

    ``counts`` [angle, row, column]; ``white`` and ``dark`` [row, column], means over their frames.
    """

    counts: Counts
    white: Floats
    dark: Floats

    def part(self, rows: slice) -> RawRows:
        """Some of these rows, without a copy."""
        return RawRows(self.counts[:, rows], self.white[rows], self.dark[rows])


@dataclass(frozen=True)
class Scan:
    """An open scan whose shapes have been checked.

    ``theta_deg`` [angle]; ``white`` and ``dark`` [row, column], means over frames; ``flags``: doubts in plain words.
    """

    path: Path
    angles: int
    rows: int
    columns: int
    theta_deg: npt.NDArray[np.float64]
    pixel_size_um: float | None
    white: Floats
    dark: Floats
    flags: tuple[str, ...]
    file: h5py.File

    @property
    def unit(self) -> str:
        """The unit of reconstructed values: per centimetre, or per pixel where the pixel size is not known."""
        return "1/px" if self.pixel_size_um is None else "1/cm"

    @property
    def row_bytes(self) -> int:
        """The size of one detector row over all angles, as read."""
        return int(self.angles * self.columns * self.file[DATA].dtype.itemsize)

    def is_decompressed_for(self, rows: int) -> bool:
        """Whether reading this many rows makes HDF5 decompress many more: compressed frame by frame, usually."""
        data = self.file[DATA]
        filtered = data.id.get_create_plist().get_nfilters() > 0
        return bool(filtered and data.chunks[1] > rows)

    def read_rows(self, start: int, stop: int) -> RawRows:
        """Every angle of the rows ``start`` to ``stop`` (exclusive). Raises ScanError where the file cannot be read."""
        return self._read(slice(None), start, stop)

    def read_projection_rows(self, angle: int, start: int, stop: int) -> RawRows:
        """One angle of the rows ``start`` to ``stop``; the counts keep an angle axis of length 1."""
        return self._read(slice(angle, angle + 1), start, stop)

    def _read(self, angles: slice, start: int, stop: int) -> RawRows:
        try:
            counts = self.file[DATA][angles, start:stop]
        except OSError as error:
            raise ScanError(
                f"{str(self.path)!r}: rows {start} to {stop - 1} cannot be read ({first_line(error)}). "
                "The file is damaged: copy it again from where it was taken."
            ) from error
        return RawRows(counts, self.white[start:stop], self.dark[start:stop])


@contextmanager
def open_scan(path: Path) -> Iterator[Scan]:
    """Open and check a scan.

    Raises ScanError where the file is missing, truncated, not HDF5, or its datasets do not fit together.
    """
    with open_hdf5(path) as file:
        yield _checked(path, file)


def open_hdf5(path: Path) -> h5py.File:
    """Open a file to read. Raises ScanError where it is missing, truncated or not HDF5."""
    if not path.is_file():
        raise ScanError(f"{str(path)!r}: there is no such file. Check the name, and whether the copy arrived.")
    try:
        # Shared file systems often refuse HDF5's locks, and a finished scan needs none.
        return h5py.File(path, "r", locking="best-effort")
    except PermissionError:
        raise
    except OSError as error:
        if not h5py.is_hdf5(path):
            raise ScanError(
                f"{str(path)!r}: this is not an HDF5 file ({path.stat().st_size} bytes). "
                "It is another kind of file, or a copy that never got its beginning."
            ) from error
        raise ScanError(
            f"{str(path)!r}: the HDF5 file cannot be opened ({first_line(error)}). "
            "It is truncated or still being written: wait for the end of the scan, or copy it again."
        ) from error


def _checked(path: Path, file: h5py.File) -> Scan:
    data, white, dark = (dataset(path, file, name) for name in (DATA, WHITE, DARK))
    angles, rows, columns = data.shape
    if angles < FEWEST_ANGLES:
        raise ScanError(
            f"{str(path)!r}: {DATA} holds {angles} projections; at least {FEWEST_ANGLES} are needed. "
            "The scan was stopped before it began to turn."
        )
    if rows == 0 or columns < FEWEST_COLUMNS:
        raise ScanError(f"{str(path)!r}: {DATA} has {rows} rows of {columns} columns: there is no picture in it.")
    for frames, what in ((white, "flat"), (dark, "dark")):
        if frames.shape[0] == 0:
            raise ScanError(
                f"{str(path)!r}: there is no {what} field ({frames.name} is empty): nothing to normalise by."
            )
        if frames.shape[1:] != (rows, columns):
            raise ScanError(
                f"{str(path)!r}: {frames.name} has frames of {frames.shape[1:]}, projections are {(rows, columns)}: "
                "they are from different detectors or regions of interest."
            )
    theta_deg, theta_flags = _theta(path, file, angles)
    pixel_size_um, pixel_flags = _pixel_size_um(file)
    flags = (*theta_flags, *pixel_flags)
    mean_white, mean_dark = _mean_frame(path, white), _mean_frame(path, dark)
    return Scan(path, angles, rows, columns, theta_deg, pixel_size_um, mean_white, mean_dark, flags, file)


def _mean_frame(path: Path, frames: h5py.Dataset) -> Floats:
    """The mean over the frames, read one by one: files are often compressed frame by frame."""
    total = np.zeros(frames.shape[1:])
    try:
        for i in range(len(frames)):
            total += frames[i]
    except OSError as error:
        raise ScanError(
            f"{str(path)!r}: {frames.name} cannot be read ({first_line(error)}). The file is damaged: copy it again."
        ) from error
    mean: Floats = (total / len(frames)).astype(np.float32)
    return mean


def dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset of frames. Raises ScanError where it is missing, damaged or something else."""
    try:
        found = file.get(name)
    except (KeyError, OSError, RuntimeError) as error:
        raise ScanError(f"{str(path)!r}: {name} cannot be read ({first_line(error)}). The file is damaged.") from error
    if not isinstance(found, h5py.Dataset):
        raise ScanError(
            f"{str(path)!r}: the dataset {name} is missing. "
            "This is not a tomography scan, or its writer was interrupted."
        )
    if found.ndim != 3 or found.dtype.kind not in "uif":
        raise ScanError(
            f"{str(path)!r}: {name} has shape {found.shape} and type {found.dtype}; "
            "numbers of [frame, row, column] were expected."
        )
    return found


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


def number(file: h5py.File, name: str) -> float | None:
    """A number that the acquisition program wrote as a scalar, an array of one, or text; None where there is none."""
    found = file.get(name)
    if not isinstance(found, h5py.Dataset) or found.size != 1:
        return None
    value = np.asarray(found[()]).ravel()[0]
    try:
        number = float(value.decode() if isinstance(value, bytes) else value)
    except (ValueError, UnicodeDecodeError):
        return None
    return number if np.isfinite(number) else None


def first_line(error: Exception) -> str:
    """The first line of what HDF5 says, which says it at length."""
    return str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__
