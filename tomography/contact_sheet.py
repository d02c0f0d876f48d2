"""A contact sheet: the pictures of a look on one, each with a line under it.

Belongs here: tiles in lines, captions. Does not: which pictures, or how small the file is made (picture).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Grey = npt.NDArray[np.uint8]

WIDTH_PX = 1200
TALLEST_PX = 400
_GAP_PX, _TEXT_PX = 8, 20


@dataclass(frozen=True)
class Tile:
    """One picture [y, x] and what is said under it."""

    caption: str
    image: Grey


def contact_sheet(lines: Sequence[Sequence[Tile]], headline: str) -> Grey:
    """All tiles, line by line: those of a line are equally wide and as high as the highest of them."""
    drawn = [_line(tiles) for tiles in lines]
    height = _TEXT_PX + _GAP_PX + sum(line.height + _GAP_PX for line in drawn)
    sheet = Image.new("L", (WIDTH_PX, height), 0)
    ImageDraw.Draw(sheet).text((_GAP_PX, 4), headline, 255, _font())
    top = _TEXT_PX + _GAP_PX
    for line in drawn:
        sheet.paste(line, (0, top))
        top += line.height + _GAP_PX
    return np.asarray(sheet)


def _line(tiles: Sequence[Tile]) -> Image.Image:
    width = (WIDTH_PX - _GAP_PX * (len(tiles) + 1)) // len(tiles)
    images = [_fitted(tile.image, width) for tile in tiles]
    line = Image.new("L", (WIDTH_PX, max(image.height for image in images) + _TEXT_PX), 0)
    pen = ImageDraw.Draw(line)
    for number, (tile, image) in enumerate(zip(tiles, images, strict=True)):
        left = _GAP_PX + number * (width + _GAP_PX)
        line.paste(image, (left + (width - image.width) // 2, 0))
        pen.text((left, line.height - _TEXT_PX + 3), tile.caption, 200, _font())
    return line


def _fitted(image: Grey, width: int) -> Image.Image:
    """As wide as there is room, and not higher than TALLEST_PX; small ones are enlarged without smoothing."""
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    if height > TALLEST_PX:
        width, height = max(1, round(width * TALLEST_PX / height)), TALLEST_PX
    how = Image.Resampling.NEAREST if width > image.shape[1] else Image.Resampling.BOX
    return Image.fromarray(image).resize((width, height), how)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_TEXT_PX - 6)
