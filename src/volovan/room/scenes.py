"""Drawn scenes on the disk as a JSON of COCO: what stands for the objects of a run in its rehearsal."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from volovan.data.synthetic.shapes import Instance, Scene, draw_scene

SCENE = (192, 256)
"""(height, width) of a scene, which is resized and cropped as all pictures are"""


def write_scenes(
    folder: Path,
    splits: Mapping[str, int],
    name: str,
    categories: Sequence[dict[str, Any]],
    annotations: Callable[[int, Scene], Iterable[dict[str, Any]]],
) -> None:
    """images/SPLIT/N.png and annotations/NAME_SPLIT.json.

    annotations  of a scene, by its number; their ids are given here
    """
    (folder / "annotations").mkdir(parents=True)
    for split, count in splits.items():
        (folder / "images" / split).mkdir(parents=True)
        said: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": list(categories)}
        for index in range(count):
            scene = draw_scene("train", index, *SCENE)
            Image.fromarray(scene.image).save(folder / "images" / split / f"{index}.png")
            said["images"].append({"id": index, "file_name": f"{index}.png", "width": SCENE[1], "height": SCENE[0]})
            for own in annotations(index, scene):
                said["annotations"].append({"id": len(said["annotations"]) + 1, "image_id": index, **own})
        (folder / "annotations" / f"{name}_{split}.json").write_text(json.dumps(said), encoding="utf-8")


def boxed(thing: Instance) -> dict[str, Any]:
    """What every annotation says of a thing."""
    x1, y1, x2, y2 = thing.box
    return {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": int(thing.mask.sum()), "iscrowd": 0}
