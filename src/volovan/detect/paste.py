"""From maps of 28 x 28 to the pixels of the objects, each within its own box.

Memory: one byte for each pixel of the boxes that are kept, and while one object is worked on 28 numbers for each of
its rows and columns and STRIP others; nothing has the size of the picture unless a box has. `paste` gives one object
after the other, so that whoever writes each down at once (`runs.py`) holds a single one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from volovan.data.objects.shapes import Raster
from volovan.detect.masks import THRESHOLD

STRIP = 1 << 18
"""values that are worked out at once"""


def paste(boxes: np.ndarray, maps: np.ndarray, height: int, width: int) -> Iterator[Raster]:
    """The pixels of each object in a picture of this size.

    A map is stretched over its box, bilinearly, each value at the middle of its cell and 0 outside; a pixel belongs to
    the object where the value at its middle is at least 0.5. (torch's grid_sample with align_corners=False is the same,
    as detectron2 and mmdetection paste.)

    boxes  (N, 4) corners in the picture, also with fractions, outside of it or without area
    maps   (N, S, S) float
    """
    for box, own in zip(boxes.tolist(), maps, strict=True):
        yield _pasted(box, own, height, width)


def _pasted(box: list[float], own: np.ndarray, height: int, width: int) -> Raster:
    left, across = _weights(box[0], box[2], own.shape[1], width)
    top, down = _weights(box[1], box[3], own.shape[0], height)
    stretched = own.astype(np.float32) @ across.T
    mask = np.empty((len(down), len(across)), bool)
    rows = max(1, STRIP // max(1, len(across)))
    for start in range(0, len(down), rows):
        part = slice(start, start + rows)
        mask[part] = down[part] @ stretched >= THRESHOLD
    return Raster(mask, left, top)


def _weights(low: float, high: float, cells: int, side: int) -> tuple[int, np.ndarray]:
    """Of the pixels between low and high, within a picture of `side`: the first, and (n, cells) float32, the part that
    each cell has in each."""
    first, end = (min(max(int(at), 0), side) for at in (np.floor(low), np.ceil(high)))
    places = (np.arange(first, end) + 0.5 - low) / max(high - low, 1e-9) * cells - 0.5
    return first, np.maximum(0, 1 - np.abs(places[:, None] - np.arange(cells))).astype(np.float32)
