"""The picture as the teacher sees it: the centre square, as published, or all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from volovan.data.errors import BadImage
from volovan.data.pictures.thin import LONGEST
from volovan.labels.about import Coverage
from volovan.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from PIL import Image


def seen_size(picture: tuple[int, int], size: int, stride: int) -> tuple[int, int]:
    """(height, width) in pixels at which a whole picture of (width, height) is given to the teacher.

    The shorter side is `size`; the longer one is rounded to whole cells of `stride` pixels, so that the map covers the
    picture exactly, from edge to edge.
    """
    width, height = picture
    long = max(size, stride * round(size * max(picture) / min(picture) / stride))
    return (long, size) if height > width else (size, long)


class TeacherView:
    """What of a picture the teacher sees. The resize is bicubic, as published, whatever the teacher's own."""

    def __init__(self, preprocessing: Preprocessing, size: int, coverage: Coverage, stride: int) -> None:
        self.size, self.coverage, self.stride = size, coverage, stride
        self.mean, self.std = preprocessing.mean, preprocessing.std

    def picture(self, image: Image.Image, name: str = "the picture") -> Image.Image:
        """What of the picture is seen, before normalisation."""
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as tv

        if max(image.size) > LONGEST * min(image.size):
            reason = f"is {image.width}x{image.height}; a side of more than {LONGEST} times the other is not labelled"
            raise BadImage(name, reason)
        if self.coverage == "image":
            height, width = seen_size(image.size, self.size, self.stride)
        else:
            scale = self.size / min(image.size)
            height, width = (max(self.size, int(side * scale)) for side in (image.height, image.width))
        if (width, height) != image.size:
            image = tv.resize(image, [height, width], InterpolationMode.BICUBIC)
        return image if self.coverage == "image" else tv.center_crop(image, [self.size, self.size])

    def pixels(self, image: Image.Image, name: str) -> Tensor:
        """(3, H, W) uint8: a quarter of what float32 would carry from process to process."""
        return torch.from_numpy(np.array(self.picture(image, name))).permute(2, 0, 1).contiguous()

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 -> float32, (value / 255 - mean) / std, on the device of the pixels."""
        mean, std = (
            255 * torch.tensor(values, device=pixels.device).view(-1, 1, 1) for values in (self.mean, self.std)
        )
        return pixels.float().sub_(mean).div_(std)
