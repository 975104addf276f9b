"""What check-data says of a folder of masks is what a run finds in it, whatever lies there."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agreeing import compare
from volovan.segment.recipe import AugmentSettings, DataSettings, ModelSettings, Recipe
from volovan.segment.task import SegmentTask

SIDE = 33
LAYOUTS = {  # picture and mask of a sample
    "flat": ("images/{name}.png", "masks/{name}.png"),
    "inner": ("images/{split}/{name}.png", "masks/{split}/{name}.png"),
    "outer": ("{split}/images/{name}.png", "{split}/masks/{name}.png"),
    "camvid": ("{split}/{name}.png", "{split}annot/{name}.png"),
    "voc": ("JPEGImages/{name}.png", "SegmentationClass/{name}.png"),
    "table": ("x/{name}.png", "y/{name}.png"),
}
VALUES = ((0, 1), (0, 255), (0, 1, 2), (0, 1, 255), (255,), (0,), (0, 1, 2, 3, 4), (3, 7), (0, 1, 2, 7))
FORMS: dict[str, tuple[str, str, Callable[..., str]]] = {  # file, heading, line
    "name": ("classes.txt", "", lambda name, number, colour: name),
    "id": ("classes.txt", "", lambda name, number, colour: f"{number} {name}"),
    "heading": ("classes.txt", "id name\n", lambda name, number, colour: f"{number} {name}"),
    "colour": ("classes.txt", "", lambda name, number, colour: f"{name} {colour}"),
    "csv": ("classes.csv", "id,name\n", lambda name, number, colour: f"{number},{name}"),
    "colours": ("class_dict.csv", "name,r,g,b\n", lambda name, number, colour: f"{name},{colour.replace(' ', ',')}"),
    "yaml": ("data.yaml", "names:\n", lambda name, number, colour: f"  {number}: {name}"),
    "odd": ("classes.txt", "0 a\n1 b\nodd\n", lambda name, number, colour: f"{number} {name}"),
}


def write_class_file(draw: random.Random, root: Path) -> None:
    count = draw.randint(1, 5)
    names = [f"class {letter}" for letter in "abcde"[:count]]
    names[draw.randrange(count)] = draw.choice(["class a", "void", "__ignore__", "x", "y"])
    numbers = draw.sample([0, 1, 2, 3, 4, 5, 7, 255], count) if draw.random() < 0.5 else range(count)
    file, heading, line = FORMS[draw.choice([*FORMS])]
    colours = draw.sample(["0 0 0", "100 0 0", "200 0 0", "255 255 255", "0 0 255"], count)
    (root / file).write_text(heading + "\n".join(map(line, names, numbers, colours)) + "\n")


def write_mask(draw: random.Random, path: Path, values: tuple[int, ...], mode: str) -> None:
    drawn = np.array(draw.choices(values, k=SIDE * SIDE), np.uint8).reshape(SIDE, SIDE)
    image = Image.fromarray(drawn)
    if mode == "P":
        image.putpalette([channel for index in range(256) for channel in (37 * index % 256, 91 * index % 256, 0)])
    elif mode == "colours":
        image = Image.fromarray(np.stack([np.minimum(drawn, 2) * 100, drawn * 0, drawn * 0], -1).astype(np.uint8))
    elif mode != "L":
        image = image.convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def write_tree(draw: random.Random, root: Path) -> None:
    """A folder as people have them, often with something wrong."""
    layout, mode = draw.choice([*LAYOUTS]), draw.choice(["L", "L", "L", "P", "RGB", "RGBA", "1", "colours"])
    values, mixed = draw.choice(VALUES), draw.random() < 0.2
    if draw.random() < 0.7:
        write_class_file(draw, root)
    lines, members = ["image,mask,split"], {"train": "", "val": ""}
    for number in range(draw.randint(2, 8)):
        split, name = ("val" if number % 3 == 1 else "train"), f"p{number}"
        picture, mask = (path.format(split=split, name=name) for path in LAYOUTS[layout])
        write_mask(draw, root / mask, draw.choice(VALUES) if mixed else values, mode)
        (root / picture).parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes("RGB", (SIDE, SIDE), draw.randbytes(3 * SIDE * SIDE)).save(root / picture)
        lines.append(f"{picture},{mask},{split}")
        members[split] += f"{name}\n"
    if layout == "table":
        (root / "masks.csv").write_text("\n".join(lines))
    if layout == "voc":
        (root / "ImageSets" / "Segmentation").mkdir(parents=True)
        for split, names in members.items():
            (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(names)


def task_of(root: Path) -> SegmentTask:
    options = {"embed_dims": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "mlp_ratios": [1, 1, 1, 1]}
    model = ModelSettings(name="van", options=options, head_options={"pyramid_channels": 8, "channels": 8})
    return SegmentTask(Recipe(model=model, data=DataSettings(str(root)), augment=AugmentSettings(crop=32)))


@pytest.mark.parametrize(
    "seeds", [range(30), pytest.param(range(30, 500), marks=pytest.mark.slow)], ids=["some", "many"]
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
    assert 0.1 < fine / len(seeds) < 0.9  # else the trees try nothing
