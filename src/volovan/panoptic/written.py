"""Segments that were found, as files and other tools have them: COCO's panoptic format, rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from volovan.data.panoptic.segments import Panoptic, shapes_of
from volovan.data.pictures.palettes import Colour
from volovan.panoptic.inference import FoundSegments
from volovan.room.ledger import Ledger, written
from volovan.room.settings import Size

FOLDER = "panoptic"
"""of the PNGs, beside panoptic.json: there COCO's readers look for them"""
HEADER = ("segment", "class", "thing", "score", "pixels", "x1", "y1", "x2", "y2")


def ids_picture(ids: np.ndarray) -> Image.Image:
    """(H, W) ids -> a picture of colours, id = R + 256 G + 65,536 B."""
    return Image.fromarray(np.stack((ids % 256, ids // 256 % 256, ids // 65536), axis=-1).astype(np.uint8))


def boxes_of(found: Panoptic) -> np.ndarray:
    """(N, 4) x1, y1, x2, y2 around the pixels of each segment."""
    shapes = shapes_of(found.ids, [segment.id for segment in found.segments])
    return np.array([shape.box() for shape in shapes]).reshape(-1, 4)


def segments_info(found: FoundSegments, categories: Sequence[Any]) -> list[dict[str, Any]]:
    """As COCO's JSON has it, with scores. categories: id of each class."""
    one = found.panoptic
    rows = zip(one.segments, one.areas().tolist(), boxes_of(one).tolist(), found.scores.tolist(), strict=True)
    return [
        {
            "id": segment.id,
            "category_id": categories[segment.label],
            "area": area,
            "bbox": [int(x1), int(y1), int(x2 - x1), int(y2 - y1)],
            "iscrowd": 0,
            "score": score,
        }
        for segment, area, (x1, y1, x2, y2), score in rows
    ]


def table_rows(found: FoundSegments, classes: Sequence[str], things: Sequence[bool]) -> list[dict[str, Any]]:
    """A row for each segment."""
    rows = []
    for segment, entry in zip(found.panoptic.segments, segments_info(found, range(len(classes))), strict=True):
        x, y, width, height = entry["bbox"]
        row = {"segment": segment.id, "class": classes[segment.label], "thing": int(things[segment.label])}
        row |= {"score": round(entry["score"], 6), "pixels": entry["area"]}
        rows.append(row | {"x1": x, "y1": y, "x2": x + width, "y2": y + height})
    return rows


@dataclass(frozen=True)
class Book:
    """panoptic.json, a data set of COCO with scores, which volovan opens as labels again; segments.csv."""

    kept: Ledger
    classes: tuple[str, ...]
    things: tuple[bool, ...]

    def add(self, name: str, size: Size, found: FoundSegments, png: str) -> None:
        """The segments of one picture, and their PNG below the folder of results."""
        entry = {
            "file_name": str(PurePosixPath(Path(png).as_posix()).relative_to(FOLDER)),
            "segments_info": segments_info(found, range(1, len(self.classes) + 1)),
        }
        self.kept.add(name, size, [entry], table_rows(found, self.classes, self.things))


@contextmanager
def ledger(folder: Path, classes: Sequence[str], things: Sequence[bool], palette: Sequence[Colour]) -> Iterator[Book]:
    """One whose files are in a folder, when all is written."""
    categories = [
        {"id": number, "name": name, "isthing": int(thing), "color": list(colour)}
        for number, (name, thing, colour) in enumerate(zip(classes, things, palette, strict=True), 1)
    ]
    with written(folder, "segments.csv", categories, HEADER, "panoptic.json") as kept:
        yield Book(kept, tuple(classes), tuple(things))
