"""Where the cells of a label map go when the picture is augmented (volo.md 6.3).

Every geometric operation is a matrix in the picture, all of a sample are multiplied, and the map is resampled once,
in its own cells. A crop moves nothing: it is a box, and RoIAlign reads the map there (volovan.labels.targets).

Matrix (3, 3): place (x, y, 1) in the picture that comes out -> place in the picture that went in, in pixels from the
top left corner, so that the centre of the first pixel is (0.5, 0.5).
Box: top, left, height, width of a crop, as fractions of the whole; it may reach beyond it.
"""

from collections.abc import Callable, Sequence
from math import cos, radians, sin
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Coverage = Literal["centre", "image", "official"]
Matrix = np.ndarray[Any, np.dtype[np.float64]]
Move = tuple[str, float]
"""name of an operation and what it was given: degrees, a shear factor, or pixels"""
Box = tuple[float, float, float, float]


def _matrix(xx: float = 1, xy: float = 0, x: float = 0, yx: float = 0, yy: float = 1, y: float = 0) -> Matrix:
    return np.array([[xx, xy, x], [yx, yy, y], [0, 0, 1]], dtype=np.float64)


def _rotation(degrees: float, width: int, height: int) -> Matrix:
    """Counterclockwise, about the centre."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return _matrix(1, 0, width / 2, 0, 1, height / 2) @ _matrix(c, -s, 0, s, c) @ _matrix(x=-width / 2, y=-height / 2)


MOVES: dict[str, Callable[[float, int, int], Matrix]] = {
    "FlipX": lambda _, width, height: _matrix(xx=-1, x=width),
    "FlipY": lambda _, width, height: _matrix(yy=-1, y=height),
    "Rotate": _rotation,
    "ShearX": lambda factor, width, height: _matrix(xy=factor),
    "ShearY": lambda factor, width, height: _matrix(yx=factor),
    "TranslateX": lambda pixels, width, height: _matrix(x=pixels),
    "TranslateY": lambda pixels, width, height: _matrix(y=pixels),
    "TranslateXRel": lambda share, width, height: _matrix(x=share * width),
    "TranslateYRel": lambda share, width, height: _matrix(y=share * height),
}
"""(argument, width, height) -> matrix, of both flips and of timm's operations that move pixels, by its names"""


def motion(moves: Sequence[Move], width: int, height: int) -> Matrix:
    """All operations in the order in which they were applied, as one matrix."""
    whole = _matrix()
    for name, argument in moves:
        whole = whole @ MOVES[name](argument, width, height)
    return whole


def covered(width: int, height: int, coverage: Coverage) -> Box:
    """What a map covers of a picture: top, left, height, width in pixels.

    centre: the largest square in the middle; image: all of it. official: a map of the centre square is used as if it
    covered all of the picture, as in the published code (volo.md 8, defect 2).
    """
    if coverage != "centre":
        return 0.0, 0.0, float(height), float(width)
    side = min(width, height)
    return (height - side) / 2, (width - side) / 2, float(side), float(side)


def move_map(label_map: Tensor, matrix: Matrix, width: int, height: int, coverage: Coverage) -> Tensor:
    """The map (2, k, h, w) of a picture that was moved: nearest neighbour, never modified in place.

    From outside of the map: logit 0, and the class of the nearest cell.
    """
    if np.array_equal(matrix, _matrix()):
        return label_map
    rows, columns = label_map.shape[2:]
    top, left, tall, wide = covered(width, height, coverage)
    cells = _matrix(xx=wide / columns, x=left, yy=tall / rows, y=top)  # place in the map -> place in the picture
    back = _matrix(xx=columns / wide, x=-left * columns / wide, yy=rows / tall, y=-top * rows / tall)
    place = back @ matrix @ cells
    y, x = np.arange(rows)[:, None] + 0.5, np.arange(columns) + 0.5
    column, row = (np.floor(a * x + b * y + c).astype(np.int64) for a, b, c in place[:2])
    inner_row, inner_column = np.minimum(np.maximum(row, 0), rows - 1), np.minimum(np.maximum(column, 0), columns - 1)
    moved = label_map.numpy()[:, :, inner_row, inner_column]
    moved[0][:, (inner_row != row) | (inner_column != column)] = 0
    return torch.from_numpy(moved)


def box_in_map(box: Box, width: int, height: int, coverage: Coverage) -> Tensor:
    """A crop box in fractions of the picture -> (4,) float32 in fractions of its map."""
    top, left, tall, wide = covered(width, height, coverage)
    return torch.tensor(
        [(box[0] * height - top) / tall, (box[1] * width - left) / wide, box[2] * height / tall, box[3] * width / wide]
    )
