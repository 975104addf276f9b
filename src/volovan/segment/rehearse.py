"""A segmentation run without its data: drawn scenes with as many classes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from volovan.data.synthetic.shapes import draw_scene
from volovan.room.network import Example, network_of
from volovan.room.scenes import SCENE
from volovan.room.settings import pair
from volovan.segment.network import Segmenter
from volovan.segment.recipe import Recipe

WHOLE = (512, 512)
"""size that cost is told at where whole pictures are trained on"""


def stand_in(recipe: Recipe, folder: Path, classes: int, batch: int, pictures: int) -> Iterator[str]:
    """Give a recipe data that are not needed from anywhere, in place; what stands for what."""
    yield f"drawn scenes of {classes} classes for {recipe.data.source}"
    write_scenes(folder, {"train": pictures, "val": batch}, classes)
    recipe.data.source = str(folder)
    if isinstance(recipe.loss.class_weights, tuple) and len(recipe.loss.class_weights) != classes:
        recipe.loss.class_weights = (1.0,) * classes


def example(recipe: Recipe, classes: int) -> Example:
    """The network of a recipe with random weights, its auxiliary head included."""
    size = WHOLE if recipe.augment.crop is None else pair(recipe.augment.crop)
    model = network_of(Segmenter, recipe, classes, size=size, weights=None)
    return Example(model, size, pictures=2, forward={"deep": True})  # BatchNorm of a map pooled to 1 x 1 needs two


def write_scenes(folder: Path, splits: dict[str, int], classes: int) -> None:
    """images/SPLIT/N.png, masks/SPLIT/N.png and classes.txt; the classes of a scene are shifted from scene to scene."""
    for split, count in splits.items():
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(count):
            scene = draw_scene("train", index, *SCENE)
            mask = (scene.labels.astype(np.int64) + 10 * index) % classes
            Image.fromarray(scene.image).save(folder / "images" / split / f"{index}.png")
            Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / split / f"{index}.png")
    (folder / "classes.txt").write_text("".join(f"kind {number}\n" for number in range(classes)), encoding="utf-8")
