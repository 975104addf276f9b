"""From labels as texts to class numbers: the one rule for shards, manifests and tables."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from volovan.data.errors import SourceError
from volovan.data.samples import UNLABELLED


def read_classes(folder: Path) -> tuple[str, ...] | None:
    """classes.txt in folder: one name a line, the line number from 0 is the class number."""
    path = folder / "classes.txt"
    if not path.is_file():
        return None
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise SourceError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    names = names[: max((place + 1 for place, name in enumerate(names) if name), default=0)]  # empty lines at the end
    if not names or "" in names or len(set(names)) < len(names):
        raise SourceError(
            f"{path} needs one different class name a line, found {len(names)} lines, {len(set(names))} different"
        )
    return tuple(names)


def class_numbers(
    texts: Sequence[str], classes: tuple[str, ...] | None, where: str
) -> tuple[tuple[str, ...], np.ndarray]:
    """(classes, number of each text); "" is unlabelled.

    Names from classes are looked up; else, if all texts are whole numbers, they are class numbers (which may exceed the
    known classes: check-data reports it, and a run refuses to start); else names, which are sorted.
    """
    different = sorted(set(texts) - {""})
    lookup = {name: number for number, name in enumerate(classes or ())}
    if any(text not in lookup for text in different):
        if all(re.fullmatch(r"\d{1,9}", text) for text in different):
            lookup = {text: int(text) for text in different}
            classes = classes or tuple(str(number) for number in range(max(lookup.values()) + 1))
        elif classes is not None:
            unknown = [text for text in different if text not in lookup]
            raise SourceError(
                f"{where}: label {unknown[0]!r} ({len(unknown)} such) is none of the {len(classes)} in classes.txt"
            )
        else:
            classes = tuple(different)
            lookup = {name: number for number, name in enumerate(classes)}
    lookup[""] = UNLABELLED
    return (classes or ()) if different else (), np.array([lookup[text] for text in texts], dtype=np.int64)
