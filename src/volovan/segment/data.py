"""Samples -> batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from volovan.data.masks import IGNORE
from volovan.data.source import Source
from volovan.data.tensors import Stats, to_tensor
from volovan.engine.settings import SettingsError
from volovan.room.data import LOOKED_AT, Samples, useless

Transform = Callable[[Image.Image, np.ndarray], tuple[Tensor, Tensor]]
MASKS_COUNTED = 1000
"""masks that class weights are computed from, evenly spread"""


class MaskSamples(Samples):
    """Pictures and masks of a source as {"image": (3, h, w) float32, "mask": (h, w) uint8}.

    classes: names in the order of the network's outputs; the numbers of the source's masks are translated to it by
    name, so that validation data with their classes in another order are scored right.
    """

    def __init__(self, source: Source[np.ndarray], transform: Transform, classes: Sequence[str]) -> None:
        super().__init__(source, transform)
        self.table = translation(source.classes, classes)

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


def translation(found: Sequence[str], classes: Sequence[str]) -> np.ndarray | None:
    """Table (256,) uint8 from the numbers of `found` to those of `classes`; None where they are the same.

    SettingsError for a class that `classes` lacks.
    """
    if tuple(found) == tuple(classes):
        return None
    unknown = [name for name in found if name not in classes]
    if unknown:
        raise SettingsError(
            f"the data have a class {unknown[0]!r} that the network does not know; its classes are "
            f"{', '.join(classes[:10])}{', ...' if len(classes) > 10 else ''}"
        )
    table = np.full(256, IGNORE, np.uint8)
    table[: len(found)] = [list(classes).index(name) for name in found]
    return table


def refuse_unlabelled(source: Source[np.ndarray], spec: str) -> None:
    """SettingsError if none of the first masks has a single labelled pixel: nothing would be learned or scored."""
    if useless(source, lambda mask: (mask != IGNORE).any()):
        raise SettingsError(
            f"{spec}: every pixel of the first {min(len(source), LOOKED_AT)} masks is ignored ({IGNORE}), so nothing "
            "can be learned or scored; `volovan check-data` shows what the masks hold"
        )


def count_pixels(samples: MaskSamples) -> Tensor:
    """Pixels of each class number (255,), over at most MASKS_COUNTED masks."""
    length = len(samples)
    chosen = range(length) if length <= MASKS_COUNTED else [i * length // MASKS_COUNTED for i in range(MASKS_COUNTED)]
    counts = np.zeros(256, np.int64)
    for index in chosen:
        counts += np.bincount(samples.mask(index).ravel(), minlength=256)
    return torch.from_numpy(counts[:IGNORE])
