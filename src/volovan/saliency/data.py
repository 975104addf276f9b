"""Samples -> batch."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from volovan.data.maps import SALIENT
from volovan.data.source import Source
from volovan.engine.settings import SettingsError
from volovan.room.data import LOOKED_AT, Samples, useless
from volovan.saliency.transforms import TrainTransform


class TrainSamples(Samples):
    """Pictures and masks of a source as {"image": (3, h, w), "mask": (h, w) from 0 to 1}.

    cutmix: probability that a box of another picture, with its mask, is put into this one
    """

    def __init__(
        self,
        source: Source[np.ndarray],
        transform: TrainTransform,
        sized: Mapping[int, TrainTransform] | None = None,
        cutmix: float = 0.0,
    ) -> None:
        super().__init__(source, transform, sized)
        self.cutmix = cutmix

    def read(self, index: int, size: int | None = None) -> dict[str, Tensor]:
        transform = self.at(size)
        image, mask = transform(self.source.load(index), self.source.target(index))
        if random.random() < self.cutmix:
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


def refuse_class_numbers(source: Source[np.ndarray], spec: str) -> None:
    """SettingsError where the first masks have values, but none that counts as salient: they name classes, it seems."""
    if not useless(source, lambda mask: mask.max() > SALIENT):
        return
    looked_at = min(len(source), LOOKED_AT)
    most = max((int(source.target(index).max()) for index in range(looked_at)), default=0)
    if most:
        raise SettingsError(
            f"{spec}: the largest value of the first {looked_at} masks is {most}, but what is "
            f"salient lies above {SALIENT}, white being 255; if these are numbers of classes, `volovan fit "
            "finetune_masks` is for them"
        )
