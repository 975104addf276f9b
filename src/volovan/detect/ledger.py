"""All that was found in many pictures, in two files: written object by object, so that millions take no memory."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from volovan.detect.found import Found
from volovan.detect.objects import Size
from volovan.detect.written import coco_results, table_rows
from volovan.files.whole import whole_file

HEADER = ("file", "class", "score", "x1", "y1", "x2", "y2", "pixels")


class Ledger:
    """coco.json, a data set of COCO with scores, which volovan opens as labels again; objects.csv, a row an object."""

    def __init__(self, coco: TextIO, table: TextIO, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.coco, self.images, self.count = coco, list[tuple[str, Size]](), 0
        self.rows = csv.DictWriter(table, HEADER)
        self.rows.writeheader()
        categories = [{"id": number, "name": name} for number, name in enumerate(self.classes, 1)]
        coco.write(f'{{"categories": {json.dumps(categories, ensure_ascii=False)},\n"annotations": [')

    def add(self, name: str, size: Size, found: Found) -> None:
        """The objects of one picture; the ids of pictures are their numbers, from 1 on."""
        self.images.append((name, size))
        number = len(self.images)
        entries = coco_results(found, number, range(1, len(self.classes) + 1), size)
        for row, (entry, box) in enumerate(zip(entries, found.boxes.tolist(), strict=True)):
            area = found.masks[row].area() if found.masks else (box[2] - box[0]) * (box[3] - box[1])
            self.coco.write(",\n" if self.count else "\n")
            self.count += 1
            self.coco.write(json.dumps({"id": self.count, **entry, "area": area, "iscrowd": 0}))
        self.rows.writerows({"file": name, **row} for row in table_rows(found, self.classes))

    def end(self) -> None:
        """Close the JSON."""
        names = below([name for name, _ in self.images])
        images = (
            {"id": number, "file_name": name, "width": width, "height": height}
            for number, (name, (_, (height, width))) in enumerate(zip(names, self.images, strict=True), 1)
        )
        lines = ",\n".join(json.dumps(image, ensure_ascii=False) for image in images)
        self.coco.write(f'\n],\n"images": [\n{lines}\n]}}\n')


def below(names: Sequence[str]) -> list[str]:
    """Names seen from the innermost folder that holds all of them: laid there, coco.json opens as a data set."""
    paths = [os.path.abspath(name) for name in names]
    common = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    return [os.path.relpath(path, common) for path in paths]


@contextmanager
def ledger(folder: Path, classes: Sequence[str]) -> Iterator[Ledger]:
    """One whose files are in a folder, when all is written."""
    with whole_file(folder / "coco.json") as coco, whole_file(folder / "objects.csv") as table:
        made = Ledger(coco, table, classes)
        yield made
        made.end()
