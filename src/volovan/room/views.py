"""How large a picture is seen, and in training which part of it, where pictures keep their shape.

Random choices are drawn from Python's generator, which the loader keys by (seed, epoch, sample).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from volovan.data.pictures.tensors import Stats, to_tensor
from volovan.data.pictures.thin import widened
from volovan.models.pyramid import STRIDES
from volovan.room.settings import Size, factor_into, pair


def scaled_size(
    width: float, height: float, sides: Size | None, factor: float = 1.0, window: bool = False
) -> tuple[int, int]:
    """(width, height) that a picture is scaled to: into a long and a short side, or a frame, keeping its shape, times
    the factor.

    Not too thin, unless a window is cut out of it: of that no more is computed.
    """
    if sides is not None:
        factor *= factor_into((height, width), sides)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return size if window else widened(size, STRIDES[-1])


def random_window(width: int, height: int, crop: int | Size | None) -> tuple[int, int, int, int]:
    """(left, top, columns, rows) of what is cut out of a scaled picture: (height, width) as crop has it, or as much as
    there is; None: all of it."""
    if crop is None:
        return 0, 0, width, height
    rows, columns = (min(side, whole) for side, whole in zip(pair(crop), (height, width), strict=True))
    top, left = random.randint(0, height - rows), random.randint(0, width - columns)
    return left, top, columns, rows


def source_box(
    width: int, height: int, size: tuple[int, int], window: tuple[int, int, int, int]
) -> tuple[float, float, float, float]:
    """(x1, y1, x2, y2) in a picture of this width and height of a window in it, scaled to `size` (width, height): with
    it only what is seen is ever computed."""
    left, top, columns, rows = window
    x, y = width / size[0], height / size[1]
    return left * x, top * y, min((left + columns) * x, width), min((top + rows) * y, height)


def padded_to(picture: Tensor, crop: int | Size | None, value: float = 0.0) -> Tensor:
    """(..., h, w) -> (..., H, W) as crop has it, padded below and to the right; 0 of a normalised picture is the mean
    colour. crop None: as it is."""
    if crop is None:
        return picture
    height, width = pair(crop)
    return torch.nn.functional.pad(picture, (0, width - picture.shape[-1], 0, height - picture.shape[-2]), value=value)


def padded(images: Sequence[Tensor]) -> Tensor:
    """(3, h, w) each -> (B, 3, H, W) of the largest height and width, padded with zeros, the mean colour."""
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    found = images[0].new_zeros(len(images), images[0].shape[0], height, width)
    for whole, image in zip(found, images, strict=True):
        whole[:, : image.shape[1], : image.shape[2]] = image
    return found


@dataclass(frozen=True)
class Fitted:
    """A picture scaled to fit into a long and a short side, or a frame (None: as it is), normalised."""

    sides: Size | None
    mean: Stats
    std: Stats

    def __call__(self, image: Image.Image) -> Tensor:
        """RGB picture -> (3, h, w) float32."""
        size = scaled_size(image.width, image.height, self.sides)
        scaled = image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)
        return to_tensor(scaled, self.mean, self.std)


def pixels(image: Image.Image) -> Tensor:
    """(H, W, 3) uint8: a picture as it is, whose size in the network is decided later."""
    return torch.from_numpy(np.array(image))


def alike(images: Sequence[Tensor], most: int) -> Iterator[list[int]]:
    """Numbers of images that have one shape, at most so many at once."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, image in enumerate(images):
        groups.setdefault(tuple(image.shape), []).append(number)
    for numbers in groups.values():
        for first in range(0, len(numbers), most):
            yield numbers[first : first + most]
