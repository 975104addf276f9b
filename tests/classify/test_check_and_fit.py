"""What check-data says of pictures with classes is what a run finds in them, in the same words, whatever lies there."""

import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from agreeing import compare
from volovan.classify.recipe import DataSettings, LossSettings, Recipe
from volovan.classify.task import classification_task
from volovan.data import check_data
from volovan.data.errors import SourceError
from volovan.room.settings import TrunkSettings
from volovan.room.task import RoomTask

CLASSES = ["cat", "Cat", "dog", "2", "10", "train", "test", "valid", "fox one", "eel"]
LABELS = [["cat", "dog"], ["cat", "Cat", "eel"], ["0", "1"], ["0.0", "10.0"], ["1.5", "2"], ["0", "7"], ["-1", "2"]]
SPLITS = [
    ("train", "val"),
    ("train", "validation"),
    ("Training", "test"),
    ("train", "val", "test"),
    ("train",),
    ("val",),
]
HEADINGS = ["path,label,split", "image_id,breed,subset", "Image,Id,set", "foo,bar,baz", "", "filename,labels,split"]
HEADINGS += ["file,value,split", "path,age,split", "split,label,img"]
TARGETS = {"labels": "multi_label", "numbers": "regression"}


def write_picture(draw: random.Random, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if draw.random() < 0.01:
        path.write_bytes(draw.choice([b"", b"<html>"]))
    else:
        Image.frombytes("RGB", (4, 4), draw.randbytes(48)).save(path)


def write_classes(draw: random.Random, folder: Path, names: list[str]) -> None:
    """Class folders, some of them empty, among files that are none of it."""
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        deeper = "more/" if draw.random() < 0.1 else ""
        for number in range(draw.choice([1, 2, 3, 5, 8]) if draw.random() < 0.9 else 0):
            write_picture(draw, folder / name / f"{deeper}{number}.png")
        for other in (".hidden.png", "._0.png", "notes.txt"):
            if draw.random() < 0.1:
                (folder / name / other).write_text("x")


def write_folders(draw: random.Random, root: Path) -> Path:
    root = root / draw.choice(["set", "set", "set", "train", "val"])
    root.mkdir()
    names = draw.sample(CLASSES, draw.choice([0, 1, 2, 3, 3, 4]))
    if draw.random() < 0.4:
        write_classes(draw, root, names)
    else:
        for split in draw.choice(SPLITS):
            kept = [name for name in names if draw.random() < 0.8]
            write_classes(draw, root / split, kept)
    if draw.random() < 0.15:
        write_classes(draw, root, draw.sample([*CLASSES, "__MACOSX", ".git"], 2))
    if draw.random() < 0.1:
        write_picture(draw, root / "loose.png")
    return root


def write_list(draw: random.Random, root: Path) -> Path:
    labels, heading = draw.choice(LABELS), draw.choice([*HEADINGS, *HEADINGS[:3]])
    labels = (
        ["0.5", "3", "-2e1"] if "value" in heading else ["cat", "cat|eel", "dog"] if "labels" in heading else labels
    )
    names = heading.split(",") if heading else ["path", "label", "split"]
    splits = draw.choice([None, None, *SPLITS])
    if splits is None:
        names = [name for name in names if name not in ("split", "subset", "set", "baz")]
    rows = []
    for number in range(draw.choice([0, 2, 6, 15, 15, 15])):
        file = f"pics/{number}.png"
        if draw.random() < 0.99:
            write_picture(draw, root / file)
        file = draw.choice([file, file, file, file.replace("/", "\\"), file.removesuffix(".png"), f"{number}"])
        label = "" if draw.random() < 0.01 else draw.choice(labels)
        if draw.random() < 0.01:
            label = "wolf"
        of = {"split": draw.choice(splits or [""]), "subset": "train", "set": "val", "baz": "x"}
        row = [of.get(name) or (label if name in ("label", "breed", "Id", "bar", "labels", "value", "age") else file)
               for name in names]  # fmt: skip
        rows.append(row)
    suffix, mark = draw.choice([(".csv", ","), (".csv", ";"), (".tsv", "\t")] + [(".txt", " ")] * (splits is None))
    lines = [mark.join(row) for row in ([names] if heading else []) + rows]
    (root / f"list{suffix}").write_text("\n".join(lines))
    if draw.random() < 0.15:
        (root / "classes.txt").write_text("\n".join(draw.choice([["cat", "dog"], ["a", "b", "c"], ["cat", "cat"]])))
    return root / f"list{suffix}"


def write_data(draw: random.Random, root: Path) -> Path:
    """A source as people have them, often with something wrong."""
    if draw.random() < 0.5:
        return write_folders(draw, root)
    return write_list(draw, root)


def task_of(source: Path, target: str) -> RoomTask:
    options = {"embed_dims": [8, 8], "depths": [1, 1], "mlp_ratios": [1, 1], "patch_kernels": [7, 5], "strides": [4, 4]}
    recipe = Recipe(data=DataSettings(str(source), size=32), model=TrunkSettings(name="van", options=options))
    recipe.loss, recipe.augment.randaugment = LossSettings(target=target), None
    return classification_task(recipe)


def check(source: Path) -> str:
    """Compare both; how it went."""
    try:
        target = TARGETS.get(check_data(str(source)).kind, "class")
    except SourceError:
        target = "class"
    report, found = compare(task_of(source, target), "class")
    if report is None or found.refused:
        return "refused" if report else "not opened"
    return f"{report.kind}, {'cautions' if report.cautions else 'fine'}"


@pytest.mark.parametrize(
    "seeds", [range(125 * part, 125 * part + 125) for part in range(4)], ids=lambda seeds: seeds[0]
)
def test_check_data_and_fit_say_the_same(tmp_path: Path, seeds: range) -> None:
    outcomes: Counter[str] = Counter()
    for seed in seeds:
        root = tmp_path / str(seed)
        root.mkdir()
        try:
            outcomes[check(write_data(random.Random(seed), root))] += 1
        except AssertionError as error:
            raise AssertionError(f"tree {seed}: {error}") from error
    fine = outcomes.total() - outcomes["not opened"] - outcomes["refused"]
    assert min(outcomes["not opened"], outcomes["refused"], outcomes["class, cautions"], fine) >= 10, outcomes
