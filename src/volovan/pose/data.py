"""Pictures and the points of their objects -> tensors -> batch.

Training has a sample for every object, validation one for every picture. Random choices are drawn from the default
generators, which the loader keys by (seed, epoch, sample).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from volovan.data.errors import BadImage
from volovan.data.objects.annotated import Annotated
from volovan.data.objects.skeleton import Skeleton
from volovan.data.pictures.tensors import Stats, to_tensor
from volovan.data.samples import join_notes, skeleton_of
from volovan.data.source import Source
from volovan.pose.crops import Crop, crop_of, half_body, varied
from volovan.pose.heatmaps import Grid, gaussians
from volovan.pose.network import heat_size
from volovan.pose.recipe import AugmentSettings, TargetSettings
from volovan.room.data import Samples, SamplesOfSizes, matched, said_of
from volovan.room.settings import Size

UNREADABLE = -1
"""in place of the number of an object: reading the sample says why"""
_UPPER = (  # in names of points of the upper half of a body
    *("nose", "eye", "ear", "head", "face", "mouth", "chin", "neck", "chest", "shoulder", "elbow", "wrist", "hand"),
    *("thumb", "finger", "arm"),
)


@dataclass(frozen=True)
class View:
    """How one object comes to the network, and what is learned of it."""

    size: Size
    padding: float
    mean: Stats
    std: Stats
    skeleton: Skeleton
    augment: AugmentSettings
    target: TargetSettings

    def crop(self, box: np.ndarray, points: np.ndarray) -> Crop:
        """Of a training sample."""
        crop = None
        if random.random() < self.augment.half_body:
            least = self.augment.half_body_points
            crop = half_body(points, upper_points(self.skeleton.names), least, self.size)
        return varied(crop or crop_of(box.tolist(), self.size, self.padding), self.augment)

    def seen(self, picture: Image.Image, points: np.ndarray, crop: Crop) -> tuple[Tensor, Tensor, Tensor]:
        """Picture and points (K, 3) -> (3, H, W) float32, maps (K, h, w) and (K,) bool: which of them are learned."""
        if crop.mirror:
            points = self.skeleton.swapped(points)
        placed, shown = crop.points(points[:, :2]), points[:, 2] > 0
        places = Grid(self.target.aligned).to_map(torch.from_numpy(np.where(shown[:, None], placed, 0.0)))
        size, sigma = heat_size(*self.size), self.target.sigma
        maps, learned = gaussians(places, torch.from_numpy(shown), size, sigma, self.target.coding)
        return to_tensor(crop.cut(picture), self.mean, self.std), maps, learned


def upper_points(names: Sequence[str]) -> list[int]:
    """Numbers of the points of the upper half of a body, told by their names; none where all or no names say so."""
    upper = [number for number, name in enumerate(names) if any(word in name.casefold() for word in _UPPER)]
    return upper if len(upper) < len(names) else []


class PointSamples(Samples):
    """Pictures of a source and the points of their objects.

    names    of the network's points; those of the source are translated by name
    objects  names of the classes of the network's objects; likewise
    """

    def __init__(self, source: Source[Annotated], transform: Any, names: Sequence[str], objects: Sequence[str]) -> None:
        super().__init__(source, transform)
        own = skeleton_of(source)
        assert own is not None  # as its kind says
        points, kinds = matched(own.names, names, "point", "points"), matched(source.classes, objects)
        self.note = join_notes(said_of(points), said_of(kinds))
        self.places, self.labels = np.array(points.places, np.int64), np.array(kinds.places, np.int64)
        self.count = len(names)

    def there(self, index: int) -> Annotated:
        """The objects of a picture, with the network's points; one that the data lack is not known of any object."""
        found = self.source.target(index)
        own = found.points
        assert own is not None
        points = np.zeros((len(found), self.count, 3))
        points[:, self.places] = own
        return replace(found, points=points, labels=self.labels[found.labels] if len(found) else found.labels)


class TrainSamples(PointSamples):
    """{"index", "image": (3, H, W), "maps": (K, h, w), "learned": (K,) bool} of each object that teaches something."""

    transform: View

    def __init__(
        self, source: Source[Annotated], transform: View, names: Sequence[str], objects: Sequence[str], least: int
    ) -> None:
        super().__init__(source, transform, names, objects)
        self.objects = np.array(list(self._objects(least)), np.int64).reshape(-1, 2)

    def _objects(self, least: int) -> Iterator[tuple[int, int]]:
        """(number of a picture, that of an object in it that is no crowd and has so many known points)."""
        for index in range(len(self.source)):
            try:
                there = self.there(index)
            except BadImage:
                yield index, UNREADABLE
                continue
            assert there.points is not None
            known = (there.points[:, :, 2] > 0).sum(axis=1)
            yield from ((index, int(row)) for row in np.flatnonzero(~there.crowd & (known >= least)))

    def __len__(self) -> int:
        return len(self.objects)

    def name(self, index: int) -> str:
        return self.source.name(int(self.objects[index, 0]))

    def read(self, index: int) -> dict[str, Any]:
        number, row = self.objects[index].tolist()
        there, picture = self.there(number), self.source.load(number)
        assert there.points is not None
        box = there.boxes[row].clip(0, (picture.width, picture.height) * 2)
        points = there.points[row]
        image, maps, learned = self.transform.seen(picture, points, self.transform.crop(box, points))
        return {"index": index, "image": image, "maps": maps, "learned": learned}


class EvalSamples(SamplesOfSizes, PointSamples):
    """{"index", "name", "image": (H, W, 3) uint8, "annotated": in its pixels}: boxes are chosen later."""

    def read(self, index: int) -> dict[str, Any]:
        picture = self.transform(self.source.load(index))
        return {"index": index, "name": self.name(index), "image": picture, "annotated": self.there(index)}
