"""The picture of a comparison: slices of two volumes, their difference in colour, and a scale under each.

Belongs here: tiles, colours, scales, captions.
Does not: which slices, or what the figures are (comparison).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from tomography import picture

Floats = npt.NDArray[np.float32]
Colour = npt.NDArray[np.uint8]

TILE_PX = (256, 768)
"""Slices are shown at their own size between these; smaller ones enlarged, larger ones averaged."""
_GAP_PX, _TEXT_PX = 8, 16
_SCALE_PX = 12
_BLUE, _WHITE, _RED = (33, 102, 172), (255, 255, 255), (178, 24, 43)
_LONGEST_NAME = 48
_SHOWN_PERCENTILE = 99.5


@dataclass(frozen=True)
class Drawn:
    """The whole picture, its middle slices alone, and the values at the ends of its scales."""

    image: Colour
    middle: Colour
    limits: tuple[float, float]
    largest: float
    """The difference shown in full colour, either way."""


def draw(rows: Sequence[int], pairs: Sequence[tuple[Floats, Floats]], names: tuple[str, str], unit: str) -> Drawn:
    """A line of three tiles for each slice: the first, the second, and the second less the first."""
    limits = picture.contrast_limits(np.stack([image for pair in pairs for image in pair]))
    largest = float(np.percentile(np.stack([np.abs(b - a) for a, b in pairs]), _SHOWN_PERCENTILE)) or 1.0
    lines = [_line(pair, limits, largest) for pair in pairs]
    height, width = lines[0].shape[:2]
    tile = (width - 2 * _GAP_PX) // 3
    top, below = 2 * _TEXT_PX + _GAP_PX, height + _TEXT_PX + _GAP_PX
    canvas = Image.new("RGB", (width, top + below * len(lines) + _SCALE_PX + 2 * _TEXT_PX), "black")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(_TEXT_PX - 4)
    captions = (f"first: {_short(names[0])}", f"second: {_short(names[1])}", "second less first")
    for column, caption in enumerate(captions):
        pen.text((column * (tile + _GAP_PX), 2), caption, "white", font)
    for number, (row, line) in enumerate(zip(rows, lines, strict=True)):
        y = top + number * below
        pen.text((0, y - _TEXT_PX - 2), f"slice {row}", "grey", font)
        canvas.paste(Image.fromarray(line), (0, y))
    scale_y = top + below * len(lines)
    grey = _scale(np.repeat(np.linspace(0, 255, tile).astype(np.uint8)[:, None], 3, axis=1))
    colour = _scale(_in_colour(np.linspace(-1, 1, tile, dtype=np.float32)))
    ends = ((f"{limits[0]:.4g}", f"{limits[1]:.4g} {unit}"), (f"{-largest:.4g}", f"{largest:.4g} {unit}"))
    for column, bar, (low, high) in ((0, grey, ends[0]), (2, colour, ends[1])):
        x = column * (tile + _GAP_PX)
        canvas.paste(Image.fromarray(bar), (x, scale_y))
        pen.text((x, scale_y + _SCALE_PX + 2), low, "white", font)
        pen.text((x + tile, scale_y + _SCALE_PX + 2), high, "white", font, anchor="ra")
    return Drawn(np.asarray(canvas), lines[len(lines) // 2], limits, largest)


def _line(pair: tuple[Floats, Floats], limits: tuple[float, float], largest: float) -> Colour:
    first, second = pair
    greys = [np.repeat(picture.grey(image, limits)[:, :, None], 3, axis=2) for image in pair]
    tiles = [_tile(image) for image in (*greys, _in_colour((second - first) / np.float32(largest)))]
    gap = np.zeros((tiles[0].shape[0], _GAP_PX, 3), np.uint8)
    return np.hstack([tiles[0], gap, tiles[1], gap, tiles[2]])


def _tile(image: Colour) -> Colour:
    height, width = image.shape[:2]
    wanted = min(max(width, TILE_PX[0]), TILE_PX[1])
    how = Image.Resampling.NEAREST if wanted > width else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image).resize((wanted, max(1, round(height * wanted / width))), how))


def _in_colour(parts: Floats) -> Colour:
    """Blue for -1, white for 0, red for 1; beyond, the same."""
    parts = np.clip(parts, -1, 1)[..., None]
    white = np.array(_WHITE, np.float32)
    ends = np.where(parts < 0, np.array(_BLUE, np.float32), np.array(_RED, np.float32))
    return np.rint(white + np.abs(parts) * (ends - white)).astype(np.uint8)


def _scale(colours: Colour) -> Colour:
    return np.repeat(colours[None], _SCALE_PX, axis=0)


def _short(name: str) -> str:
    """A name that fits over its tile; bytes that are no text are shown escaped."""
    shown = name.encode("utf-8", "backslashreplace").decode().replace("\n", " ")
    return shown if len(shown) <= _LONGEST_NAME else f"...{shown[3 - _LONGEST_NAME :]}"
