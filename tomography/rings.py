"""Rings: what the detector gets wrong in the same column at every angle.

Belongs here: corrections of a sinogram for its columns.
Does not: dead pixels (tomography.normalise), or rings of a slice (tomography.polar).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.ndimage import median_filter, uniform_filter1d

from tomography.settings import Rings, Settings
from tomography.stripes import without_stripes

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

WAVELET = "db5"


def correct_rings(sinograms: Floats, settings: Settings) -> Floats:
    """Correct [row, angle, column] in place and return it."""
    method = settings.rings
    if method is Rings.NONE:
        return sinograms
    if method is Rings.FOURIER_WAVELET:
        for sinogram in sinograms:
            sinogram[:] = _fourier_wavelet(sinogram, settings.rings_level, settings.rings_sigma)
        return sinograms
    if method is Rings.VO:
        for sinogram in sinograms:
            sinogram[:] = without_stripes(
                sinogram, settings.rings_ratio, settings.rings_large_px, settings.rings_size_px
            )
        return sinograms
    mean = sinograms.mean(axis=1, dtype=np.float64)
    if method is Rings.TITARENKO:
        stripes = np.stack([_titarenko(row, settings.rings_alpha) for row in mean])
    elif method is Rings.SMOOTHING:
        stripes = mean - uniform_filter1d(mean, settings.rings_size_px, axis=1, mode="nearest")
    else:
        stripes = mean - median_filter(mean, size=(1, settings.rings_size_px), mode="nearest")
    sinograms -= stripes.astype(np.float32)[:, None, :]
    return sinograms


def _fourier_wavelet(sinogram: Floats, levels: int, sigma: float) -> Floats:
    """Damp the vertical stripes in the vertical details of a wavelet transform (Muench et al., 2009, Opt. Express 17,
    8567): of each detail band its lowest frequencies along the angles, by 1 - exp(-f^2 / 2 sigma^2).
    """
    import pywt

    bands = []
    approximation = sinogram
    for _ in range(min(levels, pywt.dwtn_max_level(sinogram.shape, WAVELET))):
        approximation, (horizontal, vertical, diagonal) = pywt.dwt2(approximation, WAVELET)
        bands.append((horizontal, _damped(vertical, sigma), diagonal))
    for horizontal, vertical, diagonal in reversed(bands):
        shape = horizontal.shape
        approximation = pywt.idwt2((approximation[: shape[0], : shape[1]], (horizontal, vertical, diagonal)), WAVELET)
    rows, columns = sinogram.shape
    corrected: Floats = approximation[:rows, :columns]
    return corrected


def _damped(band: Floats, sigma: float) -> Floats:
    spectrum = scipy.fft.rfft(band, axis=0)
    frequency = np.arange(len(spectrum))
    spectrum *= (1 - np.exp(-(frequency**2) / (2 * sigma**2)))[:, None]
    damped: Floats = scipy.fft.irfft(spectrum, len(band), axis=0)
    return damped


def _titarenko(mean: Doubles, alpha: float) -> Doubles:
    """The stripes of a mean sinogram whose removal makes it smooth: the least of |stripes|^2 + |slope of the rest|^2 /
    alpha^2 (Titarenko, 2016, IEEE Signal Process. Lett. 23, 1297), solved exactly in the cosine basis.
    """
    frequency = np.arange(mean.size)
    slope2 = 2 - 2 * np.cos(np.pi * frequency / mean.size)
    response = slope2 / (slope2 + alpha**2)
    stripes: Doubles = scipy.fft.idct(scipy.fft.dct(mean, norm="ortho") * response, norm="ortho")
    return stripes
