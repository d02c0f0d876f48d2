"""Pictures of slices for people: PNG files.

Belongs here: contrast, PNG encoding, thumbnails small enough to travel in a manifest.
Does not: which slices are shown.
"""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]

CONTRAST_PERCENTILES = (0.5, 99.5)
THUMBNAIL_WIDTH_PX = 320
THUMBNAIL_BYTES = 45_000  # 60 kB once in base64
_THUMBNAIL_COLOURS = 64
PAGE_WIDTH_PX = 1024
SMALL_JPEG_BYTES = 74_000  # under 100 kB in base64
_PAGE_QUALITY = 85


def contrast_limits(slices: Floats) -> tuple[float, float]:
    """The values shown as black and white: percentiles of what is not masked away."""
    seen = slices[slices != 0]
    if seen.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(seen, CONTRAST_PERCENTILES))
    return (low, high) if high > low else (low, low + 1.0)


def grey(image: Floats, limits: tuple[float, float]) -> Grey:
    """An image in 256 greys between the limits."""
    low, high = limits
    scaled: Grey = np.rint(np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return scaled


def png(image: Grey) -> bytes:
    """The PNG file of an image [y, x], or [y, x, colour]."""
    return _encoded(Image.fromarray(image))


def jpeg(image: Grey, width_px: int, quality: int = _PAGE_QUALITY) -> bytes:
    """The JPEG file of an image [y, x], made at most so wide: for a page, where noise as PNG would be megabytes."""
    shown = Image.fromarray(image)
    if shown.width > width_px:
        shown = shown.resize((width_px, max(1, round(shown.height * width_px / shown.width))), Image.Resampling.BOX)
    stream = io.BytesIO()
    shown.save(stream, "JPEG", quality=quality, optimize=True)
    return stream.getvalue()


def small_jpeg(image: Grey, most_bytes: int = SMALL_JPEG_BYTES) -> str:
    """The image as a JPEG in base64, of at most so many bytes before that: first less exact, then smaller."""
    width, quality = image.shape[1], 80
    while len(content := jpeg(image, width, quality)) > most_bytes and width > 16:
        width, quality = (width, quality - 20) if quality > 40 else (width * 4 // 5, quality)
    return base64.b64encode(content).decode()


def thumbnail(image: Grey, width_px: int = THUMBNAIL_WIDTH_PX, most_bytes: int = THUMBNAIL_BYTES) -> str:
    """The image as a PNG in base64, by default at most 320 px wide and 60 kB long; noise makes it smaller."""
    width = min(width_px, image.shape[1])
    while True:
        height = max(1, round(image.shape[0] * width / image.shape[1]))
        small = Image.fromarray(image).resize((width, height), Image.Resampling.BOX)
        # A picture of few colours is half as large, and nobody counts them at this size.
        content = _encoded(small if small.mode == "L" else small.quantize(_THUMBNAIL_COLOURS))
        if len(content) <= most_bytes or width <= 16:
            return base64.b64encode(content).decode()
        width = width * 7 // 8


def _encoded(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()
