"""Large pictures in tiles that overlap, and what was found in them put together: every object once.

Whether two boxes of two tiles are one object is decided where both tiles see: there they must be nearly the same, or
one that is cut at the edge of its tile must lie in the other, since what sticks out of a round object is lower than the
object. That holds for an object that both see whole, for one that only one sees whole, and for one that is larger than
the overlap, of which neither does.

Tried on drawn scenes of 1500 x 1700 pixels, in tiles of 512, with the things that each tile shows: of 597 of 60 to 200
pixels 0 were missed and 0 doubled, of 68 of 400 to 1100 pixels 8 and 20. Suppression by overlap (0.5) makes it 26 and
238, 42 and 320, since a part overlaps its whole too little; that by the share of the smaller box (0.8) 9 and 9, 42 and
155, since it takes an object in front of a larger one of its class for a part of that, and joins no parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import ceil

import numpy as np

from volovan.data.objects.shapes import Raster
from volovan.detect.judge import overlaps
from volovan.detect.objects import Size
from volovan.room.found import Found

Window = tuple[int, int, int, int]
"""x1, y1, x2, y2 of a tile in the picture"""
SAME, INSIDE = 0.5, 0.7
"""overlap of the parts from which on two boxes are one object; share of a part that is cut within the other"""
EDGE = 0.02
"""of the side of a tile: a box that comes nearer to an edge inside the picture is cut there"""


def windows(size: Size, tile: Size, overlap: float = 0.2) -> list[Window]:
    """Tiles that cover the picture row by row, all of one size, neighbours with at least this part in common.

    size, tile  (height, width); a side of the picture that is smaller than that of the tile is that of the tile
    raises      ValueError: an overlap that leaves no way forward
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"an overlap of {overlap}, expected 0 to below 1: the part of a tile that neighbours share")
    down, across = (_starts(side, own, overlap) for side, own in zip(size, tile, strict=True))
    height, width = (min(side, own) for side, own in zip(size, tile, strict=True))
    return [(x, y, x + width, y + height) for y in down for x in across]


