"""A panoptic run without its data: drawn scenes with as many classes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from volovan.data.panoptic.segments import Panoptic, Segment
from volovan.data.pictures.palettes import spread
from volovan.data.synthetic.shapes import draw_scene
from volovan.panoptic.inference import FoundSegments
from volovan.panoptic.network import PanopticModel
from volovan.panoptic.recipe import Recipe
from volovan.panoptic.written import ids_picture, ledger
from volovan.room.network import Example, network_of
from volovan.room.scenes import SCENE


def stand_in(recipe: Recipe, folder: Path, classes: int, batch: int, pictures: int) -> Iterator[str]:
    """Give a recipe data that are not needed from anywhere, in place; what stands for what."""
    yield f"drawn scenes of {classes} classes for {recipe.data.source}"
    for split, count in {"train": pictures, "val": batch}.items():
        write_scenes(folder, split, count, classes)
    recipe.data.source = str(folder)


def example(recipe: Recipe, classes: int) -> Example:
    """The network of a recipe with random weights."""
    size = recipe.cost_size()
    return Example(network_of(PanopticModel, recipe, classes, size=size, weights=None), size)


def write_scenes(folder: Path, split: str, count: int, classes: int) -> None:
    """images/SPLIT/N.png, annotations/panoptic_SPLIT/N.png and its JSON; every second class is of things."""
    names = [f"kind {number}" for number in range(classes)]
    things = [number % 2 == 0 for number in range(classes)]
    home = folder / "annotations" / f"panoptic_{split}"
    home.mkdir(parents=True)
    (folder / "images" / split).mkdir(parents=True)
    with ledger(folder / "annotations", names, things, spread(classes)) as book:
        for index in range(count):
            scene = draw_scene("train", index, *SCENE)
            Image.fromarray(scene.image).save(folder / "images" / split / f"{index}.png")
            ids_picture(scene.panoptic).save(home / f"{index}.png")
            segments = tuple(Segment(one.id, (one.category_id + index) % classes) for one in scene.segments)
            told = FoundSegments(Panoptic(scene.panoptic, segments), np.ones(len(segments), np.float32))
            book.add(f"{index}.png", SCENE, told, f"panoptic/{index}.png")
    (folder / "annotations" / "panoptic.json").rename(home.with_suffix(".json"))
    (folder / "annotations" / "segments.csv").unlink()
