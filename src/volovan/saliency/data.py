"""Samples -> batch."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from volovan.data.errors import BadImage
from volovan.data.maps import SALIENT
from volovan.data.source import Source
from volovan.engine.settings import SettingsError
from volovan.saliency.transforms import EvalTransform, TrainTransform

LOOKED_AT = 100
"""masks among which one must show an object"""


class TrainSamples:
    """Pictures and masks of a source as {"image": (3, h, w), "mask": (h, w) from 0 to 1}.

    sized   transforms for the sizes that `read` may be asked for
    cutmix  probability that a box of another picture, with its mask, is put into this one
    """

    def __init__(
        self,
        source: Source[np.ndarray],
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
        image, mask = transform(self.source.load(index), self.source.target(index))
        if random.random() < self.cutmix:
            other = random.randrange(len(self))
            from_image, from_mask = transform(self.source.load(other), self.source.target(other))
            rows, columns = random_box(mask.shape[0], mask.shape[1])
            image[:, rows, columns] = from_image[:, rows, columns]
            mask[rows, columns] = from_mask[rows, columns]
        return {"image": image, "mask": mask}

    def collate(self, samples: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """{"image": (B, 3, h, w), "mask": (B, h, w)}."""
        return {key: torch.stack([sample[key] for sample in samples]) for key in ("image", "mask")}


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

    def __init__(self, source: Source[np.ndarray], transform: EvalTransform) -> None:
        self.source, self.transform = source, transform

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def read(self, index: int) -> dict[str, Any]:
        image, mask = self.transform(self.source.load(index)), np.array(self.source.target(index))
        return {"index": index, "image": image, "mask": torch.from_numpy(mask)}

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """{"image": (B, 3, h, w)}; masks are a list, since their sizes differ, and "index" is a list of numbers."""
        batch = {key: [sample[key] for sample in samples] for key in ("index", "image", "mask")}
        return batch | {"image": torch.stack(batch["image"])}


def refuse_class_numbers(source: Source[np.ndarray], spec: str) -> None:
    """SettingsError where the first masks have values, but none that counts as salient: they name classes, it seems."""
    most = 0
    for index in range(min(len(source), LOOKED_AT)):
        try:
            most = max(most, int(source.target(index).max()))
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
