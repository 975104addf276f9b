"""Data that are odd: they train, are scored and predicted without a number that is none, or are refused by name."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from annotating import coco, picture, write
from commands import refused, run

SIZE = (64, 48)
USUAL = {"bbox": [5, 5, 30, 25], "segmentation": [[5, 5, 35, 5, 35, 30, 5, 30]]}
HEADS = {
    "atss": "head: atss, head_options: {width: 16}",
    "mask_rcnn": "head: mask_rcnn, head_options: {width: 16, taught: 16, proposals: 50}",
    "sparse_rcnn": "head: sparse_rcnn, head_options: {width: 16, proposals: 10, stages: 2}",
}


def recipe(folder: Path, head: str) -> Path:
    path = folder / "tiny.yaml"
    trunk = "options: {embed_dims: [8, 16, 24, 32], depths: [1, 1, 1, 1], mlp_ratios: [2, 2, 2, 2]}"
    path.write_text(
        f"task: detect\nmodel: {{name: van, {HEADS[head]}, {trunk}}}\n"
        "augment: {resize: [64, 64]}\ntest: {size: [64, 64], score: 0.0}\noptim: {lr: 1.0e-3}\n"
        f"schedule: {{steps: {STEPS}, warmup_epochs: 0}}\n"
        "train: {batch_size: 2, workers: 0, tensorboard: false, device: cpu, log_steps: 1}\n"
    )
    return path


def data(folder: Path, odd: Sequence[tuple[list[dict[str, Any]], tuple[int, int]]]) -> Path:
    """Two usual pictures and odd ones in train, the same in val."""
    sizes = [SIZE, SIZE, *(size for _, size in odd)]
    annotations = [{**USUAL, "image_id": 1, "area": 750}, {**USUAL, "image_id": 2, "category_id": 2, "area": 750}]
    annotations += [{"image_id": number, **one} for number, (some, _) in enumerate(odd, 3) for one in some]
    for split in ("train", "val"):
        images = []
        for number, (width, height) in enumerate(sizes, 1):
            picture(folder / "images" / split / f"{number}.png", (width, height))
            images.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        write(folder / "annotations" / f"instances_{split}.json", coco(images, annotations))
    return folder


def outlined(x: float, y: float, width: float, height: float, **more: Any) -> dict[str, Any]:
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    return {"bbox": [x, y, width, height], "area": width * height, "segmentation": [corners], **more}


EMPTY = {"size": [48, 64], "counts": [48 * 64]}
ODD: dict[str, tuple[list[dict[str, Any]], tuple[int, int]]] = {
    "no objects": ([], SIZE),
    "one pixel": ([outlined(10, 10, 1, 1)], SIZE),
    "over the edge": ([outlined(-20, -30, 500, 400)], SIZE),
    "outside": ([outlined(100, 100, 20, 20)], SIZE),
    "no width": ([outlined(10, 10, 0, 20)], SIZE),
    "two hundred": ([outlined(i % 50, i % 37, 3 + i % 9, 4 + i % 5, category_id=1 + i % 2) for i in range(200)], SIZE),
    "crowd alone": ([{**outlined(0, 0, 60, 40), "iscrowd": 1, "segmentation": EMPTY}], SIZE),
    "empty mask": ([{"bbox": [5, 5, 20, 20], "area": 400, "segmentation": EMPTY}], SIZE),
    "thin": ([outlined(100, 0, 400, 1)], (3000, 1)),
}
TINY = [outlined(i % 50, i % 37, 3 + i % 9, 4 + i % 5, category_id=1 + i % 2) for i in range(2000)]
MANY: dict[str, tuple[list[dict[str, Any]], tuple[int, int]]] = {"two thousand": (TINY, SIZE)}
STEPS = 6
"""of two pictures: each of the eleven once"""


@pytest.mark.parametrize("what", ["all", *(pytest.param(one, marks=pytest.mark.slow) for one in [*ODD, *MANY])])
@pytest.mark.parametrize("head", HEADS)
def test_odd_objects_train_and_are_scored(what: str, head: str, tmp_path: Path, capsys: Any) -> None:
    odd = [*ODD.values()] if what == "all" else [(ODD | MANY)[what]]
    folder, out = data(tmp_path / "data", odd), tmp_path / "run"
    run(capsys, "fit", recipe(tmp_path, head), "--data.source", folder, "--out", out)
    rows = list(csv.DictReader((out / "steps.csv").open()))
    assert len(rows) == STEPS
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    run(capsys, "validate", out, "--workers", 0, "--out", tmp_path / "judged")
    figures = json.loads((tmp_path / "judged" / "metrics.json").read_text())
    assert 0 <= figures["ap"] <= 1
    run(capsys, "predict", out, folder / "images" / "val", "--workers", 0, "--out", tmp_path / "found")
    found = list(csv.DictReader((tmp_path / "found" / "predictions.csv").open()))
    assert [row["error"] for row in found] == [""] * (2 + len(odd))


@pytest.mark.parametrize(
    ("odd", "sentence"),
    [
        ([{**USUAL, "bbox": [30, 5, -20, 10]}], "annotation 3 of instances_train.json has the bbox"),
        ([{**USUAL, "bbox": [5, 5, float("nan"), 10]}], "annotation 3 of instances_train.json"),
        ([{**USUAL, "category_id": 9}], "9"),
    ],
    ids=["inverted", "nan", "class"],
)
def test_what_cannot_be_meant_is_refused_by_name(odd: Any, sentence: str, tmp_path: Path, capsys: Any) -> None:
    folder = data(tmp_path / "data", [(odd, SIZE)])
    said = refused(capsys, "fit", recipe(tmp_path, "atss"), "--data.source", folder, "--out", tmp_path / "run")
    assert sentence in said
