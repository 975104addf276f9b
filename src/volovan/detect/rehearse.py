"""A detection run without its data: drawn scenes with as many classes."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from volovan.data.synthetic.shapes import Scene
from volovan.detect.network import Detector
from volovan.detect.recipe import Recipe
from volovan.room.network import Example, network_of
from volovan.room.scenes import SCENE, boxed, write_scenes


def stand_in(recipe: Recipe, folder: Path, classes: int, batch: int, pictures: int) -> Iterator[str]:
    """Give a recipe data that are not needed from anywhere, in place; what stands for what."""
    yield f"drawn scenes of {classes} classes for {recipe.data.source}"
    kinds = [{"id": number + 1, "name": f"kind {number}"} for number in range(classes)]
    splits = {"train": pictures, "val": batch}
    write_scenes(folder, splits, "instances", kinds, partial(objects_of, classes=classes))
    recipe.data.source = str(folder)


class Worked(nn.Module):
    """A detector without the choice of boxes, whose work depends on what a picture shows."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector, self.config = detector, detector.config

    def forward(self, images: Tensor) -> list[Tensor]:
        head: Any = self.detector.head
        found: list[Tensor] = head.work(self.detector.maps(images))
        return found


def example(recipe: Recipe, classes: int) -> Example:
    """The network of a recipe with random weights."""
    size = recipe.cost_size()
    return Example(Worked(network_of(Detector, recipe, classes, size=size, weights=None)), size)


def objects_of(index: int, scene: Scene, classes: int) -> Iterator[dict[str, Any]]:
    """Annotations of a scene; its classes are shifted from scene to scene."""
    for thing in scene.instances:
        changes = np.flatnonzero(np.diff(thing.mask.T.ravel().astype(np.int8), prepend=0, append=0))
        runs = np.diff([0, *changes.tolist(), thing.mask.size]).tolist()
        category = (thing.category + index) % classes + 1
        yield boxed(thing) | {"category_id": category, "segmentation": {"size": [*SCENE], "counts": runs}}
