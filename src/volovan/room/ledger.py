"""All that was found in many pictures, in two files: written object by object, so that millions take no memory."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from volovan.files.whole import whole_file
from volovan.room.settings import Size


class Ledger:
    """A JSON that is a data set of COCO with scores, which volovan opens as labels again; a table of rows.

    categories  of COCO: {"id", "name"} and what a task adds
    header      columns of the table behind `file`
    """

    def __init__(
        self, coco: TextIO, table: TextIO, categories: Sequence[dict[str, Any]], header: Sequence[str]
    ) -> None:
        self.coco, self.images, self.count = coco, list[tuple[str, Size]](), 0
        self.rows = csv.DictWriter(table, ("file", *header))
        self.rows.writeheader()
        coco.write(f'{{"categories": {json.dumps(list(categories), ensure_ascii=False)},\n"annotations": [')

    def add(self, name: str, size: Size, entries: Iterable[dict[str, Any]], rows: Iterable[dict[str, Any]]) -> None:
        """One picture, its annotations, and its rows. Ids are given here: numbers, from 1 on."""
        self.images.append((name, size))
        for entry in entries:
            self.coco.write(",\n" if self.count else "\n")
            self.count += 1
            self.coco.write(json.dumps({"id": self.count, **entry, "image_id": len(self.images)}))
        self.rows.writerows({"file": name, **row} for row in rows)

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
def written(
    folder: Path, table: str, categories: Sequence[dict[str, Any]], header: Sequence[str], name: str = "coco.json"
) -> Iterator[Ledger]:
    """A ledger whose files, the JSON and the table, are in a folder when all is written."""
    with whole_file(folder / name) as coco, whole_file(folder / table) as rows:
        made = Ledger(coco, rows, categories, header)
        yield made
        made.end()
