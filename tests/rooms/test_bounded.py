"""What a picture costs follows from its pixels, never from its shape: in every room, from decoding to what is drawn."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import volovan
from costs import Cost
from poses import YOLO_LINE, write_yolo_settings
from volovan.data import check_data, open_source
from volovan.engine.distributed import Place
from volovan.use.recipes import read_recipe
from volovan.use.rooms import ROOMS
from volovan.use.validate import validate

PIXELS = 60_000
"""of every picture here, or a little less"""
SIDE = math.isqrt(PIXELS)
LONG = 59_999
"""a prime"""


def write(root: Path, kind: str, classes: Sequence[str], size: tuple[int, int]) -> Path:
    """Two pictures of (width, height) to train on and two to validate on, turned by EXIF, with targets of a kind."""
    picture = Image.linear_gradient("L").resize(size).convert("RGB")
    mask = np.zeros(size[::-1], np.uint8)
    mask[size[1] // 2 :, size[0] // 2 :] = 255 if kind == "map" else 1
    mask[0, 0] = 0
    turn = Image.Exif()
    turn[0x0112] = 3
    for split in ("train", "val"):
        for number in range(2):
            folder = root / split / classes[number] if kind == "class" else root / "images" / split
            folder.mkdir(parents=True, exist_ok=True)
            picture.save(folder / f"{number}.png", exif=turn)
            if kind in ("boxes", "points"):
                (root / "labels" / split).mkdir(parents=True, exist_ok=True)
                line = YOLO_LINE if kind == "points" else f"{number} 0.5 0.5 0.8 0.8"
                (root / "labels" / split / f"{number}.txt").write_text(f"{line}\n")
            elif kind != "class":
                (root / "masks" / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(root / "masks" / split / f"{number}.png")
    if kind == "points":
        write_yolo_settings(root)
    if kind in ("mask", "boxes", "panoptic"):
        names = classes[:2] if kind == "panoptic" else classes  # grounds: in masks nothing is counted
        (root / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    return root


class Used:
    """All that is done with a picture of (width, height) in a room."""

    def __init__(self, case: Any, root: Path, size: tuple[int, int]) -> None:
        self.ready: Any = volovan.load(case.run, device="cpu")
        self.kind = ROOMS[case.room].kind
        self.root = write(root, self.kind, self.ready.classes, size)
        self.task = ROOMS[case.room].task()(read_recipe(case.recipe, ["--data.source", str(self.root)])[0])

    def check(self) -> None:
        check_data(str(self.root), self.kind, out=self.root / "seen", workers=1)

    def fit(self) -> None:
        data = self.task.build_data()
        for _ in range(3):
            data.train.read(0)
        data.val.read(1)

    def validate(self) -> None:
        source: Any = open_source(self.root, "val", kind=self.kind)
        validate(self.ready, source, Place(torch.device("cpu")), workers=0, limit=1)
        self.ready.compare(self.ready.predict(source.load(0)), self.ready.truth(source, 0), "")

    def predict(self) -> None:
        answer = self.ready.predict(next(self.root.rglob("0.png")).read_bytes())
        answer.draw()
        self.ready.files(answer)
        self.ready.sheet([self.ready.thumbnail(answer)])

    def costs(self) -> dict[str, Cost]:
        found = {}
        for use in (self.check, self.fit, self.validate, self.predict):
            with Cost() as found[use.__name__]:
                use()
        return found


@pytest.mark.parametrize("more", [range(1), pytest.param(range(1, 20), marks=pytest.mark.slow)], ids=["some", "many"])
def test_thin_pictures_cost_what_others_of_their_pixels_do(case, tmp_path, more):
    heights = [1, LONG, *(int(PIXELS ** random.Random(seed).random()) for seed in more)]
    usual = Used(case, tmp_path / "usual", (SIDE, SIDE)).costs()
    for number, height in enumerate(heights):
        size = (LONG if height == 1 else PIXELS // height, height)
        for use, cost in Used(case, tmp_path / str(number), size).costs().items():
            shape = f"{use} of {size[0]} x {size[1]}"
            assert cost.values <= 4 * max(usual[use].values, PIXELS), shape
            assert cost.pixels <= 4 * max(usual[use].pixels, 3 * PIXELS), shape
            assert cost.held <= 2 * usual[use].held + 2**21, shape
