"""Samples -> batch."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from volovan.data.errors import BadImage
from volovan.data.mask_samples import take_masks
from volovan.data.saliency import SaliencySource, open_saliency
from volovan.engine.settings import SettingsError, expand_variables
from volovan.saliency.transforms import EvalTransform, TrainTransform

SALIENT = 128
"""a pixel of a mask above this is object, as the measures count it"""
LOOKED_AT = 100
"""masks among which one must show an object"""


class TrainSamples:
    """Pictures and masks of a source as {"image": (3, h, w), "mask": (h, w) from 0 to 1}.

    sized   transforms for the sizes that `read` may be asked for
    cutmix  probability that a box of another picture, with its mask, is put into this one
    """

    def __init__(
        self,
        source: SaliencySource,
        transform: TrainTransform,
        sized: Mapping[int, TrainTransform] | None = None,
        cutmix: float = 0.0,
    ) -> None:
        self.source, self.transform, self.sized, self.cutmix = source, transform, sized or {}, cutmix

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def read(self, index: int, size: int | None = None) -> dict[str, Tensor]:
        transform = self.transform if size is None else self.sized[size]
        image, mask = transform(self.source.load(index), self.source.mask(index))
        if random.random() < self.cutmix:
            other = random.randrange(len(self))
            from_image, from_mask = transform(self.source.load(other), self.source.mask(other))
            rows, columns = random_box(mask.shape[0], mask.shape[1])
            image[:, rows, columns] = from_image[:, rows, columns]
            mask[rows, columns] = from_mask[rows, columns]
        return {"image": image, "mask": mask}

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """{"image": (B, 3, h, w), "mask": (B, h, w)}."""
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def random_box(height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a box of 30 to 70 per cent of both sides, anywhere."""
    box = []
    for side in (height, width):
        length = round(side * random.uniform(0.3, 0.7))
        start = random.randint(0, side - length)
        box.append(slice(start, start + length))
    return box[0], box[1]


class EvalSamples:
    """Pictures as {"index", "image": (3, h, w), "mask": (H, W) uint8}, the mask at its own size."""

    def __init__(self, source: SaliencySource, transform: EvalTransform) -> None:
        self.source, self.transform = source, transform

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def read(self, index: int) -> dict[str, Any]:
        image, mask = self.transform(self.source.load(index)), np.array(self.source.mask(index))
        return {"index": index, "image": image, "mask": torch.from_numpy(mask)}

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """{"index": B numbers, "image": (B, 3, h, w), "mask": B masks of their own sizes}."""
        batch = {key: [sample[key] for sample in samples] for key in samples[0]}
        return batch | {"image": torch.stack(batch["image"])}


def open_pairs(spec: str, split: str | None, what: str = "data.source") -> SaliencySource:
    """The pictures and masks of a source; SettingsError if there are none, or an environment variable is not set."""
    source = open_saliency(expand_variables(spec), split)
    if not len(source):
        raise SettingsError(f"{spec} has no picture with a mask in the split {split!r}; name other data with --{what}")
    refuse_class_numbers(source, spec)
    return source


def refuse_class_numbers(source: SaliencySource, spec: str) -> None:
    """SettingsError where the first masks have values, but none that counts as salient: they name classes, it seems."""
    most = 0
    for index in range(min(len(source), LOOKED_AT)):
        try:
            most = max(most, int(source.mask(index).max()))
        except BadImage:  # for the loader to report or to skip
            return
        if most > SALIENT:
            return
    if most:
        raise SettingsError(
            f"{spec}: the largest value of the first {min(len(source), LOOKED_AT)} masks is {most}, but what is "
            f"salient lies above {SALIENT}, white being 255; if these are numbers of classes, `volovan fit "
            "finetune_masks` is for them"
        )


def take(source: SaliencySource, limit: int | None) -> SaliencySource:
    """All of a source, or so many pictures of it, the same for every seed of a run."""
    return source if limit is None else take_masks(source, limit)
