"""Picture and mask -> tensors -> batch. For training: resize, crop, flip, photometric distortion, normalise, pad.

The order is that of van.md 4.4. Random choices are drawn from Python's generator, which the loader keys by (seed,
epoch, sample).
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from volovan.data.masks.coding import IGNORE
from volovan.data.pictures.tensors import Stats, to_tensor
from volovan.data.samples import spread_indices
from volovan.data.source import Source
from volovan.room.colours import distort
from volovan.room.data import Samples, matched, said_of
from volovan.room.views import padded_to, random_window, scaled_size, source_box
from volovan.segment.recipe import AugmentSettings

Transform = Callable[[Image.Image, np.ndarray], tuple[Tensor, Tensor]]
MASKS_COUNTED = 1000
"""masks that class weights are computed from, evenly spread"""
CROP_TRIES = 10


@dataclass(frozen=True)
class TrainTransform:
    """An augmented training sample. mean, std: of values from 0 to 1."""

    augment: AugmentSettings
    mean: Stats
    std: Stats

    def __call__(self, image: Image.Image, mask: np.ndarray) -> tuple[Tensor, Tensor]:
        """RGB picture and mask (H, W) uint8 -> (3, h, w) float32 and (h, w) uint8."""
        image, mask = self.view(image, mask)
        tensor, target = to_tensor(image, self.mean, self.std), torch.from_numpy(mask)
        return padded_to(tensor, self.augment.crop), padded_to(target, self.augment.crop, IGNORE)

    def view(self, image: Image.Image, mask: np.ndarray) -> tuple[Image.Image, np.ndarray]:
        """The augmented picture and mask before normalising and padding."""
        size = self.draw_size(image.width, image.height)
        image, target = self.crop(image, Image.fromarray(mask), size)
        if random.random() < self.augment.hflip:
            image, target = ImageOps.mirror(image), ImageOps.mirror(target)
        if self.augment.photometric:
            image = distort(image)
        return image, np.array(target)

    def draw_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that the picture is resized to: into `resize`, times a random factor; not too thin."""
        augment = self.augment
        return scaled_size(width, height, augment.resize, random.uniform(*augment.scale), augment.crop is not None)

    def crop(self, image: Image.Image, mask: Image.Image, size: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
        """Resize to `size` and cut a random window, in one step: only the window is ever computed."""
        width, height = size
        if self.augment.crop is None:
            return image.resize(size, Image.Resampling.BILINEAR), mask.resize(size, Image.Resampling.NEAREST)
        for _ in range(CROP_TRIES):
            seen = random_window(width, height, self.augment.crop)
            box = source_box(image.width, image.height, size, seen)
            window = mask.resize(seen[2:], Image.Resampling.NEAREST, box=box)
            if self.augment.class_ratio == 1 or largest_share(np.asarray(window)) < self.augment.class_ratio:
                break
        return image.resize(seen[2:], Image.Resampling.BILINEAR, box=box), window


def largest_share(mask: np.ndarray) -> float:
    """Of the labelled pixels, the share of the most frequent class; 1 where there is none at all."""
    counts = np.bincount(mask.ravel(), minlength=IGNORE + 1)[:IGNORE]
    return float(counts.max() / counts.sum()) if counts.any() else 1.0


class MaskSamples(Samples):
    """Pictures and masks of a source as {"image": (3, h, w) float32, "mask": (h, w) uint8}.

    classes: names in the order of the network's outputs; the numbers of the source's masks are translated to it by
    name, so that validation data with their classes in another order are scored right.
    absent: numbers of those that the source has not.
    """

    def __init__(self, source: Source[np.ndarray], transform: Transform, classes: Sequence[str]) -> None:
        super().__init__(source, transform)
        match = matched(source.classes, classes)
        self.absent, self.note = match.unwanted, said_of(match)
        self.table: np.ndarray | None = None
        if not match.same:
            self.table = np.full(IGNORE + 1, IGNORE, np.uint8)
            self.table[: len(match.places)] = match.places

    def mask(self, index: int) -> np.ndarray:
        """(H, W) uint8, numbers of the network's classes."""
        found: np.ndarray = self.source.target(index)
        return found if self.table is None else self.table[found]

    def read(self, index: int) -> dict[str, Any]:
        image, mask = self.transform(self.source.load(index), self.mask(index))
        return {"index": index, "image": image, "mask": mask}


class EvalTransform:
    """A picture as it is, normalised: its size in the network is a matter of `volovan.segment.inference`."""

    def __init__(self, mean: Stats, std: Stats) -> None:
        self.mean, self.std = mean, std

    def __call__(self, image: Image.Image, mask: np.ndarray) -> tuple[Tensor, Tensor]:
        return to_tensor(image, self.mean, self.std), torch.from_numpy(mask)


def count_pixels(samples: MaskSamples) -> Tensor:
    """Pixels of each class number (255,), over at most MASKS_COUNTED masks."""
    counts = np.zeros(256, np.int64)
    for index in spread_indices(len(samples), MASKS_COUNTED):
        counts += np.bincount(samples.mask(index).ravel(), minlength=256)
    return torch.from_numpy(counts[:IGNORE])
