"""Colours to draw classes with, where a data set has none of its own."""

import colorsys

Colour = tuple[int, int, int]

_GOLDEN = (5**0.5 - 1) / 2
_SHADES = ((0.75, 0.95), (0.95, 0.65), (0.45, 0.80))  # saturation, value


def spread(count: int) -> tuple[Colour, ...]:
    """count different colours; the first ones differ most, and a class keeps its colour when others are added."""
    colours = []
    for number in range(count):
        saturation, value = _SHADES[number % len(_SHADES)]
        red, green, blue = colorsys.hsv_to_rgb((0.58 + number * _GOLDEN) % 1, saturation, value)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(colours)


def voc(count: int) -> tuple[Colour, ...]:
    """The colour map of Pascal VOC: bits 0, 3, 6 ... of the number are the upper bits of red, 1, 4, 7 of green, ..."""
    colours = []
    for number in range(count):
        channels = [sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)]
        colours.append((channels[0], channels[1], channels[2]))
    return tuple(colours)
