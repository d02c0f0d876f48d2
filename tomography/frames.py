"""Steps that need whole frames, or parts of them with a margin: bright spots, and phase retrieval.

Belongs here: which of them a reconstruction has, their margin, their order.
Does not: steps of a single row (tomography.normalise), or how phase retrieval filters (tomography.phase).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tomography.errors import SettingsError
from tomography.normalise import interpolate_columns, lit, logarithm, remove_zingers, transmission
from tomography.phase import Paganin
from tomography.scan import RawRows, Scan
from tomography.settings import Phase, Settings

Floats = npt.NDArray[np.float32]

ANGLES_AT_ONCE = 16
"""So many projections are worked on together: all of a slab's would be its memory once more."""


@dataclass(frozen=True)
class FrameSteps:
    """What is done to frames before the rest. Rows in, rows out: after it they are transmissions, with no dark."""

    settings: Settings
    paganin: Paganin | None

    @classmethod
    def of(cls, scan: Scan, settings: Settings) -> FrameSteps:
        """The steps of a scan. Raises SettingsError where phase retrieval lacks a length or the energy."""
        return cls(settings, None if settings.phase is Phase.NONE else _paganin(scan, settings))

    @property
    def are_none(self) -> bool:
        """Whether nothing is to be done."""
        return self.paganin is None and not self.settings.zinger_2d

    @property
    def margin_px(self) -> int:
        """How many rows beyond those that are wanted they need."""
        zingers = self.settings.zinger_size_px // 2 if self.settings.zinger_2d else 0
        return zingers + (0 if self.paganin is None else self.paganin.margin_px)

    def __call__(self, raw: RawRows, wanted: slice, pool: Executor) -> RawRows:
        """The ``wanted`` rows of ``raw``, whose others are their margin."""
        rows = wanted.stop - wanted.start
        done = np.empty((len(raw.counts), rows, raw.counts.shape[2]), np.float32)

        def work(angles: npt.NDArray[np.intp]) -> None:
            done[angles] = self._worked(raw.but(angles))[:, wanted]

        for job in [pool.submit(work, angles) for angles in _blocks(len(done))]:
            job.result()
        frame = done.shape[1:]
        return RawRows(done, np.ones(frame, np.float32), np.zeros(frame, np.float32))

    def _worked(self, raw: RawRows) -> Floats:
        frames = transmission(raw)  # [row, angle, column]
        alive = lit(raw.white, raw.dark)
        for row in np.flatnonzero(~alive.all(axis=1)):
            interpolate_columns(frames[row], alive[row])
        if self.settings.zinger_2d:
            size = self.settings.zinger_size_px
            remove_zingers(frames, self.settings.zinger_2d, (size, 1, size))
        if self.paganin is None:
            return frames.transpose(1, 0, 2)
        if self.settings.phase is Phase.PAGANIN:
            return self.paganin(frames.transpose(1, 0, 2))
        # After the logarithm: what follows takes it, so it is undone here.
        logarithm(frames, self.settings.minimum_transmission)
        transmitted: Floats = np.exp(-self.paganin(frames.transpose(1, 0, 2)))
        return transmitted


def _blocks(angles: int) -> Iterator[npt.NDArray[np.intp]]:
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
