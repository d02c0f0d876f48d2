"""Steps that need whole frames, or parts of them with a margin: bright spots, straightening, drift, phase retrieval.

Belongs here: which of them a reconstruction has, their margin, their order.
Does not: steps of a single row (tomography.normalise), how frames are straightened (tomography.warp), or how phase
retrieval filters (tomography.phase).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse

from tomography.errors import SettingsError
from tomography.normalise import interpolate_columns, lit, logarithm, remove_zingers, transmission
from tomography.phase import Paganin
from tomography.resample import REACH, TAPS, cubic_weights
from tomography.scan import RawRows, Scan
from tomography.settings import Phase, Settings
from tomography.warp import BYTES_A_PIXEL, Warp, straightened

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

ANGLES_AT_ONCE = 8
"""So many projections are read and worked on together: all of them, with margins, would be most of the memory."""
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class FrameSteps:
    """What is done to frames before the rest. Rows in, rows out: after it they are transmissions, with no dark.

    ``rows`` and ``columns`` of the scan; ``moved_down_px`` [projection] of the scan, None where the sample stays.
    """

    settings: Settings
    rows: int
    columns: int
    paganin: Paganin | None
    warp: Warp | None
    moved_down_px: Doubles | None

    @classmethod
    def of(cls, scan: Scan, settings: Settings) -> FrameSteps:
        """The steps of a scan. Raises SettingsError where phase retrieval lacks a length or the energy."""
        paganin = None if settings.phase is Phase.NONE else _paganin(scan, settings)
        drift = settings.drift_down_px * np.linspace(0, 1, scan.angles) if settings.drift_down_px else None
        return cls(settings, scan.rows, scan.columns, paganin, Warp.of(scan, settings), drift)

    @property
    def are_none(self) -> bool:
        """Whether nothing is to be done."""
        return self.paganin is None and self.keep_places and not self.settings.zinger_2d

    @property
    def keep_places(self) -> bool:
        """Whether everything stays in the pixel where it was measured."""
        return self.warp is None and self.moved_down_px is None

    @property
    def margin_px(self) -> int:
        """How many rows beyond those that are wanted they need."""
        return self._zinger_margin + self._warp_margin + self._drift_margin + self._phase_margin

    @property
    def bytes_a_row(self) -> int:
        """What they hold beside the frames, for each row that is wanted."""
        return 0 if self.warp is None else self.warp.columns * BYTES_A_PIXEL

    def read_for(self, wanted: range) -> range:
        """The rows that have to be read for those that are wanted."""
        return self._wider(wanted, self.margin_px)

    def bytes_of_a_block(self, rows: int, itemsize: int) -> int:
        """What a thread holds while it works on frames for so many rows, whose counts have so many bytes."""
        high = min(rows + 2 * self.margin_px, self.rows)
        beside = 3 * 4 * high * self.columns  # transmissions, and what a step makes of them
        if self.paganin is not None:
            pad = 2 * self.paganin.margin_px
            beside += 24 * (high + pad) * (self.columns + pad)  # padded twice, and its spectrum twice
        return ANGLES_AT_ONCE * (itemsize * high * self.columns + beside)

    def __call__(self, read: Callable[[Places], RawRows], wanted: range, numbers: Places, pool: Executor) -> RawRows:
        """The ``wanted`` rows of the projections with these numbers; ``read`` gives, of some of these by their places
        among them, the rows that have to be read for that.
        """
        done = np.empty((numbers.size, len(wanted), self.columns), np.float32)
        matrix = self._matrix(wanted)

        def work(places: Places) -> None:
            done[places] = self._worked(read(places), wanted, numbers[places], matrix)

        for job in [pool.submit(work, places) for places in _blocks(numbers.size)]:
            job.result()
        frame = done.shape[1:]
        return RawRows(done, np.ones(frame, np.float32), np.zeros(frame, np.float32))

    def _worked(
        self, raw: RawRows, wanted: range, numbers: npt.NDArray[np.intp], matrix: scipy.sparse.csr_array | None
    ) -> Floats:
        frames = transmission(raw)  # [row, angle, column]
        alive = lit(raw.white, raw.dark)
        for row in np.flatnonzero(~alive.all(axis=1)):
            interpolate_columns(frames[row], alive[row])
        if self.settings.zinger_2d:
            size = self.settings.zinger_size_px
            remove_zingers(frames, self.settings.zinger_2d, (size, 1, size))
        there = self.read_for(wanted)
        if matrix is not None:
            frames, there = straightened(frames, matrix), self._straight_for(wanted)
        filtered = self._wider(wanted, self._phase_margin)
        if self.moved_down_px is not None:
            frames, there = self._moved_back(frames, there, filtered, self.moved_down_px[numbers]), filtered
        if self.paganin is not None:
            frames = self._retrieved(frames, self.paganin).transpose(1, 0, 2)
        return frames[wanted.start - there.start : wanted.stop - there.start].transpose(1, 0, 2)

    def _moved_back(self, frames: Floats, there: range, wanted: range, moved_down_px: Doubles) -> Floats:
        """Rows of frames [row, angle, column] in which the sample has moved down by so much at each angle."""
        back = np.zeros((len(wanted), *frames.shape[1:]), np.float32)
        whole = np.floor(moved_down_px).astype(int)
        for angle, shares in enumerate(cubic_weights(moved_down_px - whole).astype(np.float32)):
            for tap, share in zip(TAPS, shares, strict=True):
                rows = np.clip(np.array(wanted) + whole[angle] + tap, 0, self.rows - 1) - there.start
                back[:, angle] += share * frames[rows, angle]
        return back

    def _retrieved(self, frames: Floats, paganin: Paganin) -> Floats:
        """Transmissions [angle, row, column] after phase retrieval."""
        if self.settings.phase is Phase.PAGANIN:
            return paganin(frames.transpose(1, 0, 2))
        # After the logarithm: what follows takes it, so it is undone here.
        logarithm(frames, self.settings.minimum_transmission)
        transmitted: Floats = np.exp(-paganin(frames.transpose(1, 0, 2)))
        return transmitted

    def _matrix(self, wanted: range) -> scipy.sparse.csr_array | None:
        if self.warp is None:
            return None
        return self.warp.matrix(self._straight_for(wanted), self.read_for(wanted))

    def _straight_for(self, wanted: range) -> range:
        return self._wider(wanted, self._phase_margin + self._drift_margin)

    def _wider(self, rows: range, margin: int) -> range:
        return range(max(0, rows.start - margin), min(self.rows, rows.stop + margin))

    @property
    def _zinger_margin(self) -> int:
        return self.settings.zinger_size_px // 2 if self.settings.zinger_2d else 0

    @property
    def _warp_margin(self) -> int:
        return 0 if self.warp is None else self.warp.margin_px

    @property
    def _drift_margin(self) -> int:
        return 0 if self.moved_down_px is None else int(np.ceil(np.abs(self.moved_down_px).max())) + REACH

    @property
    def _phase_margin(self) -> int:
        return 0 if self.paganin is None else self.paganin.margin_px


def _blocks(angles: int) -> Iterator[Places]:
    for start in range(0, angles, ANGLES_AT_ONCE):
        yield np.arange(start, min(start + ANGLES_AT_ONCE, angles))


def _paganin(scan: Scan, settings: Settings) -> Paganin:
    distance_cm = settings.phase_distance_cm or (scan.distance_mm / 10 if scan.distance_mm else None)
    energy_ev = settings.phase_energy_ev or scan.energy_ev
    missing = [
        said
        for said, value in (
            ("the pixel size, which the scan must record", scan.pixel_size_um),
            ("the distance from sample to detector: give it with --phase-distance", distance_cm),
            ("the photon energy: give it with --phase-energy", energy_ev),
        )
        if not value
    ]
    if missing or scan.pixel_size_um is None or distance_cm is None or energy_ev is None:
        raise SettingsError(f"{str(scan.path)!r}: phase retrieval lacks {'; and '.join(missing)}.")
    return Paganin.of(scan.pixel_size_um * 1e-4, distance_cm, energy_ev, settings.phase_alpha)
