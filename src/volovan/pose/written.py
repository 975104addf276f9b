"""Points that were found, as files and other tools have them: COCO's results, rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volovan.data.objects.skeleton import Skeleton
from volovan.pose.found import Poses
from volovan.room.ledger import Ledger, written
from volovan.room.settings import Size

HEADER = ("object", "class", "score", "point", "x", "y", "sure")


def coco_results(found: Poses, categories: Sequence[Any], sure: float) -> list[dict[str, Any]]:
    """Entries of a JSON of results, as COCO's server and pycocotools read them; numbers are not rounded.

    categories  id of each class
    sure        points below count as hidden (1), others as visible (2), which results may say as they like
    """
    entries = []
    for points, score, box, label in zip(found.points, found.scores, found.boxes.tolist(), found.labels, strict=True):
        flags = np.where(points[:, 2] >= sure, 2.0, 1.0)
        x1, y1, x2, y2 = box
        entries.append(
            {
                "category_id": categories[int(label)],
                "keypoints": np.column_stack((points[:, :2], flags)).ravel().tolist(),
                "num_keypoints": len(points),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "score": float(score),
            }
        )
    return entries


def table_rows(found: Poses, objects: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each point of each object, objects counted from 1."""
    return [
        {
            "object": number,
            "class": objects[label],
            "score": round(float(score), 6),
            "point": name,
            **{key: round(value, 3) for key, value in zip(("x", "y", "sure"), point, strict=True)},
        }
        for number, (points, score, label) in enumerate(zip(found.points, found.scores, found.labels, strict=True), 1)
        for name, point in zip(names, points.tolist(), strict=True)
    ]


def categories_of(objects: Sequence[str], skeleton: Skeleton) -> list[dict[str, Any]]:
    """As a JSON of COCO has them; it counts points of lines from 1."""
    lines = [[first + 1, second + 1] for first, second in skeleton.lines]
    return [
        {"id": number, "name": name, "keypoints": list(skeleton.names), "skeleton": lines}
        for number, name in enumerate(objects, 1)
    ]


@dataclass(frozen=True)
class Book:
    """coco.json and points.csv, a row a point."""

    kept: Ledger
    objects: tuple[str, ...]
    skeleton: Skeleton
    sure: float

    def add(self, name: str, size: Size, found: Poses) -> None:
        """The objects of one picture."""
        entries = coco_results(found, range(1, len(self.objects) + 1), self.sure)
        self.kept.add(name, size, entries, table_rows(found, self.objects, self.skeleton.names))


@contextmanager
def ledger(folder: Path, objects: Sequence[str], skeleton: Skeleton, sure: float) -> Iterator[Book]:
    """One whose files are in a folder, when all is written."""
    with written(folder, "points.csv", categories_of(objects, skeleton), HEADER) as kept:
        yield Book(kept, tuple(objects), skeleton, sure)
