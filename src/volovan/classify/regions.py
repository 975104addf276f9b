"""Flips and RandAugment of what a crop will see of a picture, and of nothing else (volo.md 6.3).

With label maps the operations come before the crop: a rotation brings pixels from outside of it into view. So they are
drawn first, without a picture. Then it is known, from the last to the first, which region each of them needs; that
region is cut out at the resolution of the view, and the operations are done on it. Those that look at all of the
picture (a histogram, a mean) look at a small copy, on which the others were done too.

Regions are (left, top, right, bottom) in pixels of the picture, and need not be whole numbers.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil, floor
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from volovan.classify.windows import Window
from volovan.data.pictures.resizing import Filter
from volovan.labels.follow import MOVES, Matrix, Move
from volovan.room.settings import Size

Region = tuple[float, float, float, float]
REACH = 2
"""pixels of the part that bicubic interpolation reads beyond a place"""
SMALL = 128
"""longest side of the copy whose histogram stands for that of the picture"""
FLIPS: dict[str, Callable[[Image.Image], Image.Image]] = {"FlipX": ImageOps.mirror, "FlipY": ImageOps.flip}
EACH_PIXEL = {"Invert", "Posterize", "Solarize", "SolarizeAdd", "Color", "Brightness", "Desaturate"}
"""Operations whose result at a pixel is decided by that pixel, by timm's names without Increasing and Original."""


class Step(NamedTuple):
    """An operation that was drawn; called with a picture it does it."""

    name: str
    function: Callable[..., Image.Image]
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def __call__(self, image: Image.Image) -> Image.Image:
        return self.function(image, *self.arguments, **self.options)

    @property
    def kind(self) -> str:
        return self.name.removesuffix("Increasing").removesuffix("Original")

    @property
    def moves(self) -> bool:
        return self.name in MOVES

    @property
    def move(self) -> Move:
        return self.name, self.arguments[0] if self.arguments else 0

    def matrix(self, size: Size) -> Matrix:
        """Place in the picture (width, height) that comes out -> place in the picture that went in."""
        return MOVES[self.name](self.move[1], *size)


def flip(name: str) -> Step:
    return Step(name, FLIPS[name], (), {})


def draw_steps(transform: Any) -> list[Step]:
    """What timm's RandAugment does to the next picture, with the random numbers that it would draw for it.

    An operation draws its strength itself, just before it calls its function, which draws the interpolation.
    """
    steps: list[Step] = []

    def noted(name: str, function: Callable[..., Any], image: None, *arguments: Any, **options: Any) -> None:
        modes = options.get("resample")
        if name in MOVES and isinstance(modes, list | tuple):
            options["resample"] = random.choice(modes)
        steps.append(Step(name, function, arguments, options))

    functions = [op.aug_fn for op in transform.ops]
    for op in transform.ops:
        op.aug_fn = partial(noted, op.name, op.aug_fn)
    try:
        transform(None)
    finally:
        for op, function in zip(transform.ops, functions, strict=True):
            op.aug_fn = function
    return steps


def can_be_seen_alone(steps: Sequence[Step]) -> bool:
    """Whether `seen` knows all of these operations; shifts by a number of pixels depend on how large a copy is."""
    known = EACH_PIXEL | set(BY_ALL) | {"Sharpness"}
    return all(step.kind in known or (step.moves and step.kind not in ("TranslateX", "TranslateY")) for step in steps)


def seen(image: Image.Image, steps: Sequence[Step], window: Window, size: Size, filter: Filter) -> Image.Image:
    """What the window shows of the picture after the operations, resized to (height, width).

    image may be a smaller copy of window.picture. A part that is larger than the view is resized before the operations,
    a smaller one after them; so they never work on more pixels than the view has, but for what moves into it.
    """
    decoded = image.width / window.picture[0], image.height / window.picture[1]
    grid = _Grid(window, (min(decoded[0], size[1] / window.width), min(decoded[1], size[0] / window.height)))
    regions = [grid.window]
    for step in reversed(steps):
        regions.insert(0, grid.needed(regions[0], step) if step.moves else regions[0])
    region = _whole_pixels(regions[0], decoded, image.size)
    wide, tall = grid.pixels(region)
    box = tuple(side * decoded[place % 2] for place, side in enumerate(region))
    part = filter.cut(image, box, (tall, wide))
    shrunk = (grid.scale[0] / decoded[0]) * (grid.scale[1] / decoded[1])
    whole = _small(image) if any(step.kind in BY_ALL for step in steps) else None
    for step, after in zip(steps, regions[1:], strict=True):
        if step.name in FLIPS:
            part, region = step(part), grid.needed(region, step)
        elif step.moves:
            part = part.transform(
                grid.pixels(after),
                Image.Transform.AFFINE,
                grid.between(region, part.size, step, after),
                resample=step.options["resample"],
                fillcolor=step.options["fillcolor"],
            )
            region = after
        elif step.kind in BY_ALL:
            assert whole is not None
            part = BY_ALL[step.kind](whole, part, *step.arguments)
        elif step.kind == "Sharpness":
            # It blends with the means of 3 x 3 pixels. Of n times fewer pixels these are n times as wide, squared.
            part = ImageEnhance.Sharpness(part).enhance(1 - (1 - step.arguments[0]) * shrunk)
        else:
            part = step(part)
        whole = whole and step(whole)
    return filter.resize(part, size)


