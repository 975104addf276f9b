"""Outlines of objects: polygons, or the pixels themselves where they lie. No object takes a mask of the whole picture.

Coordinates are pixels; pixel (row, column) covers [column, column + 1) x [row, row + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from volovan.data.formats.outlines import fill

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2"""


@dataclass(frozen=True)
class Affine:
    """(x, y) -> (scale_x x + shift_x, scale_y y + shift_y); a negative scale mirrors."""

    scale_x: float = 1.0
    scale_y: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0

    def points(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) -> (..., 2)."""
        return points * (self.scale_x, self.scale_y) + (self.shift_x, self.shift_y)

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """(N, 4) corners -> (N, 4), the smaller corner first."""
        ends = self.points(boxes.reshape(-1, 2, 2))
        return np.concatenate((ends.min(axis=1), ends.max(axis=1)), axis=1)

    def area(self) -> float:
        """By which areas are multiplied."""
        return abs(self.scale_x * self.scale_y)


@dataclass(frozen=True)
class Raster:
    """Pixels of an object. mask: (h, w) bool; x, y: of its upper left pixel in the picture."""

    mask: np.ndarray
    x: int = 0
    y: int = 0

    def box(self) -> Box:
        """Around what it holds; nothing at all where it is empty."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        if not len(rows):
            return (self.x, self.y, self.x, self.y)
        return (self.x + columns[0], self.y + rows[0], self.x + columns[-1] + 1, self.y + rows[-1] + 1)

    def area(self) -> float:
        return float(np.count_nonzero(self.mask))

    def drawn(self, to: Affine, height: int, width: int) -> Raster:
        """It in another picture of this size: each pixel is that of the place where its middle comes from."""
        corners = np.array([[self.x, self.y, self.x + self.mask.shape[1], self.y + self.mask.shape[0]]], float)
        left, top, right, bottom = _pixels(to.boxes(corners)[0], height, width)
        columns = np.floor((np.arange(left, right) + 0.5 - to.shift_x) / to.scale_x).astype(int) - self.x
        rows = np.floor((np.arange(top, bottom) + 0.5 - to.shift_y) / to.scale_y).astype(int) - self.y
        across, down = (
            (at >= 0) & (at < side) for at, side in zip((columns, rows), self.mask.shape[::-1], strict=True)
        )
        mask = np.zeros((len(rows), len(columns)), bool)
        mask[np.ix_(down, across)] = self.mask[np.ix_(rows[down], columns[across])]
        return Raster(mask, left, top)


@dataclass(frozen=True)
class Polygons:
    """Closed outlines of an object, each (n, 2) x, y with n >= 3; what lies in one of them is inside."""

    parts: tuple[np.ndarray, ...]

    def box(self) -> Box:
        every = np.concatenate(self.parts)
        return (*every.min(axis=0).tolist(), *every.max(axis=0).tolist())

    def area(self) -> float:
        """Of the parts together, as if none lay over another (the shoelace formula)."""
        return float(sum(abs(_shoelace(part)) for part in self.parts))

    def drawn(self, to: Affine, height: int, width: int) -> Raster:
        """Its pixels in another picture of this size: those whose middle is inside."""
        parts = [to.points(part) for part in self.parts]
        left, top, right, bottom = _pixels(np.array(Polygons(tuple(parts)).box()), height, width)
        mask = np.zeros((bottom - top, right - left), np.uint8)
        for part in parts:
            fill(mask, part - (left, top), 1)
        return Raster(mask.astype(bool), left, top)


Shape = Polygons | Raster


def _pixels(box: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """Whole pixels around a box, within a picture."""
    low = np.floor(box[:2]).clip((0, 0), (width, height))
    high = np.ceil(box[2:]).clip((0, 0), (width, height))
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _shoelace(corners: np.ndarray) -> float:
    following = np.roll(corners, -1, axis=0)
    return float((corners[:, 0] * following[:, 1] - following[:, 0] * corners[:, 1]).sum() / 2)
