"""A scan as one reconstruction sees it: its angles, and its rows ready for the logarithm.

Belongs here: which projections and flat fields count, and margins for steps that need whole frames.
Does not: those steps (tomography.frames), or the order of work over a scan (tomography.stack).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tomography.errors import SettingsError
from tomography.fields import Whites
from tomography.frames import FrameSteps, Places
from tomography.normalise import absorption
from tomography.scan import FEWEST_ANGLES, RawRows, Scan
from tomography.settings import Flats, Settings

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """``kept`` are the projections that count, ``theta_deg`` [kept] their angles as slices have them, ``moved_px``
    [kept] by how many columns the sample has moved to the right; ``rows`` the detector rows of which there are slices.
    """

    scan: Scan
    settings: Settings
    frames: FrameSteps
    kept: npt.NDArray[np.intp]
    theta_deg: npt.NDArray[np.float64]
    moved_px: npt.NDArray[np.float64]
    rows: range

    @classmethod
    def of(cls, scan: Scan, settings: Settings) -> Prepared:
        """Raises SettingsError where the scan cannot be reconstructed with these settings."""
        beyond = sorted(number for number in settings.ignored if number >= scan.angles)
        if beyond:
            raise SettingsError(
                f"--ignored-projections {beyond[0]}: the scan's projections are 0 to {scan.angles - 1}."
            )
        kept = np.setdiff1d(settings.some_of("projections", scan.angles), sorted(settings.ignored))
        if kept.size < FEWEST_ANGLES:
            left = "--projections" if settings.projections else "--ignored-projections"
            raise SettingsError(f"{left} leaves {kept.size} projections; at least {FEWEST_ANGLES} are needed.")
        if settings.flats is not Flats.MEAN and len(scan.white) and not scan.contents.moments.before:
            raise SettingsError(
                f"--flats {settings.flats}: when the flat fields were taken is unknown, since they are of another file."
            )
        scan = scan.with_exposure_ratio(settings.flat_exposure_ratio)
        theta = scan.theta_deg[kept] + settings.angle_offset_deg
        moved = settings.drift_across_px * np.linspace(0, 1, scan.angles)[kept]
        rows = settings.some_of("rows", scan.rows)
        return cls(scan, settings, FrameSteps.of(scan, settings), kept, theta, moved, rows)

    def read(self, start: int, stop: int, pool: Executor) -> RawRows:
        """Of ``rows``, those from ``start`` to ``stop`` (exclusive), at the angles that count. Raises ScanError."""
        chosen = self.rows[start:stop]
        if self._reads_only_what_it_takes:
            raw = self.scan.read_single_rows(chosen)
            return raw if self.kept.size == self.scan.angles else raw.but(self.kept)
        wanted = range(chosen[0], chosen[-1] + 1)
        if self.frames.are_none:
            raw = replace(self.scan.read_rows(wanted.start, wanted.stop), whites=self._whites(wanted))
            done = raw if self.kept.size == self.scan.angles else raw.but(self.kept)
        else:
            done = self.frames(self._some_projections(self.frames.read_for(wanted)), wanted, self.kept, pool)
        return done if chosen.step == 1 else done.part(slice(None, None, chosen.step))

    def read_projection(self, number: int, start: int, stop: int) -> RawRows:
        """Some rows of one of the projections that count, by its number among them, each pixel in its right place.

        Raises ScanError.
        """
        steps, wanted, numbers = replace(self.frames, paganin=None), range(start, stop), self.kept[[number]]
        if steps.keep_places:
            return self.scan.read_projection_rows(int(numbers[0]), start, stop)
        there = steps.read_for(wanted)
        raw = self.scan.read_projection_rows(int(numbers[0]), there.start, there.stop)
        with ThreadPoolExecutor(1) as pool:
            return steps(raw.but, wanted, numbers, pool)

    def read_projections(self, numbers: npt.NDArray[np.intp], pool: Executor) -> RawRows:
        """All rows of some projections, by their numbers in the scan, after the steps that need whole frames."""
        rows = range(self.scan.rows)
        counts = np.stack([self.scan.read_projection(int(number)) for number in numbers])
        whites = self._whites(rows)
        raw = RawRows(counts, *self.scan.fields(0, len(rows)), None if whites is None else whites.but(numbers))
        return raw if self.frames.are_none else self.frames(raw.but, rows, numbers, pool)

    def half_turn(self) -> npt.NDArray[np.intp]:
        """The projections of the first half turn, with ascending angles, without the one that is opposite to the first:
        their numbers among those that count.
        """
        order = np.argsort(self.theta_deg, kind="stable")
        theta = self.theta_deg[order]
        half: npt.NDArray[np.intp] = order[theta < theta[0] + 180 - np.median(np.diff(theta)) / 2]
        return half

    def sinograms(self, rows: Sequence[int]) -> Floats:
        """The absorption of some rows, [row, angle, column]. Raises ScanError."""
        if self.takes_single_rows:
            return absorption(self.scan.read_single_rows(rows).but(self.kept), self.settings)
        with ThreadPoolExecutor(1) as pool:
            return np.concatenate([absorption(self.read(row, row + 1, pool), self.settings) for row in rows])

    def bytes_of(self, rows: int) -> int:
        """What one ``read`` of so many rows holds beside a thread's block: counts, or what became of them."""
        single = self._reads_only_what_it_takes
        read = rows if single else rows * self.rows.step
        if not self.frames.are_none:
            return read * (4 * self.kept.size * self.scan.columns + self.frames.bytes_a_row)
        copies = 1 + (self.kept.size < self.scan.angles) + single  # rows that are read one by one are joined
        return read * self.scan.row_bytes * copies

    def bytes_of_a_block(self, rows: int) -> int:
        """What a thread holds while it prepares the frames of so many rows; 0 where nothing needs frames."""
        if self.frames.are_none:
            return 0
        return self.frames.bytes_of_a_block(rows * self.rows.step, self.scan.counts_dtype.itemsize)

    def rows_within(self, most_bytes: int) -> int:
        """How many rows one ``read`` may ask for so that it holds at most so many bytes; 0 where not one fits."""
        return max(0, (most_bytes - self.bytes_of(0)) // (self.bytes_of(1) - self.bytes_of(0)))

    @property
    def needs_whole_layers(self) -> bool:
        """Whether a layer's rows have to be read at once: phase retrieval filters what it is given as one picture, and
        another picture, by how much memory there is, would change the last digits.
        """
        return self.frames.paganin is not None

    @property
    def takes_single_rows(self) -> bool:
        """Whether a row needs nothing but itself: neither a margin nor flat fields in time."""
        return self.frames.are_none and self.settings.flats is Flats.MEAN

    @property
    def _reads_only_what_it_takes(self) -> bool:
        return self.rows.step > 1 and self.takes_single_rows

    def _some_projections(self, rows: range) -> Callable[[Places], RawRows]:
        """Reads these rows of some of the projections that count, by their places among them."""
        fields, whites = self.scan.fields(rows.start, rows.stop), self._whites(rows)
        kept_whites = whites if whites is None or self.kept.size == self.scan.angles else whites.but(self.kept)

        def read(places: Places) -> RawRows:
            numbers = self.kept[places]
            counts = self.scan.read_counts(slice(numbers[0], numbers[-1] + 1), rows.start, rows.stop)
            if len(counts) > numbers.size:
                counts = counts[numbers - numbers[0]]
            return RawRows(counts, *fields, None if kept_whites is None else kept_whites.but(places))

        return read

    def _whites(self, rows: range) -> Whites | None:
        if self.settings.flats is Flats.MEAN or len(self.scan.white) == 0:
            return None
        taken = self.scan.contents.moments
        angles, before = np.arange(self.scan.angles), np.array(taken.before)
        first = np.clip(np.searchsorted(before, angles, side="right") - 1, 0, before.size - 1)
        second = np.minimum(first + 1, before.size - 1)
        apart = np.maximum(before[second] - before[first], 1)
        part_way = np.clip((angles - before[first]) / apart, 0, 1).astype(np.float32)
        if self.settings.flats is Flats.NEAREST:
            part_way = np.round(part_way)
        means = self.scan.white.in_time(rows.start, rows.stop, taken.groups)
        means = self.scan.as_exposed(means, self.scan.dark.mean(rows.start, rows.stop))
        return Whites(means, first, second, part_way)
