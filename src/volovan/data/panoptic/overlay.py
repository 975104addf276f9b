"""Segments over their picture: each in a colour of its own near that of its class, things with an edge."""

import colorsys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from volovan.data.objects.overlay import draw_tag, letters_for, touch
from volovan.data.objects.shapes import Raster
from volovan.data.panoptic.segments import Panoptic, rows_of, shapes_of
from volovan.data.pictures.palettes import Colour
from volovan.data.pictures.sheet import sheet_font

OPACITY = 0.55
_STEPS = 7  # shades of a class, before they come again
_EDGE = (250, 250, 250)


def segment_colours(found: Panoptic, palette: Sequence[Colour], things: Sequence[bool]) -> list[Colour]:
    """One for each segment: that of its class, of further things of the class lighter and darker shades of it."""
    seen: dict[int, int] = {}
    colours: list[Colour] = []
    for segment in found.segments:
        place = seen.get(segment.label, 0)
        seen[segment.label] = place + 1
        colour = palette[segment.label]
        colours.append(_shade(colour, place % _STEPS) if things[segment.label] else colour)
    return colours


def _shade(colour: Colour, place: int) -> Colour:
    if not place:
        return colour
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    step = (place + 1) // 2 / (_STEPS // 2 + 1) * (1 if place % 2 else -1)
    value += 0.8 * step * (1 - value if step > 0 else value)
    saturation *= 1 - 0.6 * max(step, 0)
    red, green, blue = colorsys.hsv_to_rgb((hue + 0.02 * place) % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def segments_overlay(
    picture: Image.Image, found: Panoptic, palette: Sequence[Colour], things: Sequence[bool]
) -> Image.Image:
    """Void keeps the colours of the picture; where a thing ends is a line, where a crowd is there are stripes."""
    pixels = np.array(picture.convert("RGB"), np.float32)
    if not found.segments:
        return Image.fromarray(pixels.astype(np.uint8))
    row = rows_of(found.ids, [segment.id for segment in found.segments])
    known = row >= 0
    crowd = np.array([segment.crowd for segment in found.segments])[row]
    of_thing = np.array([things[segment.label] for segment in found.segments])[row] & known
    down, across = np.ogrid[: found.ids.shape[0], : found.ids.shape[1]]
    painted = known & ~(crowd & ((down + across) // 4 % 2 == 0))
    colours = np.array(segment_colours(found, palette, things), np.float32)[row[painted]]
    pixels[painted] += OPACITY * (colours - pixels[painted])
    ends = np.zeros(found.ids.shape, bool)
    ends[1:] |= found.ids[1:] != found.ids[:-1]
    ends[:, 1:] |= found.ids[:, 1:] != found.ids[:, :-1]
    pixels[ends & of_thing] = _EDGE
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def resized(found: Panoptic, size: tuple[int, int]) -> Panoptic:
    """The same of the picture at another size, (width, height)."""
    return replace(found, ids=np.asarray(Image.fromarray(found.ids).resize(size, Image.Resampling.NEAREST)))


def name_segments(shown: Image.Image, found: Panoptic, texts: Sequence[str], colours: Sequence[Colour]) -> Image.Image:
    """With the text of each segment in its middle, where it is large enough and no other name stands; shown: of the
    size of the segments, changed in place."""
    draw = ImageDraw.Draw(shown)
    font = sheet_font(letters := letters_for(shown.size))
    high = round(1.35 * letters)
    taken: list[tuple[int, int, int, int]] = []
    shapes = list(shapes_of(found.ids, [segment.id for segment in found.segments]))
    order = np.argsort([-shape.area() for shape in shapes], kind="stable").tolist()
    for number in order:
        shape = shapes[number]
        if not texts[number] or not shape.mask.size:
            continue
        x, y, room = middle_of(shape)
        wide = round(font.getlength(texts[number])) + 6
        if 2 * room < high:
            continue
        left = min(max(x - wide // 2, 0), shown.width - wide)
        place = (left, y - high // 2, left + wide, y - high // 2 + high)
        if left >= 0 and not any(touch(place, other) for other in taken):
            draw_tag(draw, place, texts[number], colours[number], font)
            taken.append(place)
    return shown


def middle_of(shape: Raster) -> tuple[int, int, int]:
    """(x, y) of the pixel of a shape that is farthest from all others, and how far."""
    from scipy.ndimage import distance_transform_cdt  # here: slow to import

    step = max(1, round(max(shape.mask.shape) / 320))  # a name needs no more
    far = distance_transform_cdt(np.pad(shape.mask[::step, ::step], 1), "chessboard")[1:-1, 1:-1]
    y, x = np.unravel_index(int(far.argmax()), far.shape)
    return shape.x + int(x) * step, shape.y + int(y) * step, int(far[y, x]) * step
