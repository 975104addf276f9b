"""All boxes and masks that were found in many pictures, in two files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from volovan.room.found import Found, coco_results, table_rows
from volovan.room.ledger import Ledger, written
from volovan.room.settings import Size

HEADER = ("class", "score", "x1", "y1", "x2", "y2", "pixels")


@dataclass(frozen=True)
class Book:
    """coco.json and objects.csv, a row an object."""

    kept: Ledger
    classes: tuple[str, ...]

    def add(self, name: str, size: Size, found: Found) -> None:
        """The objects of one picture."""
        entries = coco_results(found, None, range(1, len(self.classes) + 1), size)
        for row, (entry, box) in enumerate(zip(entries, found.boxes.tolist(), strict=True)):
            entry["iscrowd"] = 0
            entry["area"] = found.masks[row].area() if found.masks else (box[2] - box[0]) * (box[3] - box[1])
        self.kept.add(name, size, entries, table_rows(found, self.classes))


@contextmanager
def ledger(folder: Path, classes: Sequence[str]) -> Iterator[Book]:
    """One whose files are in a folder, when all is written."""
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
    with written(folder, "objects.csv", categories, HEADER) as kept:
        yield Book(kept, tuple(classes))
