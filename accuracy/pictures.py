"""Pictures of the report, small enough to be kept with the documents.

Belongs here: that. Does not: which slices are shown.
"""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

WIDTH_PX = 1000
GREYS = 16


def small_png(sheet: npt.NDArray[np.uint8]) -> bytes:
    """The PNG file of a contact sheet, in few greys: noise is most of what there is to compress."""
    image = Image.fromarray(sheet)
    image = image.resize((WIDTH_PX, round(image.height * WIDTH_PX / image.width)), Image.Resampling.BOX)
    stream = io.BytesIO()
    image.quantize(GREYS).save(stream, "PNG", optimize=True)
    return stream.getvalue()