def _starts(side: int, tile: int, overlap: float) -> list[int]:
    """Of tiles along a side, evenly spread."""
    left = side - tile
    steps = ceil(left / max(1, int(tile * (1 - overlap)))) if left > 0 else 0
    return [left * number // steps for number in range(steps + 1)] if steps else [0]


def merge_tiles(found: Sequence[Found], tiles: Sequence[Window], size: Size, same: float = SAME) -> Found:
    """What was found in each tile, in its own pixels -> in the picture of `size`, every object once.

    Of parts of one object that no tile sees whole, the box is around all, the mask is all of them and the score that of
    the surest; else the surest one that is whole is taken. Two boxes of one tile are never one object.
    """
    moved = [_moved(one, tile) for one, tile in zip(found, tiles, strict=True)]
    boxes = np.concatenate([np.zeros((0, 4)), *(one.boxes for one in moved)])
    scores = np.concatenate([np.zeros(0), *(one.scores for one in moved)])
    labels = np.concatenate([np.zeros(0, int), *(one.labels for one in moved)])
    outlined = all(one.masks is not None for one in moved)
    rasters = [mask for one in moved for mask in one.masks or ()]
    of_tile = np.repeat(np.arange(len(moved)), [len(one) for one in moved])
    cut = _cut(boxes, np.array(tiles, float).reshape(-1, 4)[of_tile], size)
    objects = []
    for numbers in _groups(of_tile, _pairs(boxes, labels, cut, of_tile, tiles, same)):
        entire = [number for number in numbers if not cut[number]]
        kept = [max(entire, key=scores.__getitem__)] if entire else numbers
        objects.append((kept, max(scores[number] for number in numbers)))
    objects.sort(key=lambda one: -one[1])
    joined = [_around(boxes[kept]) for kept, _ in objects]
    return Found(
        np.array(joined).reshape(-1, 4),
        np.array([score for _, score in objects]),
        np.array([labels[kept[0]] for kept, _ in objects], np.int64),
        tuple(_union([rasters[number] for number in kept]) for kept, _ in objects) if outlined else None,
    )


def _moved(found: Found, tile: Window) -> Found:
    """From the tile into the picture."""
    x, y, _, _ = tile
    masks = found.masks and tuple(Raster(one.mask, one.x + x, one.y + y) for one in found.masks)
    return Found(found.boxes + np.array((x, y, x, y)), found.scores, found.labels, masks)


def _cut(boxes: np.ndarray, tiles: np.ndarray, size: Size) -> np.ndarray:
    """(N,) bool: whether a box touches an edge of its tile that is not one of the picture."""
    height, width = size
    near = EDGE * np.tile(tiles[:, 2:] - tiles[:, :2], 2)
    inside = np.concatenate((tiles[:, :2] > 0, tiles[:, 2:] < (width, height)), axis=1)
    return (inside & (np.abs(boxes - tiles) <= near)).any(axis=1)


def _groups(of_tile: np.ndarray, pairs: list[tuple[float, int, int]]) -> list[list[int]]:
    """Numbers of the boxes of each object: what agrees most is put together first, at most one box of each tile."""
    groups = [[number] for number in range(len(of_tile))]
    seen_by = [{tile} for tile in of_tile.tolist()]
    of_box = list(range(len(of_tile)))
    for _, one, other in sorted(pairs, reverse=True):
        into, gone = of_box[one], of_box[other]
        if seen_by[into] & seen_by[gone]:  # in one group already, or two objects of one tile
            continue
        for number in groups[gone]:
            of_box[number] = into
        groups[into] += groups[gone]
        seen_by[into] |= seen_by[gone]
        groups[gone] = []
    return [group for group in groups if group]


def _pairs(
    boxes: np.ndarray, labels: np.ndarray, cut: np.ndarray, of_tile: np.ndarray, tiles: Sequence[Window], same: float
) -> list[tuple[float, int, int]]:
    """(on how many pixels they agree, number, number) of boxes that two tiles may have of one object."""
    members = [np.flatnonzero(of_tile == number) for number in range(len(tiles))]
    found: list[tuple[float, int, int]] = []
    for first, second in combinations(range(len(tiles)), 2):
        shared = np.array(_shared(tiles[first], tiles[second]), float)
        ours, theirs = members[first], members[second]
        if (shared[2:] <= shared[:2]).any() or not len(ours) or not len(theirs):
            continue
        low, high = np.tile(shared[:2], 2), np.tile(shared[2:], 2)
        own, other = boxes[ours].clip(low, high), boxes[theirs].clip(low, high)
        alike = overlaps(own, other, np.zeros(len(other), bool))
        within = overlaps(own, other, np.ones(len(other), bool))
        around = overlaps(other, own, np.ones(len(own), bool)).T
        one = (alike >= same) | (cut[ours][:, None] & (within >= INSIDE)) | (cut[theirs] & (around >= INSIDE))
        rows, columns = np.nonzero(one & (labels[ours][:, None] == labels[theirs]))
        agreed = alike * within * (own[:, 2:] - own[:, :2]).prod(axis=1)[:, None]
        found += zip(agreed[rows, columns].tolist(), ours[rows].tolist(), theirs[columns].tolist(), strict=True)
    return found


def _shared(one: Window, other: Window) -> Window:
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def _around(boxes: np.ndarray) -> list[float]:
    return [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]


def _union(rasters: Sequence[Raster]) -> Raster:
    """All pixels of several."""
    if len(rasters) == 1:
        return rasters[0]
    left, top = min(one.x for one in rasters), min(one.y for one in rasters)
    right = max(one.x + one.mask.shape[1] for one in rasters)
    mask = np.zeros((max(one.y + one.mask.shape[0] for one in rasters) - top, right - left), bool)
    for one in rasters:
        rows, columns = one.mask.shape
        mask[one.y - top : one.y - top + rows, one.x - left : one.x - left + columns] |= one.mask
    return Raster(mask, left, top)
