"""The random part of a picture that training sees, and how it is cut out of what was decoded."""

import math
import random
from typing import NamedTuple

from PIL import Image

from volovan.labels.follow import Box
from volovan.room.settings import Size

TRIES = 10
MARGIN = 2.0
"""A part of a picture that is decoded at a reduced size has at least so many times the pixels of its view, each way.
So the contrast of views stays within 0.1 % of what whole pictures give, and a pixel within 1 of 255 on average; at 1.0
they lose 0.3 %."""


class Window(NamedTuple):
    """A part of a picture of (width, height): pixels of it, whatever was decoded."""

    top: int
    left: int
    height: int
    width: int
    picture: Size

    @property
    def share(self) -> Box:
        wide, tall = self.picture
        return self.top / tall, self.left / wide, self.height / tall, self.width / wide

    def least(self, size: Size) -> tuple[float, float]:
        """(width, height) that the picture must have so that its part is nowhere coarser than MARGIN times the size."""
        wide, tall = self.picture
        return MARGIN * size[1] * wide / self.width, MARGIN * size[0] * tall / self.height

    def of(self, image: Image.Image, size: Size, mode: str) -> Image.Image:
        """The part, resized to (height, width), of the picture or of a smaller copy."""
        if image.size == self.picture:
            return resize(cut(image, self.top, self.left, self.height, self.width), size, mode)
        top, left, tall, wide = self.share
        box = left * image.width, top * image.height, (left + wide) * image.width, (top + tall) * image.height
        box = *box[:2], min(box[2], image.width), min(box[3], image.height)
        return image.resize((size[1], size[0]), Image.Resampling[mode.upper()], box=box)


def draw_window(width: int, height: int, scale: tuple[float, float], ratio: tuple[float, float]) -> Window:
    """A random part of a picture (Szegedy et al., arXiv 1409.4842).

    Its share of the area lies in scale, the logarithm of width / height in that of ratio, both uniform; where ten of
    them do not fit, it is the largest part of the middle whose sides have such a ratio, as in torchvision.
    """
    for _ in range(TRIES):
        area = width * height * random.uniform(*scale)
        sides = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * sides)), round(math.sqrt(area / sides))
        if 0 < w <= width and 0 < h <= height:
            return Window(random.randint(0, height - h), random.randint(0, width - w), h, w, (width, height))
    w, h = min(width, round(height * ratio[1])), min(height, round(width / ratio[0]))
    w, h = max(1, w), max(1, h)
    return Window((height - h) // 2, (width - w) // 2, h, w, (width, height))


def resize(image: Image.Image, size: tuple[int, int], mode: str) -> Image.Image:
    """Resize to (height, width); the identity when nothing changes."""
    height, width = max(1, size[0]), max(1, size[1])
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling[mode.upper()])


def cut(image: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    """A part of a picture; black where it lies outside."""
    return image.crop((left, top, left + width, top + height))
