"""What was found, as files and other tools have it: COCO's results, lines of YOLO, rows of a table, supervision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from volovan.data.objects.shapes import Raster
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


def as_supervision(found: Found, size: Size) -> dict[str, np.ndarray | None]:
    """What `supervision.Detections(**...)` takes; its masks have the size of the picture each."""
    masks = (
        None if found.masks is None else np.stack([whole(mask, size) for mask in found.masks] or [np.zeros(size, bool)])
    )
    return {
        "xyxy": found.boxes.astype(np.float32),
        "confidence": found.scores.astype(np.float32),
        "class_id": found.labels,
        "mask": masks if masks is None else masks[: len(found)],
    }


def whole(raster: Raster, size: Size) -> np.ndarray:
    """(H, W) bool: the object in the picture."""
    mask = np.zeros(size, bool)
    rows, columns = raster.mask.shape
    mask[raster.y : raster.y + rows, raster.x : raster.x + columns] = raster.mask
    return mask
