"""CUB-200-2011 (Wah et al., Caltech, 2011) as it is handed out: 200 birds, 5,994 pictures to train and 5,794 to test.

images.txt              <picture number> <class folder/file>, below images/
image_class_labels.txt  <picture number> <class number from 1>
train_test_split.txt    <picture number> <1: train, 0: test>
classes.txt             <class number from 1> <name>
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from volovan.data.errors import SourceError
from volovan.data.samples import FileSource
from volovan.data.text import read_lines

_PICTURES, _LABELS, _SPLIT, _CLASSES = "images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"
_FILES = (_PICTURES, _LABELS, _SPLIT, _CLASSES)


def cub_splits(root: Path) -> dict[str, Callable[[], FileSource]] | None:
    """{"train": opener, "test": opener} if root is CUB's folder or the one above it, else None."""
    for folder in (root, root / "CUB_200_2011"):
        if all((folder / name).is_file() for name in _FILES):
            return {split: partial(_open, folder, split) for split in ("train", "test")}
    return None


def _open(root: Path, split: str) -> FileSource:
    names = [text for _, text in _numbered(root / _CLASSES, in_order=True).values()]
    files = _numbered(root / _PICTURES)
    labels = _values(root / _LABELS, files, 1, len(names))
    trains = _values(root / _SPLIT, files, 0, 1)
    chosen = [number for number in files if trains[number] == (split == "train")]
    if not chosen:
        raise SourceError(f"{root / _SPLIT} leaves no picture for {split}; fetch it again")
    numbers = np.array([labels[number] - 1 for number in chosen])
    return FileSource(root / "images", [files[number][1] for number in chosen], numbers, names)


def _numbered(path: Path, in_order: bool = False) -> dict[int, tuple[int, str]]:
    """{number: (line, text)} of a file whose lines are a number and a text; in_order: 1, 2, 3 ..."""
    found: dict[int, tuple[int, str]] = {}
    for place, line in read_lines(path):
        number, _, text = line.partition(" ")
        if not (number.isdecimal() and text):
            raise SourceError(f"{path} line {place} is {line[:60]!r}, expected a number and a text; fetch it again")
        if int(number) in found:
            raise SourceError(f"{path} line {place} has the number {number} a second time; fetch it again")
        if in_order and int(number) != len(found) + 1:
            raise SourceError(f"{path} line {place} has the number {number}, expected {len(found) + 1}; fetch it again")
        found[int(number)] = place, text
    if not found:
        raise SourceError(f"{path} is empty; fetch it again")
    return found


def _values(path: Path, pictures: dict[int, tuple[int, str]], least: int, most: int) -> dict[int, int]:
    """{picture number: value} for every picture, from lines of two numbers."""
    found = _numbered(path)
    values: dict[int, int] = {}
    for number, (_, file) in pictures.items():
        if number not in found:
            raise SourceError(f"{path} has no line for picture {number}, {file}; fetch it again")
        place, text = found[number]
        if not (text.isdecimal() and least <= int(text) <= most):
            raise SourceError(
                f"{path} line {place}: picture {number} has {text!r}, expected a number from {least} to {most}"
            )
        values[number] = int(text)
    return values
