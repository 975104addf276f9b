"""What every pixel of a picture belongs to: the target of samples of the kind "panoptic"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from volovan.data.masks.coding import IGNORE
from volovan.data.objects.annotated import Annotated, Thing, annotated
from volovan.data.objects.shapes import Raster

VOID = 0
"""the id of pixels of which nothing is known"""


@dataclass(frozen=True)
class Segment:
    """label: class number; crowd: many things in one: not learned, and neither missed nor wrongly found."""

    id: int
    label: int
    crowd: bool = False


@dataclass(frozen=True)
class Panoptic:
    """ids: (H, W) int32 of the picture as it is shown; segments: of each id but VOID, in the order of the file."""

    ids: np.ndarray
    segments: tuple[Segment, ...]

    def areas(self) -> np.ndarray:
        """(N,) int64: pixels of each segment."""
        found = pixels_of(self.ids)
        return np.array([found.get(segment.id, 0) for segment in self.segments], np.int64)


def rows_of(ids: np.ndarray, which: Sequence[int]) -> np.ndarray:
    """(H, W) int64: of each pixel the place of its id in `which`, -1 where it is none of them."""
    if not which:
        return np.full(ids.shape, -1, np.int64)
    known = np.array(which, np.int64)
    order = np.argsort(known)
    row = order[np.searchsorted(known[order], ids).clip(0, len(known) - 1)]
    return np.where(known[row] == ids, row, -1)


def pixels_of(ids: np.ndarray) -> dict[int, int]:
    """{id: pixels}, VOID as well. Looks at runs along the rows: sorting all pixels would take ten times as long."""
    flat = ids.reshape(-1)
    begins = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    lengths = np.diff(begins, append=flat.size)
    found, which = np.unique(flat[begins], return_inverse=True)
    counts = np.bincount(which.reshape(-1), lengths).astype(np.int64)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def objects_in(told: Panoptic, things: Sequence[bool]) -> Annotated:
    """The things of a picture as objects with their pixels; crowds among them are crowds."""
    kept = [segment for segment in told.segments if things[segment.label]]
    shapes = shapes_of(told.ids, [segment.id for segment in kept])
    found = [
        Thing(segment.label, shape.box(), shape, segment.crowd) for segment, shape in zip(kept, shapes, strict=True)
    ]
    return annotated(found, [segment.label for segment in kept])


def shapes_of(ids: np.ndarray, which: Sequence[int]) -> Iterator[Raster]:
    """The pixels of each id, where they lie."""
    from scipy.ndimage import find_objects  # here: slow to import

    rows = rows_of(ids, which)
    for number, place in enumerate(find_objects(rows + 1, len(which))):
        if place is None:
            yield Raster(np.zeros((0, 0), bool))
        else:
            yield Raster(rows[place] == number, place[1].start, place[0].start)


def classes_of(told: Panoptic) -> np.ndarray:
    """(H, W) uint8: of each pixel the class of its segment, IGNORE where nothing is known; of at most 254 classes."""
    table = np.array([*(segment.label for segment in told.segments), IGNORE], np.uint8)  # the last: of no segment
    return table[rows_of(told.ids, [segment.id for segment in told.segments])]
