"""A raw scan, read row by row.

Belongs here: what makes a scan unusable, its angles, its pixel size, its rows and projections.
Does not: where things are in a file (tomography.layouts), turning counts into absorption (tomography.normalise).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from tomography.errors import ScanError
from tomography.fields import Fields, Whites
from tomography.hdf5 import absent, first_line, open_hdf5
from tomography.layouts.contents import Contents, Moments, Turn
from tomography.layouts.recognise import contents_of
from tomography.storage import Frames, SpoolError

FEWEST_ANGLES = 3
FEWEST_COLUMNS = 8
PLAUSIBLE_PIXEL_MM = (1e-5, 1.0)  # 10 nm to 1 mm: outside, somebody typed another unit
PLAUSIBLE_EV = (1_000.0, 1_000_000.0)  # below, somebody typed keV
A_SERIES_DEG = 400.0  # more than a turn and its ends

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
    contents: Contents
    projections: Frames

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
        return self.projections.dtype

    @property
    def energy_ev(self) -> float | None:
        """The photon energy; None where there is none, or where it cannot be one."""
        energy = self.contents.energy_ev
        low, high = PLAUSIBLE_EV
        return energy if energy is not None and low <= energy <= high else None

    @property
    def distance_mm(self) -> float | None:
        """From sample to detector, where it is recorded."""
        return self.contents.distance_mm or None

    def is_decompressed_for(self, rows: int) -> bool:
        """Whether reading this many rows makes HDF5 decompress many more: compressed frame by frame, usually."""
        chunk = self.projections.chunk
        return chunk is not None and chunk[1] > rows

    def fields(self, start: int, stop: int) -> tuple[Floats, Floats]:
        """The mean flat field and the mean dark one of some rows, [row, column]. Raises ScanError."""
        dark = self.dark.mean(start, stop)
        return self.as_exposed(self.white.mean(start, stop), dark), dark

    def with_exposure_ratio(self, ratio: float | None) -> Scan:
        """The scan with this ratio of exposures, if there is one, instead of its own."""
        return self if ratio is None else replace(self, contents=replace(self.contents, exposure_ratio=ratio))

    def as_exposed(self, white: Floats, dark: Floats) -> Floats:
        """Flat fields as they would be with the exposure of projections."""
        ratio = np.float32(self.contents.exposure_ratio)
        return white if ratio == 1 else dark + (white - dark) / ratio

    def read_rows(self, start: int, stop: int) -> RawRows:
        """Every angle of the rows ``start`` to ``stop`` (exclusive). Raises ScanError where the file cannot be read."""
        return self._read(slice(0, self.angles), start, stop)

    def read_single_rows(self, rows: Sequence[int]) -> RawRows:
        """Every angle of some rows, one beside the other; in one pass where frames are compressed whole."""
        if not self.is_decompressed_for(1):
            parts = [self.read_rows(row, row + 1) for row in rows]
            joined = np.concatenate([part.counts for part in parts], axis=1)
        else:
            step = (self.projections.chunk or (1, 1))[0]
            blocks = (slice(start, min(start + step, self.angles)) for start in range(0, self.angles, step))
            joined = np.concatenate([self._counts(block, slice(None))[:, list(rows)] for block in blocks])
        fields = [self.fields(row, row + 1) for row in rows]
        white, dark = (np.concatenate(one) for one in zip(*fields, strict=True))
        return RawRows(joined, white, dark)

    def read_projection(self, angle: int) -> Counts:
        """One whole projection, [row, column]."""
        projection: Counts = self._counts(slice(angle, angle + 1), slice(None))[0]
        return projection

    def read_counts(self, angles: slice, start: int, stop: int) -> Counts:
        """Some projections that follow each other, of the rows ``start`` to ``stop``. Raises ScanError."""
        return self._counts(angles, slice(start, stop))

    def read_projection_rows(self, angle: int, start: int, stop: int) -> RawRows:
        """One angle of the rows ``start`` to ``stop``; the counts keep an angle axis of length 1."""
        return self._read(slice(angle, angle + 1), start, stop)

    def _read(self, angles: slice, start: int, stop: int) -> RawRows:
        counts = self._counts(angles, slice(start, stop))
        return RawRows(counts, *self.fields(start, stop))

    def _counts(self, angles: slice, rows: slice) -> Counts:
        try:
            counts = self.projections.read(angles, rows)
        except SpoolError:
            raise
        except OSError as error:
            first, last, _ = rows.indices(self.rows)
            raise ScanError(
                f"{str(self.path)!r}: rows {first} to {last - 1} cannot be read ({first_line(error)}). "
                "The file is damaged: copy it again from where it was taken."
            ) from error
        return counts


@contextmanager
def open_scan(path: Path, flat_file: Path | None = None, *, to_look: bool = False) -> Iterator[Scan]:
    """Open and check a scan.

    ``flat_file``: a scan without the sample, whose projections are the flat fields. ``to_look``: what a reconstruction
    cannot do without is flagged where it is missing, and something stands for it: a person wants to see just that scan.
    Raises ScanError where a file is missing, truncated, not HDF5, or its datasets do not fit together.
    """
    with open_hdf5(path) as file, nullcontext() if flat_file is None else open_hdf5(flat_file) as other:
        contents = contents_of(path, file)
        if flat_file is not None and other is not None:
            contents = _with_flats_of(contents_of(flat_file, other), flat_file, contents)
        yield _checked(path, file, contents, to_look)


def _with_flats_of(other: Contents, flat_file: Path, contents: Contents) -> Contents:
    """The contents with another scan's projections as flat fields: exposed as they are said to be, at no known time."""
    if other.projections.shape[1:] != contents.projections.shape[1:]:
        raise ScanError(
            f"{str(flat_file)!r}: its projections are {other.projections.shape[1:]}, the scan's "
            f"{contents.projections.shape[1:]}: they are from different detectors or regions of interest."
        )
    return replace(contents, flats=other.projections, moments=Moments([], []), exposure_ratio=1.0)


