"""A detection run without its data: drawn scenes with as many classes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, nn

from volovan.data.synthetic.shapes import draw_scene
from volovan.detect.network import Detector
from volovan.detect.recipe import Recipe
from volovan.room.network import Example, network_of

SCENE = (192, 256)
"""(height, width) of the drawn scenes, which are resized and cropped like all pictures"""


def stand_in(recipe: Recipe, folder: Path, classes: int, batch: int, pictures: int) -> Iterator[str]:
    """Give a recipe data that are not needed from anywhere, in place; what stands for what."""
    yield f"drawn scenes of {classes} classes for {recipe.data.source}"
    write_scenes(folder, {"train": pictures, "val": batch}, classes)
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


def write_scenes(folder: Path, splits: dict[str, int], classes: int) -> None:
    """images/SPLIT/N.png and annotations/instances_SPLIT.json; classes of a scene are shifted from scene to scene."""
    (folder / "annotations").mkdir(parents=True)
    for split, count in splits.items():
        (folder / "images" / split).mkdir(parents=True)
        said: dict[str, list[Any]] = {"images": [], "annotations": []}
        said["categories"] = [{"id": number + 1, "name": f"kind {number}"} for number in range(classes)]
        for index in range(count):
            scene = draw_scene("train", index, *SCENE)
            Image.fromarray(scene.image).save(folder / "images" / split / f"{index}.png")
            said["images"].append({"id": index, "file_name": f"{index}.png", "width": SCENE[1], "height": SCENE[0]})
            for thing in scene.instances:
                x1, y1, x2, y2 = thing.box
                changes = np.flatnonzero(np.diff(thing.mask.T.ravel().astype(np.int8), prepend=0, append=0))
                ends = [0, *changes.tolist(), thing.mask.size]
                said["annotations"].append(
                    {
                        "id": len(said["annotations"]) + 1,
                        "image_id": index,
                        "category_id": (thing.category + index) % classes + 1,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": int(thing.mask.sum()),
                        "iscrowd": 0,
                        "segmentation": {"size": [*SCENE], "counts": np.diff(ends).tolist()},
                    }
                )
        path = folder / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(said), encoding="utf-8")
