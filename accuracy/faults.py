"""What goes wrong with real scans, put into a phantom's raw file: one fault each.

Belongs here: how each fault changes counts, angles or flat fields, by physics and not by what mends it.
Does not: which step is for it (accuracy.steps).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import h5py
import numpy as np
import numpy.typing as npt
from scipy import ndimage

Doubles = npt.NDArray[np.float64]

DATA, WHITE, DARK, THETA = (f"exchange/{name}" for name in ("data", "data_white", "data_dark", "theta"))
CYCLE = "process/acquisition/flat_fields"
ENERGY_EV, DISTANCE_CM, PIXEL_CM = 25_000.0, 5.0, 0.65e-4
HC_EV_CM = 1.239841984e-4
DRIFT = 0.1
BLANK = (40, 41, 42, 200, 300)
TILT_DEG, DRIFT_DOWN_PX, DRIFT_ACROSS_PX, LENS = 1.0, 2.0, 3.6, 1e-4
DROPOUT_PART = ZINGER_PART = 5e-4


def nothing(file: h5py.File) -> None:
    """No fault."""


def noise(file: h5py.File) -> None:
    """Photon noise of a dim beam: as if a tenth of the light had been there."""
    chance = _chance()

    def counted(counts: Doubles) -> Doubles:
        return np.asarray(counts + chance.standard_normal(counts.shape) * np.sqrt(10 * np.maximum(counts, 0)))

    _each(file, counted)


def uneven_detector(file: h5py.File) -> None:
    """One detector pixel in twenty answers otherwise to the beam behind the sample than to the bare beam, by 5 %."""
    dark, chance = _dark(file), _chance()
    gain = 1 + 0.05 * (chance.random(dark.shape) < 0.05) * chance.choice([-1, 1], dark.shape)
    _each(file, lambda counts: dark + (counts - dark) * gain)


def zingers(file: h5py.File) -> None:
    """X-rays that hit the camera: single pixels, brighter than the bare beam."""
    chance = _chance()

    def struck(counts: Doubles) -> Doubles:
        return np.where(chance.random(counts.shape) < ZINGER_PART, 60_000.0, counts)

    _each(file, struck)


def dropouts(file: h5py.File) -> None:
    """Single pixels that were not read out."""
    chance = _chance()

    def lost(counts: Doubles) -> Doubles:
        return np.where(chance.random(counts.shape) < DROPOUT_PART, 0.0, counts)

    _each(file, lost)


def fading_beam(file: h5py.File) -> None:
    """Stripes of the beam fade evenly by a tenth; flats were taken before the first and after the last projection."""
    count = len(file[DATA])
    _drift(file, lambda number: number / (count - 1))
    _flats(file, [0, 1], every=0)


def stepping_beam(file: h5py.File) -> None:
    """The beam changes half-way between flat fields, which were taken every hundred projections."""
    levels = [0.0, 0.6, -0.3, 0.3, -0.5]
    _drift(file, lambda number: levels[min(len(levels) - 1, (number + 49) // 100)])
    _flats(file, levels, every=100)


def hardened_beam(file: h5py.File) -> None:
    """A beam of many energies: what absorbs p shows p' with p = p' + 0.1 p'^2."""
    _each_transmission(file, lambda t: np.exp(-((np.sqrt(1 + 0.4 * -np.log(np.maximum(t, 1e-4))) - 1) / 0.2)))


def phase_fringes(alpha: float) -> Callable[[h5py.File], None]:
    """Propagation adds the Laplacian (transport of intensity): the transmission's spectrum by 1 + lambda z f^2 / (4 pi
    alpha).
    """
    return lambda file: _each_transmission(file, lambda t: _propagated(t, alpha))


def fringes_after_logarithm(alpha: float) -> Callable[[h5py.File], None]:
    """The same of the absorption, as the earlier program's order of steps supposes."""
    return lambda file: _each_transmission(file, lambda t: np.exp(-_propagated(-np.log(np.maximum(t, 1e-4)), alpha)))


def turned(file: h5py.File) -> None:
    """The recorded angles are 10 degrees too large."""
    file[THETA][...] += 10


