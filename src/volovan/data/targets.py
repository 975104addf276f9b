"""What a list may say of a picture besides one class: several labels, or numbers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from volovan.data.errors import SourceError
from volovan.data.samples import PictureFiles
from volovan.data.source import Source

SEPARATOR = "|"  # between the labels of a picture
LARGEST = float(np.finfo(np.float32).max)  # networks learn and predict in float32


@dataclass(frozen=True)
class Targets:
    """Targets of N pictures.

    labels   names are the classes, values (N, K) uint8: 1 where the class applies; a picture may have none
    numbers  names are those of the numbers, values (N, K) float64
    """

    kind: Literal["labels", "numbers"]
    names: tuple[str, ...]
    values: np.ndarray

    def part(self, rows: Sequence[int] | np.ndarray) -> "Targets":
        """Those of some pictures."""
        return replace(self, values=self.values[np.asarray(rows, dtype=np.int64)])


class TargetFiles(PictureFiles):
    """Pictures that are files, with their targets. strata: class numbers by which hold_out splits, of a list that has
    classes too."""

    def __init__(self, root: Path, files: Iterable[str], targets: Targets, note: str, strata: np.ndarray) -> None:
        super().__init__(root, files, note)
        self.kind, self.classes, self.values = targets.kind, targets.names, targets.values
        self.strata = strata

    def target(self, index: int) -> np.ndarray:
        row: np.ndarray = self.values[index]
        return row


def targets_of(source: Source) -> Targets | None:
    """Those of all samples; None if the source has targets of another kind."""
    if source.kind not in ("labels", "numbers"):
        return None
    values = np.array([source.target(index) for index in range(len(source))])
    return Targets(source.kind, source.classes, values.reshape(-1, len(source.classes)))  # type: ignore[arg-type]


def several_labels(texts: Sequence[str], classes: tuple[str, ...] | None, where: str) -> Targets:
    """Targets from texts such as `cat|dog`; "" is a picture to which no class applies.

    classes: those of classes.txt, which fix names and order; None: all that occur, sorted.
    """
    rows = [sorted({part.strip() for part in text.split(SEPARATOR)} - {""}) for text in texts]
    found = sorted({label for row in rows for label in row})
    if classes is not None and (unknown := [label for label in found if label not in set(classes)]):
        raise SourceError(
            f"{where}: label {unknown[0]!r} ({len(unknown)} such) is none of the {len(classes)} in classes.txt"
        )
    names = classes or tuple(found)
    if not names:
        raise SourceError(f"{where}: the column of labels is empty; expected classes such as cat{SEPARATOR}dog")
    places = {name: number for number, name in enumerate(names)}
    values = np.zeros((len(rows), len(names)), dtype=np.uint8)
    for number, row in enumerate(rows):
        values[number, [places[label] for label in row]] = 1
    return Targets("labels", names, values)


def several_numbers(names: Sequence[str], rows: Sequence[Sequence[str]], name: Callable[[int], str]) -> Targets:
    """Targets from texts of numbers, a row for each picture; name(i) is how errors call it."""
    values = np.empty((len(rows), len(names)))
    for number, row in enumerate(rows):
        for place, text in enumerate(row):
            try:
                values[number, place] = float(text)
            except ValueError:
                values[number, place] = np.nan
            if not np.isfinite(values[number, place]):
                raise SourceError(f"{name(number)}: {names[place]} is {text[:40]!r}, expected a number such as 3.5")
            if abs(values[number, place]) > LARGEST:
                raise SourceError(
                    f"{name(number)}: {names[place]} is {text[:40]!r}, expected a number up to {LARGEST:.2g}, the "
                    "largest of float32; use another unit"
                )
    return Targets("numbers", tuple(names), values)
