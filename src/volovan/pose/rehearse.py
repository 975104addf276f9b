"""A pose run without its data: drawn scenes in which a shape has as many points."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from volovan.data.objects.skeleton import Skeleton
from volovan.data.synthetic.shapes import Scene
from volovan.pose.network import PoseModel
from volovan.pose.recipe import Recipe
from volovan.pose.written import categories_of
from volovan.room.network import Example, network_of
from volovan.room.scenes import boxed, write_scenes


def stand_in(recipe: Recipe, folder: Path, points: int, batch: int, objects: int) -> Iterator[str]:
    """Give a recipe data that are not needed from anywhere, in place; what stands for what."""
    yield f"drawn scenes whose shapes have {points} points for {recipe.data.source}"
    kinds = categories_of(["shape"], Skeleton(tuple(f"point {number}" for number in range(points))))
    write_scenes(folder, {"train": objects, "val": batch}, "person_keypoints", kinds, partial(object_of, points=points))
    recipe.data.source = str(folder)


def example(recipe: Recipe, points: int) -> Example:
    """The network of a recipe with random weights."""
    size = recipe.network_size()
    return Example(network_of(PoseModel, recipe, points, size=size, weights=None), size)


def object_of(index: int, scene: Scene, points: int) -> Iterator[dict[str, Any]]:
    """The annotation of the foremost shape of a scene, with points anywhere in its box."""
    thing = scene.instances[-1]
    x1, y1, x2, y2 = thing.box
    places = np.random.default_rng(index).uniform((x1, y1), (x2, y2), (points, 2)).round(2)
    said = np.column_stack((places, np.full(points, 2))).ravel().tolist()
    yield boxed(thing) | {"category_id": 1, "keypoints": said, "num_keypoints": points}
