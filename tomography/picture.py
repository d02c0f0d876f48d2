"""Pictures of slices for people: grey PNG files.

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
    """The PNG file of a grey image."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def thumbnail(image: Grey) -> str:
    """The image as a PNG in base64, at most 320 px wide and 60 kB long; noise makes it smaller."""
    width = min(THUMBNAIL_WIDTH_PX, image.shape[1])
    while True:
        height = max(1, round(image.shape[0] * width / image.shape[1]))
        small = Image.fromarray(image).resize((width, height), Image.Resampling.BOX)
        content = png(np.asarray(small))
        if len(content) <= THUMBNAIL_BYTES or width <= 16:
            return base64.b64encode(content).decode()
        width = width * 7 // 8
