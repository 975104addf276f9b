"""The random part of a picture that training sees, and how it is cut out of what was decoded."""

from typing import NamedTuple

import torch
from PIL import Image

from volovan.data.pictures.resizing import Filter
from volovan.labels.follow import Box
from volovan.room.settings import Size

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

    def of(self, image: Image.Image, size: Size, filter: Filter) -> Image.Image:
        """The part, resized to (height, width), of the picture or of a smaller copy."""
        (wide, tall), (width, height) = self.picture, image.size
        left, right = (side * width / wide for side in (self.left, self.left + self.width))
        top, bottom = (side * height / tall for side in (self.top, self.top + self.height))
        return filter.cut(image, (left, top, right, bottom), size)


def draw_window(width: int, height: int, scale: tuple[float, float], ratio: tuple[float, float]) -> Window:
    """A random part of a picture, as torchvision's RandomResizedCrop draws it (Szegedy et al., arXiv 1409.4842): its
    share of the area lies in scale, width / height in ratio."""
    from torchvision.transforms import RandomResizedCrop  # slow to import, and only training needs it

    size_alone = torch.empty((1, height, width), device="meta")
    top, left, tall, wide = RandomResizedCrop.get_params(size_alone, list(scale), list(ratio))
    return Window(top, left, tall, wide, (width, height))


def cut(image: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    """A part of a picture; black where it lies outside."""
    return image.crop((left, top, left + width, top + height))
