"""Objects of a picture that its EXIF turns, where they were drawn on it as it is stored."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from volovan.data.masks.files import turned
from volovan.data.objects.annotated import Thing
from volovan.data.objects.shapes import Affine, Polygons, Raster, Shape
from volovan.data.pictures.decoding import SIDEWAYS

_Turn = Image.Transpose
_FROM_RIGHT = (_Turn.FLIP_LEFT_RIGHT, _Turn.ROTATE_180, _Turn.ROTATE_270, _Turn.TRANSVERSE)
_FROM_BELOW = (_Turn.FLIP_TOP_BOTTOM, _Turn.ROTATE_180, _Turn.ROTATE_90, _Turn.TRANSVERSE)


_MIRRORING = (_Turn.FLIP_LEFT_RIGHT, _Turn.FLIP_TOP_BOTTOM, _Turn.TRANSPOSE, _Turn.TRANSVERSE)


def turned_thing(thing: Thing, turn: Image.Transpose, width: int, height: int, flips: Sequence[int] = ()) -> Thing:
    """A thing of a picture of this size after the turn. flips: of its points in a mirror, as `Skeleton` has them."""
    box = None if thing.box is None else _turned_box(np.array(thing.box, float), turn, width, height)
    shape = None if thing.shape is None else _turned_shape(thing.shape, turn, width, height)
    points = thing.points
    if points is not None:
        placed = np.concatenate((_turned_points(points[:, :2], turn, width, height), points[:, 2:]), axis=1)
        points = placed[list(flips)] if turn in _MIRRORING else placed
    return replace(thing, box=box, shape=shape, points=points)


def _turned_shape(shape: Shape, turn: Image.Transpose, width: int, height: int) -> Shape:
    if isinstance(shape, Polygons):
        return Polygons(tuple(_turned_points(part, turn, width, height) for part in shape.parts))
    rows, columns = shape.mask.shape
    box = np.array([shape.x, shape.y, shape.x + columns, shape.y + rows], float)
    x, y, _, _ = _turned_box(box, turn, width, height)
    return Raster(turned(shape.mask, turn), int(x), int(y))


def _turned_box(box: np.ndarray, turn: Image.Transpose, width: int, height: int) -> tuple[float, float, float, float]:
    ends = _turned_points(box.reshape(2, 2), turn, width, height)
    low, high = ends.min(axis=0).tolist(), ends.max(axis=0).tolist()
    return (low[0], low[1], high[0], high[1])


def _turned_points(points: np.ndarray, turn: Image.Transpose, width: int, height: int) -> np.ndarray:
    """(N, 2) -> (N, 2)."""
    if turn in SIDEWAYS:
        points, width, height = points[:, ::-1], height, width
    across = (-1.0, width) if turn in _FROM_RIGHT else (1.0, 0)
    down = (-1.0, height) if turn in _FROM_BELOW else (1.0, 0)
    return Affine(across[0], down[0], across[1], down[1]).points(points)
