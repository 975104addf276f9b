"""Pictures under the boxes, outlines and names of their objects, at a size to look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from volovan.data.masks.overlay import shown_picture
from volovan.data.objects.shapes import Affine, Box, Raster, Shape
from volovan.data.pictures.palettes import Colour
from volovan.data.pictures.sheet import fitted, sheet_font

_OPACITY = 0.4  # of an object over its picture
_LETTERS, _SMALLEST_LETTERS = 30, 11  # the long side of a picture over the height of a name; pixels
_DASH = 6  # widths of a line
_BRIGHT = 140  # brightness of a colour from which on names are written in black


@dataclass(frozen=True)
class Mark:
    """What is drawn of an object. text: beside its box, "" for none; dashed: the box, as that of a crowd is drawn."""

    box: Box
    colour: Colour
    text: str = ""
    shape: Shape | None = None
    dashed: bool = False


def mark_objects(picture: Image.Image, marks: Sequence[Mark]) -> Image.Image:
    """RGB, at the size of `shown_picture`. Large objects lie under small ones; a name that would hide another is left
    out."""
    image = shown_picture(picture)
    to = Affine(image.width / picture.width, image.height / picture.height)
    placed = [(mark, _corners(to, mark.box, image.size)) for mark in marks]
    placed.sort(key=lambda one: -abs((one[1][2] - one[1][0]) * (one[1][3] - one[1][1])))
    pixels = np.array(image)
    for mark, _ in placed:
        if mark.shape is not None:
            _fill(pixels, mark.shape.drawn(to, image.height, image.width), mark.colour)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    width = max(1, round(max(image.size) / 300))
    for mark, (x1, y1, x2, y2) in placed:
        for ends in ((x1, y1, x2, y1), (x1, y2, x2, y2), (x1, y1, x1, y2), (x2, y1, x2, y2)):
            _line(draw, *ends, mark.colour, width, mark.dashed)
    taken: list[Box] = []
    for mark, box in reversed(placed):
        if mark.text:
            _write(draw, image.size, mark, box, taken)
    return image


def _corners(to: Affine, box: Box, size: tuple[int, int]) -> Box:
    """Of a box in the shown picture; what lies far outside of it comes nearer."""
    x1, y1, x2, y2 = to.boxes(np.array([box], float))[0].clip(-max(size), 2 * max(size)).tolist()
    return x1, y1, x2, y2


def _fill(pixels: np.ndarray, raster: Raster, colour: Colour) -> None:
    """Mix the colour into the pixels of an object, and draw its outline."""
    rows, columns = raster.mask.shape
    part = pixels[raster.y : raster.y + rows, raster.x : raster.x + columns]
    inner = raster.mask.copy()
    inner[1:] &= raster.mask[:-1]
    inner[:-1] &= raster.mask[1:]
    inner[:, 1:] &= raster.mask[:, :-1]
    inner[:, :-1] &= raster.mask[:, 1:]
    mixed = (1 - _OPACITY) * part[raster.mask] + _OPACITY * np.array(colour)
    part[raster.mask] = mixed.round().astype(np.uint8)
    part[raster.mask & ~inner] = colour


def _line(
    draw: ImageDraw.ImageDraw, x1: float, y1: float, x2: float, y2: float, colour: Colour, width: int, dashed: bool
) -> None:
    """A line along x or along y."""
    if not dashed:
        draw.line((x1, y1, x2, y2), fill=colour, width=width)
        return
    length = max(abs(x2 - x1), abs(y2 - y1), 1e-9)
    for begin in np.arange(0, length, 2 * _DASH * width):
        first, last = begin / length, min(begin + _DASH * width, length) / length
        ends = (x1 + first * (x2 - x1), y1 + first * (y2 - y1), x1 + last * (x2 - x1), y1 + last * (y2 - y1))
        draw.line(ends, fill=colour, width=width)


def _write(draw: ImageDraw.ImageDraw, size: tuple[int, int], mark: Mark, box: Box, taken: list[Box]) -> None:
    """The name on a plate of the colour: above its box, in it, below it or beside it, where there is room."""
    height = max(_SMALLEST_LETTERS, round(max(size) / _LETTERS))
    font = sheet_font(height)
    text = fitted(mark.text, font, size[0] - 4)
    across, down = font.getlength(text) + 4, height + 4
    x1, y1, x2, y2 = box
    for x, y in ((x1, y1 - down), (x1, y1), (x1, y2), (x2 - across, y1 - down), (x2, y1), (x1, y2 - down)):
        x, y = min(max(x, 0), size[0] - across), min(max(y, 0), size[1] - down)
        plate = (x, y, x + across, y + down)
        if not any(_meet(plate, other) for other in taken):
            break
    else:
        return
    taken.append(plate)
    draw.rectangle(plate, fill=mark.colour)
    red, green, blue = mark.colour
    ink = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > _BRIGHT else "white"
    draw.text((x + 2, y + down / 2), text, fill=ink, font=font, anchor="lm")


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
