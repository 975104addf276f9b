"""Pictures and their segments -> tensors -> batch. For training: resize, crop, flip, colours, normalise, pad.

The order is that of van.md 4.5. Random choices are drawn from Python's generator, which the loader keys by (seed,
epoch, sample).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from volovan.data.panoptic.segments import Panoptic
from volovan.data.pictures.tensors import Stats, to_tensor
from volovan.data.samples import things_of
from volovan.data.source import Source
from volovan.engine.settings import SettingsError
from volovan.panoptic.recipe import AugmentSettings
from volovan.panoptic.targets import segments_of
from volovan.room.colours import distort
from volovan.room.data import SamplesOfSizes, matched, said_of
from volovan.room.views import padded, padded_to, random_window, scaled_size, source_box


@dataclass(frozen=True)
class TrainTransform:
    """An augmented training sample. mean, std: of values from 0 to 1."""

    augment: AugmentSettings
    mean: Stats
    std: Stats

    def view(self, image: Image.Image, there: Panoptic) -> tuple[Image.Image, Panoptic]:
        """The augmented picture, and which segment each of its pixels belongs to."""
        augment = self.augment
        size = scaled_size(
            image.width, image.height, augment.resize, random.uniform(*augment.scale), augment.crop is not None
        )
        seen = random_window(*size, augment.crop)
        # Window and size in one step: only what is seen is ever computed.
        box = source_box(image.width, image.height, size, seen)
        ids = Image.fromarray(there.ids).resize(seen[2:], Image.Resampling.NEAREST, box=box)
        image = image.resize(seen[2:], Image.Resampling.BILINEAR, box=box)
        if random.random() < augment.hflip:
            image, ids = ImageOps.mirror(image), ImageOps.mirror(ids)
        if augment.photometric:
            image = distort(image)
        return image, replace(there, ids=np.array(ids))

    def tensor(self, image: Image.Image) -> Tensor:
        """(3, h, w) float32, padded to the crop where it is smaller, with the mean colour."""
        return padded_to(to_tensor(image, self.mean, self.std), self.augment.crop)


def refuse_other_things(names: Sequence[str], said: Sequence[bool], known: Sequence[bool], where: str) -> None:
    """SettingsError if data say of a class that it is counted, or not, and the network knows the other."""
    ways = ("a whole that is not counted", "things that are counted")
    for name, ours, theirs in zip(names, said, known, strict=True):
        if ours != theirs:
            raise SettingsError(
                f"{name!r} is {ways[ours]} in {where}, but {ways[theirs]} to the network; name data that say the same "
                "of it"
            )


class PanopticSamples(SamplesOfSizes):
    """Pictures of a source and their segments.

    classes  names in the order of the network's outputs; the numbers of the source's segments are translated by name
    things   of each whether it is counted
    """

    def __init__(
        self, source: Source[Panoptic], transform: Any, classes: Sequence[str], things: Sequence[bool]
    ) -> None:
        super().__init__(source, transform)
        match = matched(source.classes, classes)
        self.note, self.table = said_of(match), match.places
        known = [things[place] for place in match.places]
        refuse_other_things(source.classes, things_of(source), known, "the data to validate on")

    def there(self, index: int) -> Panoptic:
        """The segments of a picture, with numbers of the network's classes."""
        found = self.source.target(index)
        return replace(found, segments=tuple(replace(one, label=self.table[one.label]) for one in found.segments))


class TrainSamples(PanopticSamples):
    """{"index", "image": (3, h, w) float32, "segments": see `Segments`}."""

    transform: TrainTransform

    def read(self, index: int) -> dict[str, Any]:
        image, there = self.transform.view(self.source.load(index), self.there(index))
        return {"index": index, "image": self.transform.tensor(image), "segments": segments_of(there)}

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Pictures as one tensor (B, 3, H, W), those that are smaller padded below and to the right."""
        return super().collate(samples) | {"image": padded([sample["image"] for sample in samples])}


class EvalSamples(PanopticSamples):
    """{"index", "image": (3, h, w) float32, "picture_size": (H, W), "panoptic": of the size of the picture}."""

    def read(self, index: int) -> dict[str, Any]:
        picture, there = self.source.load(index), self.there(index)
        size = (picture.height, picture.width)
        return {"index": index, "image": self.transform(picture), "picture_size": size, "panoptic": there}
