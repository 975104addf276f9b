"""Pixels of an object as COCO writes them: runs (RLE) down the columns of the picture, outside, inside, outside ...

The runs are a list of numbers or a text. Of the whole picture only the columns and rows of the object are unpacked.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from volovan.data.errors import shortened
from volovan.data.objects.numbers import numbers_of
from volovan.data.objects.shapes import Raster, cut_out

_LARGEST = 1 << 40
_CHARACTERS = 8  # that a number takes at most


def read_runs(said: Mapping[str, Any], height: int, width: int) -> Raster:
    """ValueError if it is none of a picture of this size, with a reason that goes on after "has"."""
    counts, size = said.get("counts"), said.get("size", [height, width])
    told = unpacked(counts) if isinstance(counts, str) else counts
    runs = numbers_of(told, "counts of runs", "a list of whole numbers or COCO's text", _LARGEST)
    if size != [height, width]:
        raise ValueError(f"runs of the size {shortened(size)}, expected {[height, width]}")
    if runs.sum() != height * width or (runs < 0).any() or (runs % 1).any():
        raise ValueError(f"runs of {runs.sum():,.0f} pixels, expected {height * width:,} ({height} x {width})")
    ends = np.cumsum(runs.astype(np.int64))
    begins, ends = ends[:-1:2], ends[1::2]  # of the runs inside
    begins, ends = begins[ends > begins], ends[ends > begins]
    if not len(ends):
        return Raster(np.zeros((0, 0), bool))
    left, right = int(begins[0]) // height, -(-int(ends[-1]) // height)
    steps = np.zeros((right - left) * height + 1, np.int8)
    steps[begins - left * height] += 1
    steps[ends - left * height] -= 1
    inside = np.cumsum(steps[:-1], dtype=np.int8).astype(bool).reshape(-1, height).T
    return cut_out(inside, left)


def unpacked(text: str) -> list[int]:
    """The numbers in COCO's text.

    Five bits a character from "0" on, low ones first; the sixth says that more follow. From the fourth on each number
    is told as the difference to the one before the last.
    """
    runs: list[int] = []
    value = bits = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or bits == 5 * _CHARACTERS:
            break
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:  # the highest bit is the sign
            value -= 1 << bits
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = bits = 0
    else:
        if not bits:
            return runs
    raise ValueError(f"counts of runs {shortened(text)}, expected COCO's text")
