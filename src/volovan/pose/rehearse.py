"""A pose run without its data: drawn scenes whose shapes have as many points."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from volovan.data.objects.skeleton import Skeleton
from volovan.data.synthetic.shapes import draw_scene
from volovan.pose.network import PoseModel
from volovan.pose.recipe import Recipe
from volovan.pose.written import categories_of
from volovan.room.network import Example, network_of

SCENE = (192, 256)
"""(height, width) of the drawn scenes"""


def stand_in(recipe: Recipe, folder: Path, points: int, batch: int, objects: int) -> Iterator[str]:
    """Give a recipe data that are not needed from anywhere, in place; what stands for what."""
    yield f"drawn scenes whose shapes have {points} points for {recipe.data.source}"
    write_scenes(folder, {"train": objects, "val": batch}, points)
    recipe.data.source = str(folder)


def example(recipe: Recipe, points: int) -> Example:
    """The network of a recipe with random weights."""
    size = recipe.network_size()
    return Example(network_of(PoseModel, recipe, points, size=size, weights=None), size)


def write_scenes(folder: Path, splits: dict[str, int], points: int) -> None:
    """images/SPLIT/N.png and annotations/person_keypoints_SPLIT.json: in each scene one shape has points, anywhere."""
    (folder / "annotations").mkdir(parents=True)
    skeleton = Skeleton(tuple(f"point {number}" for number in range(points)))
    for split, count in splits.items():
        (folder / "images" / split).mkdir(parents=True)
        said: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": categories_of(["shape"], skeleton)}
        for index in range(count):
            scene, draw = draw_scene("train", index, *SCENE), np.random.default_rng(index)
            Image.fromarray(scene.image).save(folder / "images" / split / f"{index}.png")
            said["images"].append({"id": index, "file_name": f"{index}.png", "width": SCENE[1], "height": SCENE[0]})
            x1, y1, x2, y2 = scene.instances[-1].box
            places = draw.uniform((x1, y1), (x2, y2), (points, 2)).round(2)
            said["annotations"].append(
                {
                    "id": index + 1,
                    "image_id": index,
                    "category_id": 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "keypoints": np.column_stack((places, np.full(points, 2))).ravel().tolist(),
                    "num_keypoints": points,
                }
            )
        path = folder / "annotations" / f"person_keypoints_{split}.json"
        path.write_text(json.dumps(said), encoding="utf-8")
