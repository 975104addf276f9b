"""Picture and mask -> tensors -> batch, for training and for validation.

Random choices are drawn from the default generators, which the loader keys by (seed, epoch, sample).
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from volovan.data.pictures.tensors import Stats, to_tensor
from volovan.data.pictures.thin import widened
from volovan.models.pyramid import STRIDES
from volovan.room.data import Samples
from volovan.room.settings import Size
from volovan.saliency.recipe import AugmentSettings

Box = tuple[float, float, float, float]
BORDER_SIDE = 384
"""pixels of the picture that `border_pixels` is said of"""


class EvalTransform:
    """The whole picture squashed to a size, as EDN is tested (van.md 4.8), or as it is where size is None, unless it is
    too thin."""

    def __init__(self, size: Size | None, mean: Stats, std: Stats) -> None:
        self.size, self.mean, self.std = size, mean, std

    def __call__(self, image: Image.Image) -> Tensor:
        """(3, h, w) float32."""
        size = self.size or widened((image.height, image.width), STRIDES[-1])
        return to_tensor(squash(image, size), self.mean, self.std)


class TrainTransform:
    """Cut, flip, rotate, colours, of the picture and, but for the colours, of its mask (van.md 4.8)."""

    def __init__(self, size: Size, mean: Stats, std: Stats, augment: AugmentSettings, soft: bool = True) -> None:
        self.size, self.mean, self.std, self.augment, self.soft = size, mean, std, augment, soft
        self.color: Callable[[Any], Any] | None = None
        if augment.color_jitter or augment.hue:
            from torchvision.transforms import ColorJitter

            self.color = ColorJitter(*[augment.color_jitter] * 3, hue=augment.hue)

    def __call__(self, image: Image.Image, mask: np.ndarray) -> tuple[Tensor, Tensor]:
        """Picture, and mask (H, W) uint8 -> (3, h, w) float32 normalised, (h, w) float32 from 0 to 1."""
        grey = Image.fromarray(mask if self.soft else np.where(mask == 255, mask, 0))
        box = self.box(image.size)
        image, grey = squash(image, self.size, box), squash(grey, self.size, box)
        image, grey = self.turn(image, grey)
        if self.color:
            image = self.color(image)
        if random.random() < self.augment.gray:
            image = image.convert("L").convert("RGB")
        values = torch.from_numpy(np.array(grey)).float() / 255
        return to_tensor(image, self.mean, self.std), values if self.soft else values.round()

    def box(self, size: tuple[int, int]) -> Box:
        """What is left of a picture of (width, height): left, top, right, bottom in its pixels."""
        augment, (width, height) = self.augment, size
        left, top, right, bottom = 0.0, 0.0, 1.0, 1.0
        if augment.crop_scale != (1.0, 1.0):
            area, stretch = random.uniform(*augment.crop_scale), 2 ** random.uniform(-0.4, 0.4)
            across, down = min(1.0, (area * stretch) ** 0.5), min(1.0, (area / stretch) ** 0.5)
            left, top = random.uniform(0, 1 - across), random.uniform(0, 1 - down)
            right, bottom = left + across, top + down
        if random.random() < augment.border:
            across, down = (right - left) / BORDER_SIDE, (bottom - top) / BORDER_SIDE
            cut = [random.randint(0, augment.border_pixels) for _ in range(4)]
            left, right = left + cut[0] * across, right - cut[1] * across
            top, bottom = top + cut[2] * down, bottom - cut[3] * down
        return left * width, top * height, right * width, bottom * height

    def turn(self, image: Image.Image, grey: Image.Image) -> tuple[Image.Image, Image.Image]:
        """Flips and rotation by chance, the same for both; new corners get the mean colour and count as ground."""
        augment = self.augment
        for chance, how in (
            (augment.hflip, Image.Transpose.FLIP_LEFT_RIGHT),
            (augment.vflip, Image.Transpose.FLIP_TOP_BOTTOM),
        ):
            if random.random() < chance:
                image, grey = image.transpose(how), grey.transpose(how)
        if augment.rotate:
            angle = random.uniform(-augment.rotate, augment.rotate)
            mean = tuple(round(255 * value) for value in self.mean)
            image = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=mean)
            grey = grey.rotate(angle, Image.Resampling.BILINEAR)
        return image, grey


def squash(image: Image.Image, size: Size, box: Box | None = None) -> Image.Image:
    """The box (left, top, right, bottom) of a picture, or all of it, resized to (height, width), bilinear."""
    whole = (0.0, 0.0, float(image.width), float(image.height))
    if image.size == size[::-1] and box in (None, whole):
        return image
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box)


class TrainSamples(Samples):
    """Pictures and masks of a source as {"image": (3, h, w), "mask": (h, w) from 0 to 1}."""

    def read(self, index: int, size: int | None = None) -> dict[str, Tensor]:
        transform: TrainTransform = self.at(size)
        image, mask = transform(self.source.load(index), self.source.target(index))
        if random.random() < transform.augment.cutmix:
            other = random.randrange(len(self))
            from_image, from_mask = transform(self.source.load(other), self.source.target(other))
            rows, columns = random_box(mask.shape[0], mask.shape[1])
            image[:, rows, columns] = from_image[:, rows, columns]
            mask[rows, columns] = from_mask[rows, columns]
        return {"image": image, "mask": mask}


def random_box(height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a box of 30 to 70 per cent of both sides, anywhere."""
    box = []
    for side in (height, width):
        length = round(side * random.uniform(0.3, 0.7))
        start = random.randint(0, side - length)
        box.append(slice(start, start + length))
    return box[0], box[1]


class EvalSamples(Samples):
    """Pictures as {"index", "image": (3, h, w), "mask": (H, W) uint8}, the mask at its own size."""

    def read(self, index: int) -> dict[str, Any]:
        image, mask = self.transform(self.source.load(index)), np.array(self.source.target(index))
        return {"index": index, "image": image, "mask": torch.from_numpy(mask)}
