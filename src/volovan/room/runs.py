"""Pixels of an object as COCO writes them: runs (RLE) down the columns of the picture, outside, inside, outside ...

Worked out from the cut-out alone. `volovan.data.formats.coco` reads them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from volovan.data.objects.shapes import Raster

_CHARACTERS = 8
"""that a number takes at most"""


def runs_of(raster: Raster, height: int, width: int) -> np.ndarray:
    """(R,) int64 lengths of the runs in a picture of this size, the first one outside and perhaps 0."""
    top, left = max(raster.y, 0), max(raster.x, 0)
    mask = raster.mask[top - raster.y : max(height - raster.y, 0), left - raster.x : max(width - raster.x, 0)]
    rows, columns = mask.shape
    framed = np.zeros((columns, rows + 2), bool)
    framed[:, 1:-1] = mask.T
    column, row = np.divmod(np.flatnonzero(framed[:, 1:] != framed[:, :-1]), rows + 1)
    edges = (left + column) * height + top + row
    if rows == height:  # a run that goes on at the top of the next column is one
        goes_on = np.flatnonzero(edges[1:-1:2] == edges[2::2])
        edges = np.delete(edges, np.concatenate((2 * goes_on + 1, 2 * goes_on + 2)))
    whole = height * width
    ends = np.array([] if len(edges) and edges[-1] == whole else [whole], np.int64)
    return np.diff(edges, prepend=0, append=ends)


def text_of(runs: np.ndarray) -> str:
    """The runs as COCO's text: five bits a character from "0" on, low ones first; the sixth says that more follow. From
    the fourth on each number is told as the difference to the one before the last."""
    left = runs.copy()
    left[3:] -= runs[1:-2]
    digits = np.zeros((len(runs), _CHARACTERS), np.uint8)
    there = np.zeros((len(runs), _CHARACTERS), bool)
    more = np.ones(len(runs), bool)
    for place in range(_CHARACTERS):
        there[:, place] = more
        low = left & 31
        left = left >> 5
        more = more & (left != np.where(low & 16, -1, 0))  # the highest bit is the sign
        digits[:, place] = low + 32 * more + 48
    return digits[there].tobytes().decode("ascii")


def rle(raster: Raster, height: int, width: int) -> dict[str, Any]:
    """As COCO's JSON has it: {"size": [height, width], "counts": text}."""
    return {"size": [height, width], "counts": text_of(runs_of(raster, height, width))}
