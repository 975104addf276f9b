"""Objects that were found in a picture, in its own pixels: of them answers, files, figures and scores are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from volovan.data.objects.shapes import Raster
from volovan.room.runs import rle
from volovan.room.settings import Size


@dataclass(frozen=True)
class Found:
    """N objects that were found in a picture, the surest first.

    boxes   (N, 4) float64: x1, y1, x2, y2 in pixels of the picture, within it
    scores  (N,) float64, 0 to 1
    labels  (N,) int64 class numbers
    masks   of each its pixels; None where the network has no masks
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: tuple[Raster, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, chosen: np.ndarray) -> Found:
        """Some of them. chosen: (N,) bool, or numbers in a new order."""
        numbers = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        masks = None if self.masks is None else tuple(self.masks[number] for number in numbers)
        return Found(self.boxes[numbers], self.scores[numbers], self.labels[numbers], masks)

    def above(self, score: float) -> Found:
        """Those that are at least so sure."""
        return self.only(self.scores >= score)


def coco_results(found: Found, image_id: Any, categories: Sequence[Any], size: Size) -> list[dict[str, Any]]:
    """Entries of a JSON of results, as COCO's server and pycocotools read them. Numbers are not rounded, so that both
    come to the figures of `volovan validate`.

    categories  id of each class
    size        (height, width) of the picture
    """
    entries = []
    for row, (x1, y1, x2, y2) in enumerate(found.boxes.tolist()):
        entry = {"image_id": image_id, "category_id": categories[int(found.labels[row])]}
        entry |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "score": float(found.scores[row])}
        if found.masks is not None:
            entry["segmentation"] = rle(found.masks[row], *size)
        entries.append(entry)
    return entries


def table_rows(found: Found, classes: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each object: class, score, x1, y1, x2, y2 and, with masks, pixels."""
    rows = []
    for number, (label, score, box) in enumerate(zip(found.labels, found.scores, found.boxes.tolist(), strict=True)):
        row = {"class": classes[label], "score": round(float(score), 6)}
        row |= {side: round(at, 2) for side, at in zip(("x1", "y1", "x2", "y2"), box, strict=True)}
        rows.append(row if found.masks is None else row | {"pixels": int(found.masks[number].area())})
    return rows
