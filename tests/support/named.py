"""Data whose classes have names: the same pictures as a list, as columns of numbers, with masks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from PIL import Image

from volovan.use.recipes import read_recipe
from volovan.use.rooms import ROOMS

SHADES = {"ant": 30, "bee": 110, "cow": 190, "dog": 250, "emu": 70, "gnu": 150, "bees": 110}
LEARNED = ("ant", "bee", "cow")


def shade(name: str) -> int:
    """How bright what is called so is."""
    return SHADES.get(name) or crc32(name.encode()) % 200 + 30


def scene(name: str, seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(-20, 20, (40, 40, 3))
    return Image.fromarray((shade(name) + noise).clip(0, 255).astype(np.uint8))


def pictures(root: Path, shown: Sequence[str]) -> list[tuple[str, str, str]]:
    """(path, what it shows, split) of six pictures of each kind."""
    rows = []
    for number, name in enumerate(6 * [*shown]):
        split = "val" if number // len(shown) < 2 else "train"
        path = root / "images" / split / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(name, number).save(path)
        rows.append((f"images/{split}/{number}.png", name, split))
    return rows


def lay_list(root: Path, names: Sequence[str], shown: Sequence[str], column: str) -> Path:
    """A list whose classes.txt gives their order."""
    rows = [f"{path},{name},{split}" for path, name, split in pictures(root, shown)]
    (root / "list.csv").write_text("\n".join([f"path,{column},split", *rows]) + "\n")
    (root / "classes.txt").write_text("\n".join(names) + "\n")
    return root / "list.csv"


def lay_numbers(root: Path, names: Sequence[str], shown: Sequence[str]) -> Path:
    """A list with a column of numbers for each name: how bright the picture is, beside the column's own brightness."""
    rows = [
        f"{path},{split}," + ",".join(str(shade(seen) - shade(name)) for name in names)
        for path, seen, split in pictures(root, shown)
    ]
    head = "path,split," + ",".join(f"value:{name}" for name in names)
    (root / "list.csv").write_text("\n".join([head, *rows]) + "\n")
    return root / "list.csv"


def lay_masks(root: Path, names: Sequence[str], shown: Sequence[str]) -> Path:
    """Pictures that are of one class in their left half, and of the next one in the other."""
    for path, name, _ in pictures(root, shown):
        other = shown[(shown.index(name) + 1) % len(shown)]
        mask = np.full((40, 40), names.index(name), np.uint8)
        mask[:, 20:] = names.index(other)
        picture = Image.open(root / path)
        picture.paste(scene(other, 7), (20, 0))
        picture.save(root / path)
        (root / path.replace("images", "masks")).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(root / path.replace("images", "masks"))
    (root / "classes.txt").write_text("\n".join(names) + "\n")
    return root


@dataclass(frozen=True)
class Kind:
    """Of targets: the room that learns them, and how data with classes of given names are laid out."""

    room: str
    lay: Callable[[Path, Sequence[str], Sequence[str]], Path]
    words: tuple[str, ...] = ()

    def data(self, root: Path, names: Sequence[str], shown: Sequence[str] = LEARNED) -> Path:
        """Data that name the classes in this order, with pictures that show some of them."""
        root.mkdir(exist_ok=True)
        return self.lay(root, names, shown)


KINDS = {
    "class": Kind("classify", lambda root, names, shown: lay_list(root, names, shown, "label")),
    "labels": Kind(
        "classify", lambda root, names, shown: lay_list(root, names, shown, "labels"), ("--loss.target", "multi_label")
    ),
    "numbers": Kind("classify", lay_numbers, ("--loss.target", "regression")),
    "masks": Kind("segment", lay_masks),
}


@dataclass(frozen=True)
class Learned:
    """A kind, and what has learned it: a run or its checkpoint; its recipe, and what it was learned from."""

    kind: Kind
    recipe: Path
    run: Path
    source: Path

    def task(self, source: Path, val: Path | None = None, weights: Path | None = None) -> tuple[Any, Any]:
        """A task that is about to train, and its data."""
        words = [*self.kind.words, "--data.source", str(source)]
        words += ["--data.val", str(val)] if val else []
        words += ["--model.weights", str(weights)] if weights else []
        task = ROOMS[self.kind.room].task()(read_recipe(self.recipe, words)[0])
        return task, task.build_data()
