"""Pictures resized by Pillow, or several times as fast by torch."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

_VECTORS = ("AVX2", "AVX512")
"""instructions of a CPU for which torch has filters of bytes; by others it is slower than Pillow"""


class Filter(NamedTuple):
    """How pictures are resized.

    name   a filter of Pillow: "bilinear", "bicubic", "nearest"
    quick  torch may do it, where it has the vector instructions: a third to a fifth of the time. One value in 300 then
           differs, by 1 or 2 of 255, since sums are rounded elsewhere (at a twentieth of the size one in 6, by 1);
           what repeats published figures takes Pillow
    """

    name: str
    quick: bool = False

    @property
    def of_pillow(self) -> Image.Resampling:
        return Image.Resampling[self.name.upper()]

    def resize(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        """An RGB picture -> (height, width); the identity when nothing changes."""
        height, width = max(1, size[0]), max(1, size[1])
        if image.size == (width, height):
            return image
        vectors = self.quick and torch.backends.cpu.get_cpu_capability() in _VECTORS
        if self.name == "nearest" or not vectors:
            return image.resize((width, height), self.of_pillow)
        # A batch of one whose strides say that channels come last: else the result has them first.
        pixels = torch.from_numpy(np.array(image))[None].permute(0, 3, 1, 2)
        resized = F.interpolate(pixels, (height, width), mode=self.name, antialias=True)
        return Image.fromarray(resized[0].permute(1, 2, 0).numpy())

    def cut(self, image: Image.Image, box: tuple[float, ...], size: tuple[int, int]) -> Image.Image:
        """Its part within (left, top, right, bottom), resized. In a box of whole pixels nothing beyond is looked at."""
        left, top, right, bottom = box
        if all(float(side).is_integer() for side in box):
            return self.resize(image.crop((int(left), int(top), int(right), int(bottom))), size)
        inside = left, top, min(right, image.width), min(bottom, image.height)  # beyond them by rounding alone
        return image.resize((size[1], size[0]), self.of_pillow, box=inside)
