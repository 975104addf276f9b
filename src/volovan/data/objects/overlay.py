"""Boxes, masks and labels of objects, painted onto a picture at a size to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from volovan.data.masks.coding import Colour
from volovan.data.objects.joints import draw_points
from volovan.data.objects.shapes import Affine, Shape
from volovan.data.objects.skeleton import Skeleton
from volovan.data.pictures.sheet import fitted, sheet_font

OPACITY = 0.45
_HALO = (20, 22, 25)
_SMALLEST, _LARGEST = 11, 22
"""pixels of the letters"""


@dataclass(frozen=True)
class Mark:
    """An object to paint, in pixels of the picture. broken: whether its line is; it is wrong then. points: (K, 3), if
    it has some."""

    box: Sequence[float]
    colour: Colour
    text: str = ""
    shape: Shape | None = None
    broken: bool = False
    points: np.ndarray | None = None


def painted(
    picture: Image.Image, shown: Image.Image, marks: Sequence[Mark], skeleton: Skeleton | None = None
) -> Image.Image:
    """Marks of a picture on `shown`, the same in another size; the first ones get their labels before the others.

    A label stands above its box, or where it covers no other; none stands where there is no room.
    """
    to = Affine(shown.width / picture.width, shown.height / picture.height)
    sheet = _filled(shown, marks, to)
    draw = ImageDraw.Draw(sheet)
    width = 1 + round(max(shown.size) / 700)
    boxes = [_corners(to.boxes(np.array([mark.box], float))[0], shown.size) for mark in marks]
    for mark, box in list(zip(marks, boxes, strict=True))[::-1]:
        _outline(draw, box, _HALO, 1, grow=1)
        _outline(draw, box, mark.colour, width, broken=mark.broken)
        if skeleton and mark.points is not None:
            draw_points(draw, mark.points, skeleton, to, mark.colour, max(shown.size))
    _label(draw, [(mark.text, box, mark.colour) for mark, box in zip(marks, boxes, strict=True)], shown.size)
    return sheet


def _filled(shown: Image.Image, marks: Sequence[Mark], to: Affine) -> Image.Image:
    """With the masks in their colours, each with an edge; the last ones lie below."""
    pixels = np.array(shown.convert("RGB"), np.float32)
    for mark in marks[::-1]:
        if mark.shape is None:
            continue
        raster = mark.shape.drawn(to, shown.height, shown.width)
        rows, columns = raster.mask.shape
        part = pixels[raster.y : raster.y + rows, raster.x : raster.x + columns]
        part[raster.mask] += OPACITY * (np.array(mark.colour, np.float32) - part[raster.mask])
        framed = np.pad(raster.mask, 1)
        inside = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
        part[raster.mask & ~inside] = mark.colour
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def _corners(box: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Of the outermost pixels, within the picture; at least one pixel."""
    width, height = size
    x1, y1, x2, y2 = (round(at) for at in box.tolist())
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return x1, y1, min(max(x2 - 1, x1), width - 1), min(max(y2 - 1, y1), height - 1)


def _outline(
    draw: ImageDraw.ImageDraw, box: Sequence[int], colour: Colour, width: int, grow: int = 0, broken: bool = False
) -> None:
    x1, y1, x2, y2 = box[0] - grow, box[1] - grow, box[2] + grow, box[3] + grow
    if not broken:
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=width)
        return
    dash = 4 + 3 * width
    for begin in range(x1, x2 + 1, 2 * dash):
        for y in (y1, y2 - width + 1):
            draw.rectangle((begin, y, min(begin + dash - 1, x2), y + width - 1), fill=colour)
    for begin in range(y1, y2 + 1, 2 * dash):
        for x in (x1, x2 - width + 1):
            draw.rectangle((x, begin, x + width - 1, min(begin + dash - 1, y2)), fill=colour)


def _label(
    draw: ImageDraw.ImageDraw, labels: Sequence[tuple[str, tuple[int, int, int, int], Colour]], size: tuple[int, int]
) -> None:
    font = sheet_font(letters := letters_for(size))
    high = round(1.35 * letters)
    if min(size) < 2 * high:
        return
    taken: list[tuple[int, int, int, int]] = []
    for text, (x1, y1, x2, y2), colour in labels:
        if not text:
            continue
        said = fitted(text, font, size[0] - 6)
        wide = round(font.getlength(said)) + 6
        left = min(x1, size[0] - wide)
        right = max(min(x2 + 1, size[0]) - wide, 0)
        places = [(left, y1 - high), (left, y1), (right, y1 - high), (left, y2 + 1), (right, y1), (left, y2 + 1 - high)]
        for x, y in places:
            tag = (x, y, x + wide, y + high)
            if 0 <= y <= size[1] - high and not any(touch(tag, other) for other in taken):
                draw_tag(draw, tag, said, colour, font)
                taken.append(tag)
                break


def draw_tag(draw: ImageDraw.ImageDraw, place: Sequence[int], text: str, colour: Colour, font: Any) -> None:
    """A text on its colour, in a rectangle x1, y1, x2, y2, the last two beyond it."""
    x1, y1, x2, y2 = place
    draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=colour)
    light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    draw.text((x1 + 3, (y1 + y2) / 2), text, (0, 0, 0) if light else (255, 255, 255), font, anchor="lm")


def letters_for(size: tuple[int, int]) -> int:
    """Pixels of letters on a picture of this size."""
    return min(max(round(max(size) / 70), _SMALLEST), _LARGEST)


def touch(one: Sequence[int], other: Sequence[int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