def _checked(path: Path, file: h5py.File, contents: Contents, to_look: bool) -> Scan:
    data = contents.projections
    angles, rows, columns = data.shape
    if angles < FEWEST_ANGLES:
        raise ScanError(
            f"{str(path)!r}: {data.name} holds {angles} projections; at least {FEWEST_ANGLES} are needed. "
            "The scan was stopped before it began to turn."
        )
    if rows == 0 or columns < FEWEST_COLUMNS:
        raise ScanError(f"{str(path)!r}: {data.name} has {rows} rows of {columns} columns: there is no picture in it.")
    flats, darks = (_fields(path, contents, what, to_look) for what in ("flat", "dark"))
    try:
        theta_deg, theta_flags = _theta(path, contents.turn, angles)
    except ScanError as error:
        if not to_look:
            raise
        theta_deg, theta_flags = np.linspace(0, 180, angles), (f"{error} Half a turn is assumed.",)
    pixel_size_um, pixel_flags = _pixel_size_um(contents.pixel_size_mm)
    ratio = contents.exposure_ratio
    exposed = (f"flat fields were exposed {ratio:g} times as long as projections, and are scaled",)
    flags = (*contents.flags, *(exposed if ratio != 1 else ()), *theta_flags, *pixel_flags)
    return Scan(path, angles, rows, columns, theta_deg, pixel_size_um, flats, darks, flags, file, contents, data)


def _fields(path: Path, contents: Contents, what: str, to_look: bool) -> Fields:
    """Flat or dark fields; to look at a scan that has none, its first projection's brightest value, or 0, stands."""
    frame = contents.projections.shape[1:]
    frames = contents.flats if what == "flat" else contents.darks
    if frames is None:
        if not to_look:
            raise ScanError(absent(path, contents.names[what]))
        return Fields(path, None, frame, _instead(path, contents, what))
    if frames.shape[0] == 0 and not to_look:
        raise ScanError(f"{str(path)!r}: there is no {what} field ({frames.name} is empty): nothing to normalise by.")
    if frames.shape[1:] != frame:
        raise ScanError(
            f"{str(path)!r}: {frames.name} has frames of {frames.shape[1:]}, projections are {frame}: "
            "they are from different detectors or regions of interest."
        )
    return Fields(path, frames, frame, None if frames.shape[0] else _instead(path, contents, what))


def _instead(path: Path, contents: Contents, what: str) -> float:
    if what == "dark":
        return 0.0
    try:
        first = contents.projections.read(slice(0, 1), slice(None))
    except OSError as error:
        raise ScanError(f"{str(path)!r}: its first projection cannot be read ({first_line(error)}).") from error
    return float(max(np.nanmax(first), 1))


def _theta(path: Path, turn: Turn, angles: int) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """The angles in degrees: recorded, else start + i * step, else evenly over the range (both ends included)."""
    theta = turn.theta_deg
    if theta is not None:
        if theta.size != angles or not np.isfinite(theta).all():
            raise ScanError(
                f"{str(path)!r}: {turn.name} has {theta.size} angles ({np.isfinite(theta).sum()} of them numbers) for "
                f"{angles} projections: which angle belongs to which projection is unknown."
            )
        return theta, _series(theta)
    if turn.step_deg:
        stepped: npt.NDArray[np.float64] = (turn.start_deg or 0.0) + turn.step_deg * np.arange(angles, dtype=np.float64)
        return stepped, ("angles computed from rotation_start and rotation_step", *_series(stepped))
    if turn.range_deg:
        spread = (turn.start_deg or 0.0) + np.linspace(0, turn.range_deg, angles)
        return spread, ("angles computed from the range of rotation", *_series(spread))
    raise ScanError(f"{str(path)!r}: {turn.name} is missing, and so are {turn.otherwise}: the angles are unknown.")


def _series(theta_deg: npt.NDArray[np.float64]) -> tuple[str, ...]:
    span = float(np.ptp(theta_deg))
    if span <= A_SERIES_DEG:
        return ()
    return (f"the angles cover {span:.0f} degrees: a series of scans, all of which are in each slice",)


def _pixel_size_um(size_mm: float | None) -> tuple[float | None, tuple[str, ...]]:
    if size_mm is None:
        return None, ("no pixel size in the scan: values are per pixel",)
    smallest, largest = PLAUSIBLE_PIXEL_MM
    if not smallest <= size_mm <= largest:
        return None, (f"pixel size of {size_mm:g} mm is not plausible: values are per pixel",)
    return size_mm * 1000, ()
