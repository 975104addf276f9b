"""What was found, as files and other tools have it: COCO's results, lines of YOLO, rows of a table, supervision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from volovan.detect.found import Found
from volovan.detect.objects import Size
from volovan.detect.runs import rle


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


def yolo_lines(found: Found, size: Size) -> list[str]:
    """ "class x y width height score": middle and sides of each box in parts of the picture."""
    height, width = size
    lines = []
    for label, (x1, y1, x2, y2), score in zip(found.labels, found.boxes.tolist(), found.scores, strict=True):
        numbers = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height, score
        lines.append(" ".join([str(int(label)), *(f"{number:.6f}" for number in numbers)]))
    return lines


def table_rows(found: Found, classes: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each object: class, score, x1, y1, x2, y2 and, with masks, pixels."""
    rows = []
    for number, (label, score, box) in enumerate(zip(found.labels, found.scores, found.boxes.tolist(), strict=True)):
        row = {"class": classes[label], "score": round(float(score), 6)}
        row |= {side: round(at, 2) for side, at in zip(("x1", "y1", "x2", "y2"), box, strict=True)}
        rows.append(row if found.masks is None else row | {"pixels": int(found.masks[number].area())})
    return rows


def as_supervision(found: Found, size: Size) -> dict[str, np.ndarray | None]:
    """What `supervision.Detections(**...)` takes; each of its masks has the size of the picture."""
    masks = None
    if found.masks is not None:
        masks = np.zeros((len(found), *size), bool)
        for mask, raster in zip(masks, found.masks, strict=True):
            raster.paint(mask, True)
    boxes, scores = found.boxes.astype(np.float32), found.scores.astype(np.float32)
    return {"xyxy": boxes, "confidence": scores, "class_id": found.labels, "mask": masks}
