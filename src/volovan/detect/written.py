"""What was found, as files and other tools have it: COCO's results, lines of YOLO, rows of a table, supervision."""

from __future__ import annotations

import numpy as np

from volovan.detect.objects import Size
from volovan.room.found import Found


def yolo_lines(found: Found, size: Size) -> list[str]:
    """ "class x y width height score": middle and sides of each box in parts of the picture."""
    height, width = size
    lines = []
    for label, (x1, y1, x2, y2), score in zip(found.labels, found.boxes.tolist(), found.scores, strict=True):
        numbers = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height, score
        lines.append(" ".join([str(int(label)), *(f"{number:.6f}" for number in numbers)]))
    return lines


def as_supervision(found: Found, size: Size) -> dict[str, np.ndarray | None]:
    """What `supervision.Detections(**...)` takes; each of its masks has the size of the picture."""
    masks = None
    if found.masks is not None:
        masks = np.zeros((len(found), *size), bool)
        for mask, raster in zip(masks, found.masks, strict=True):
            raster.paint(mask, True)
    boxes, scores = found.boxes.astype(np.float32), found.scores.astype(np.float32)
    return {"xyxy": boxes, "confidence": scores, "class_id": found.labels, "mask": masks}
