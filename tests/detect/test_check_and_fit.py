"""What check-data says of pictures with objects is what a run finds in them, in whatever format."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agreeing import compare
from annotated_files import cvat, cvat_box, cvat_polygon, labelme, shape, voc, voc_object
from annotating import coco, picture, write, yolo_box
from volovan.detect.recipe import Recipe
from volovan.detect.task import DetectTask

SIDE = (40, 30)
NAMES = ("cat", "dog", "tree frog", "void")
Told = list[tuple[str, list[Any], bool]]
"""class, box, whether it is an outline too"""


def corners(box: list[Any]) -> list[Any]:
    return [box[0], box[1], box[2], box[1], box[2], box[3], box[0], box[3]]


def write_coco(root: Path, pictures: dict[str, Told], split: str) -> None:
    ids = {name: number for number, name in enumerate(NAMES, 1)}
    said = [
        {
            "image_id": number,
            "category_id": ids.get(name, 99),
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
        }
        | ({"segmentation": [corners(box)]} if outlined else {})
        for number, told in enumerate(pictures.values(), 1)
        for name, box, outlined in told
    ]
    names = [Path(name).name for name in pictures]
    write(root / split / "_annotations.coco.json", json.dumps(coco(names, said, NAMES, SIDE)))


def write_yolo(root: Path, pictures: dict[str, Told], split: str) -> None:
    for name, told in pictures.items():
        inside = [
            (NAMES.index(kind) if kind in NAMES else 9, np.clip(box, 0, SIDE * 2).tolist()) for kind, box, _ in told
        ]
        lines = [yolo_box(number, box, *SIDE) for number, box in inside]
        write(root / name.replace("images/", "labels/").replace(".png", ".txt"), "\n".join(lines))


def write_voc(root: Path, pictures: dict[str, Told], split: str) -> None:
    for name, told in pictures.items():
        objects = [voc_object(kind, box, difficult=int(outlined)) for kind, box, outlined in told]
        write(root / Path(name).with_suffix(".xml"), voc(*objects, size=SIDE))


def write_labelme(root: Path, pictures: dict[str, Told], split: str) -> None:
    for name, told in pictures.items():
        points = [
            (kind, box, [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]], outlined)
            for kind, box, outlined in told
        ]
        shapes = [
            shape(kind, points=around) if outlined else shape(kind, "rectangle", [box[:2], box[2:]])
            for kind, box, around, outlined in points
        ]
        write(root / Path(name).with_suffix(".json"), labelme(*shapes, size=SIDE))


def write_cvat(root: Path, pictures: dict[str, Told], split: str) -> None:
    images = {
        Path(name).name: [
            cvat_polygon(kind, corners(box)) if outlined else cvat_box(kind, box) for kind, box, outlined in told
        ]
        for name, told in pictures.items()
    }
    said = cvat(images, labels=NAMES[:3]).replace('width="12" height="9"', f'width="{SIDE[0]}" height="{SIDE[1]}"')
    write(root / split / "annotations.xml", said)


WRITERS = (write_coco, write_yolo, write_voc, write_labelme, write_cvat)


def draw_box(draw: random.Random) -> list[Any]:
    x, y = draw.randint(-4, 36), draw.randint(-4, 26)
    box: list[Any] = [x, y, x + draw.choice([1, 5, 12, 30]), y + draw.choice([1, 5, 12])]
    flaw = draw.random()
    if flaw < 0.02:
        box[draw.randrange(4)] = draw.choice([float("nan"), 1e9])
    elif flaw < 0.04:
        box[2] = box[0]
    elif flaw < 0.05:
        box[0], box[2] = box[2], box[0]
    elif flaw < 0.07:
        box = [90, 80, 95, 85]
    return box


def write_tree(draw: random.Random, root: Path) -> None:
    """A folder as people have them, often with something wrong."""
    writer = draw.choice(WRITERS)
    empty, crowds = draw.random() < 0.1, writer is write_voc and draw.random() < 0.2
    splits = draw.choice([("train", "val"), ("train", "val"), ("train", "valid", "test"), ("train",), ("",)])
    for split in splits:
        pictures: dict[str, Told] = {}
        for number in range(draw.randint(1, 4)):
            folder = f"{split}/images" if writer is write_yolo else split
            name = f"{folder}/{draw.choice(['p', 'ä b', 'x.y'])}{number}.png".lstrip("/")
            size = SIDE if draw.random() < 0.97 else (SIDE[1], SIDE[0])
            picture(root / name, size, orientation=draw.choice([1] * 12 + [3, 6]))
            if draw.random() < 0.02:
                (root / name).write_bytes(b"no picture")
            names = [*NAMES[: draw.randint(1, 3)], *(["unheard"] if draw.random() < 0.03 else [])]
            told = [
                (draw.choice(names), draw_box(draw), crowds or draw.random() < 0.3)
                for _ in range(0 if empty else draw.randint(0, 4))
            ]
            pictures[name] = told
        writer(root, pictures, split)
        if draw.random() < 0.03:
            (root / next(iter(pictures))).unlink()
    if draw.random() < 0.3 or writer is write_yolo:
        write(root / "classes.txt", "\n".join(NAMES[: draw.randint(2, 4)]))


def task_of(root: Path) -> DetectTask:
    recipe = Recipe()
    recipe.model.name, recipe.model.head, recipe.model.head_options = "van", "atss", {"width": 16}
    recipe.model.options = {"embed_dims": (8, 8, 8, 8), "depths": (1, 1, 1, 1), "mlp_ratios": (1, 1, 1, 1)}
    recipe.data.source, recipe.augment.resize, recipe.test.size = str(root), (64, 64), (64, 64)
    return DetectTask(recipe)


@pytest.mark.parametrize(
    "seeds", [range(60), pytest.param(range(60, 600), marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_check_data_and_fit_give_the_same_answer(tmp_path: Path, seeds: range) -> None:
    fine = 0
    for seed in seeds:
        root = tmp_path / str(seed)
        root.mkdir()
        write_tree(random.Random(seed), root)
        try:
            report, found = compare(task_of(root))
        except AssertionError as error:
            raise AssertionError(f"tree {seed}: {error}") from error
        assert found.refused or (report is not None and report.classes == found.classes), f"tree {seed}"
        fine += not found.refused
    assert 0.1 < fine / len(seeds) < 0.9, fine  # else the trees try nothing
