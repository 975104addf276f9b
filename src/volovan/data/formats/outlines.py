"""Masks that are drawn from outlines: what formats of annotations have in common (yolo.py, coco.py).

Later outlines of a picture lie on top of earlier ones, and what none of them holds is background, class 0. A pixel is
inside where its middle is. Pillow draws otherwise: it rounds corners to whole pixels and takes in the border, so that a
square of 4 x 4 pixels becomes one of 5 x 5.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volovan.data.masks.files import MaskedPictures, turned
from volovan.data.pictures.decoding import SIDEWAYS, exif_turn, picture_size
from volovan.data.pictures.palettes import spread
from volovan.data.samples import Names

BACKGROUND = "background"


class OutlineFiles(MaskedPictures, ABC):
    """Pictures whose masks are drawn.

    drawings  of each picture, what `draw` draws from
    numbers   ids in the files -> class number or IGNORE
    """

    def __init__(
        self,
        root: Path,
        pictures: Iterable[str],
        drawings: Iterable[str],
        classes: Sequence[str],
        numbers: Mapping[Any, int],
        note: str,
        unpaired: Sequence[str],
    ) -> None:
        super().__init__(root, pictures, note)
        self.drawings = Names(drawings)
        self.classes, self.palette = tuple(classes), spread(len(classes))
        self.numbers, self.unpaired = dict(numbers), tuple(unpaired)

    def target(self, index: int) -> np.ndarray:
        path, name = self.root / self.files[index], self.name(index)
        width, height = picture_size(path, name)
        turn = exif_turn(path, name)
        swapped = self.size_said(index) == (height, width) != (width, height)
        stored = turn is not None and (self.drawn_on == "stored" or swapped)
        shape = (width, height) if stored and turn in SIDEWAYS else (height, width)
        mask = np.full(shape, ground_of(self.classes), np.uint8)
        self.draw(index, mask)
        return turned(mask, turn) if stored and turn is not None else mask

    def may_be_turned(self, index: int) -> bool:
        """Whether nobody has said what the outlines were drawn on, and no size tells."""
        path, name = self.root / self.files[index], self.name(index)
        if self.drawn_on or (turn := exif_turn(path, name)) is None:
            return False
        width, height = picture_size(path, name)
        return width == height or turn not in SIDEWAYS or self.size_said(index) is None

    def size_said(self, index: int) -> tuple[int, int] | None:
        """(width, height) of what the outlines were drawn on, where the annotations say it."""
        return None

    @abstractmethod
    def draw(self, index: int, mask: np.ndarray) -> None:
        """Draw the outlines of a picture onto mask (H, W), which has its size and is background."""


def with_background(names: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """(classes, number of the first name): background comes first, unless it is one of the names."""
    return (tuple(names), 0) if ground_of(names) is not None else ((BACKGROUND, *names), 1)


def ground_of(classes: Sequence[str]) -> int | None:
    """The number of the class that is called background."""
    return next((number for number, name in enumerate(classes) if name.lower() == BACKGROUND), None)


def fill(mask: np.ndarray, corners: np.ndarray, number: int) -> None:
    """Set the pixels of mask (H, W) inside of a closed outline, corners (N, 2) as x, y in pixels. Even-odd rule."""
    height, width = mask.shape
    following = np.roll(corners, -1, axis=0)
    down = corners[:, 1:] <= following[:, 1:]
    upper, lower = np.where(down, corners, following), np.where(down, following, corners)
    first = np.clip(np.ceil(upper[:, 1] - 0.5), 0, height).astype(np.int64)  # rows whose middle an edge crosses
    last = np.clip(np.ceil(lower[:, 1] - 0.5), 0, height).astype(np.int64)
    counts = last - first
    if not counts.any():
        return
    edge = np.repeat(np.arange(len(corners)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    run, rise = (lower - upper)[edge].T
    x = upper[edge, 0] + (row + 0.5 - upper[edge, 1]) * run / rise
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)  # from here on the other side of the edge
    top, left = int(row.min()), int(column.min())
    crossed = np.zeros((int(row.max()) - top + 1, int(column.max()) - left + 1), np.int32)
    np.add.at(crossed, (row - top, column - left), 1)
    inside = np.cumsum(crossed, axis=1)[:, :-1] % 2 == 1
    mask[top : top + inside.shape[0], left : left + inside.shape[1]][inside] = number
