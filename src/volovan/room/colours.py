"""Photometric distortion of a picture, as dense tasks train with it. Choices are drawn from Python's generator."""

import random
from collections.abc import Callable

from PIL import Image


def distort(image: Image.Image) -> Image.Image:
    """Brightness +-32, contrast and saturation x 0.5 to 1.5, hue +-18 degrees of 180; each with probability 0.5.

    Contrast comes before or after the change of colours, by chance.
    """
    if random.random() < 0.5:
        delta = random.uniform(-32, 32)
        image = through_table(image, lambda value: value + delta)
    contrast_last = random.random() < 0.5
    factor = random.uniform(0.5, 1.5) if random.random() < 0.5 else None
    if factor is not None and not contrast_last:
        image = through_table(image, lambda value: value * factor)
    image = change_colours(image)
    if factor is not None and contrast_last:
        image = through_table(image, lambda value: value * factor)
    return image


def change_colours(image: Image.Image) -> Image.Image:
    saturation = random.uniform(0.5, 1.5) if random.random() < 0.5 else None
    hue = random.uniform(-0.1, 0.1) if random.random() < 0.5 else None  # +-18 of 180 degrees
    if saturation is None and hue is None:
        return image
    h, s, v = image.convert("HSV").split()
    if saturation is not None:
        s = through_table(s, lambda value: value * saturation)
    if hue is not None:
        h = h.point([(value + round(256 * hue)) % 256 for value in range(256)])
    return Image.merge("HSV", (h, s, v)).convert("RGB")


def through_table(image: Image.Image, function: Callable[[int], float]) -> Image.Image:
    """Every value replaced by function(value), cut to 0 to 255."""
    table = [int(min(max(function(value), 0), 255)) for value in range(256)]
    return image.point(table * len(image.getbands()))