def blank_projections(file: h5py.File) -> None:
    """The shutter was closed for some projections."""
    dark = _dark(file)
    for number in BLANK:
        file[DATA][number] = _counts(dark)


def tilted(file: h5py.File) -> None:
    """The detector is turned by a degree against the axis of rotation."""
    _each_transmission(file, lambda t: np.asarray(ndimage.rotate(t, -TILT_DEG, reshape=False, mode="nearest")))


def drifting(file: h5py.File) -> None:
    """The sample moves to the right and down, evenly, while it is measured."""
    count = len(file[DATA])
    shares = iter(np.linspace(0, 1, count))

    def moved(transmission: Doubles) -> Doubles:
        share = next(shares)
        return np.asarray(ndimage.shift(transmission, (share * DRIFT_DOWN_PX, share * DRIFT_ACROSS_PX), mode="nearest"))

    _each_transmission(file, moved)


def distorted(file: h5py.File) -> None:
    """A lens shows what is r pixels from its centre at r + 1e-4 r^2."""

    def seen(transmission: Doubles) -> Doubles:
        middle = [(size - 1) / 2 for size in transmission.shape]
        down, across = np.meshgrid(*(np.arange(2 * m + 1) - m for m in middle), indexing="ij")
        measured = np.hypot(down, across)
        true = (np.sqrt(1 + 4 * LENS * measured) - 1) / (2 * LENS)
        share = np.divide(true, measured, out=np.ones_like(true), where=measured > 0)
        places = [down * share + middle[0], across * share + middle[1]]
        return np.asarray(ndimage.map_coordinates(transmission, places, mode="nearest"))

    _each_transmission(file, seen)


def _propagated(image: Doubles, alpha: float) -> Doubles:
    pad = 32
    padded = np.pad(image, pad, mode="edge")
    down, across = (np.fft.fftfreq(size, PIXEL_CM) for size in padded.shape)
    factor = 1 + HC_EV_CM / ENERGY_EV * DISTANCE_CM * (down[:, None] ** 2 + across**2) / (4 * np.pi * alpha)
    seen: Doubles = np.fft.ifft2(np.fft.fft2(padded) * factor).real[pad:-pad, pad:-pad]
    return seen


def _each(file: h5py.File, change: Callable[[Doubles], Doubles]) -> None:
    data = file[DATA]
    for number in range(len(data)):
        data[number] = _counts(change(data[number].astype(np.float64)))


def _each_transmission(file: h5py.File, change: Callable[[Doubles], Doubles]) -> None:
    dark, light = _dark(file), _light(file)
    _each(file, lambda counts: dark + light * change((counts - dark) / light))


def _drift(file: h5py.File, level: Callable[[int], float]) -> None:
    dark, data = _dark(file), file[DATA]
    for number in range(len(data)):
        data[number] = _counts(dark + (data[number] - dark) * _beam(dark, level(number)))


def _flats(file: h5py.File, levels: Sequence[float], every: int) -> None:
    """Groups of the flat frames that there are, in the beam as it was then."""
    dark, frames = _dark(file), file[WHITE][()].astype(np.float64)
    white = np.concatenate([_counts(dark + (frames - dark) * _beam(dark, level)) for level in levels])
    del file[WHITE]
    file[WHITE] = white
    file[f"{CYCLE}/i0cycle"][()] = every


def _beam(frame: Doubles, level: float) -> Doubles:
    """A beam that is as bright everywhere would move every ray alike, which the ramp does not see."""
    across = np.linspace(0, 1, frame.shape[1])
    return np.broadcast_to(1 - DRIFT * level * (0.5 + 0.5 * np.sin(40 * across)), frame.shape)


def _dark(file: h5py.File) -> Doubles:
    return np.asarray(file[DARK][()].mean(axis=0))


def _light(file: h5py.File) -> Doubles:
    return np.asarray(file[WHITE][()].mean(axis=0) - _dark(file))


def _counts(values: Doubles) -> npt.NDArray[np.uint16]:
    return np.clip(np.rint(values), 0, 65535).astype(np.uint16)


def _chance() -> np.random.Generator:
    return np.random.default_rng(12)
