"""Outlines of objects: polygons, or the pixels themselves where they lie. No object takes a mask of the whole picture.

Coordinates are pixels; pixel (row, column) covers [column, column + 1) x [row, row + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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

    def paint(self, mask: np.ndarray, number: int) -> None:
        """Set its pixels of mask (H, W), in whose picture it lies."""
        rows, columns = self.mask.shape
        mask[self.y : self.y + rows, self.x : self.x + columns][self.mask] = number

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

    def paint(self, mask: np.ndarray, number: int) -> None:
        """Set its pixels of mask (H, W): those whose middle is inside."""
        for part in self.parts:
            fill(mask, part, number)

    def drawn(self, to: Affine, height: int, width: int) -> Raster:
        """Its pixels in another picture of this size: those whose middle is inside."""
        parts = [to.points(part) for part in self.parts]
        left, top, right, bottom = _pixels(np.array(Polygons(tuple(parts)).box()), height, width)
        mask = np.zeros((bottom - top, right - left), np.uint8)
        Polygons(tuple(part - (left, top) for part in parts)).paint(mask, 1)
        return Raster(mask.astype(bool), left, top)


Shape = Polygons | Raster


def cut_out(mask: np.ndarray, x: int = 0, y: int = 0) -> Raster:
    """What a mask (H, W), whose corner lies at (x, y), holds, as small as can be."""
    left, top, right, bottom = map(int, Raster(mask).box())
    return Raster(mask[top:bottom, left:right].copy(), x + left, y + top)


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


def _pixels(box: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """Whole pixels around a box, within a picture."""
    low = np.floor(box[:2]).clip((0, 0), (width, height))
    high = np.ceil(box[2:]).clip((0, 0), (width, height))
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _shoelace(corners: np.ndarray) -> float:
    following = np.roll(corners, -1, axis=0)
    return float((corners[:, 0] * following[:, 1] - following[:, 0] * corners[:, 1]).sum() / 2)