class _Grid:
    """The pixels of the parts: `scale` (x, y) of them for a pixel of the picture, from the window's corner on."""

    def __init__(self, window: Window, scale: tuple[float, float]) -> None:
        self.scale, self.picture = scale, window.picture
        left, top = window.left, window.top
        self.window: Region = left, top, left + window.width, top + window.height

    def pixels(self, region: Region) -> Size:
        """(width, height) of the part that shows a region."""
        left, top, right, bottom = region
        return max(1, round((right - left) * self.scale[0])), max(1, round((bottom - top) * self.scale[1]))

    def needed(self, region: Region, step: Step) -> Region:
        """Of the picture before a move, to know the region after it."""
        sides = [_reached(row, region) for row in step.matrix(self.picture)[:2].tolist()]
        if step.name not in FLIPS:
            sides = [self._widened(axis, *reached) for axis, reached in enumerate(sides)]
        (left, right), (top, bottom) = sides
        return left, top, right, bottom

    def _widened(self, axis: int, low: float, high: float) -> tuple[float, float]:
        """To whole pixels of the part and by what interpolation reads, within the picture."""
        scale, side, origin = self.scale[axis], self.picture[axis], self.window[axis]
        first = origin + (floor((low - origin) * scale) - REACH) / scale
        last = origin + (ceil((high - origin) * scale) + REACH) / scale
        # All of it may lie outside of the picture: then its edge is taken, and all is filled.
        first = min(max(first, 0.0), max(0.0, side - 1 / scale))
        return first, min(max(last, first + 1 / scale), side)

    def between(self, before: Region, size: Size, step: Step, after: Region) -> tuple[float, ...]:
        """Coefficients of a move from the part of a region, of (width, height), to that of the next."""
        (left, top, width, height), (x, y, wide, tall) = _places(before, size), _places(after, self.pixels(after))
        (a, b, c), (d, e, f) = step.matrix(self.picture)[:2].tolist()
        across = a * wide, b * tall, a * x + b * y + c - left
        down = d * wide, e * tall, d * x + e * y + f - top
        return *(value / width for value in across), *(value / height for value in down)


def _whole_pixels(region: Region, decoded: tuple[float, float], size: Size) -> Region:
    """As large as it is or larger, in pixels of a picture that was decoded at its own size, of (width, height)."""
    if decoded != (1, 1):
        return region
    left, top, right, bottom = region
    return floor(left), floor(top), min(ceil(right), size[0]), min(ceil(bottom), size[1])


def _reached(row: Sequence[float], region: Region) -> tuple[float, float]:
    """Least and largest value of a x + b y + c in a region."""
    (a, b, c), (left, top, right, bottom) = row, region
    x, y = (a * left, a * right), (b * top, b * bottom)
    return min(x) + min(y) + c, max(x) + max(y) + c


def _places(region: Region, size: Size) -> tuple[float, float, float, float]:
    """Where the part of (width, height) begins in the picture, and width and height of its pixels there."""
    left, top, right, bottom = region
    return left, top, (right - left) / size[0], (bottom - top) / size[1]


def _small(image: Image.Image) -> Image.Image:
    """A copy with the same histogram: single pixels, not means."""
    share = min(1.0, SMALL / max(image.size))
    width, height = (max(1, round(side * share)) for side in image.size)
    return image.resize((width, height), Image.Resampling.NEAREST)


def _by_histogram(function: Callable[..., Image.Image], whole: Image.Image, part: Image.Image) -> Image.Image:
    """A function that maps values by a histogram, by that of the whole."""
    values = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3))
    both = Image.new("RGB", (max(256, whole.width), whole.height + 1))
    both.paste(values, (0, 0))
    both.paste(whole, (0, 1))
    counted = Image.new("L", both.size)
    counted.paste(255, (0, 1, whole.width, whole.height + 1))
    mapped = function(both, mask=counted).crop((0, 0, 256, 1))
    return part.point(np.asarray(mapped)[0].T.flatten().tolist())


def _contrast(whole: Image.Image, part: Image.Image, factor: float) -> Image.Image:
    """Towards the mean of the whole, or away from it."""
    mean = ImageEnhance.Contrast(whole).degenerate.getpixel((0, 0))
    assert mean is not None
    return Image.blend(Image.new("RGB", part.size, mean), part, factor)


BY_ALL: dict[str, Callable[..., Image.Image]] = {
    "AutoContrast": partial(_by_histogram, ImageOps.autocontrast),
    "Equalize": partial(_by_histogram, ImageOps.equalize),
    "Contrast": _contrast,
}
"""Operations whose result at a pixel is decided by all of the picture: (whole, part, strength) -> part."""
