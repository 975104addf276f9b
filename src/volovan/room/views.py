"""How large a picture is seen in training, and which part of it, where pictures keep their shape.

Random choices are drawn from Python's generator, which the loader keys by (seed, epoch, sample).
"""

import random

from volovan.data.pictures.thin import widened
from volovan.models.pyramid import STRIDES
from volovan.room.settings import Size, pair


def scaled_size(
    width: float, height: float, sides: Size | None, factor: float = 1.0, window: bool = False
) -> tuple[int, int]:
    """(width, height) that a picture is scaled to: into a long and a short side, keeping its shape, times the factor.

    Not too thin, unless a window is cut out of it: of that no more is computed.
    """
    if sides is not None:
        factor *= min(max(sides) / max(width, height), min(sides) / min(width, height))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return size if window else widened(size, STRIDES[-1])


def random_window(width: int, height: int, crop: int | Size | None) -> tuple[int, int, int, int]:
    """(left, top, columns, rows) of what is cut out of a scaled picture: (height, width) as crop has it, or as much as
    there is; None: all of it."""
    if crop is None:
        return 0, 0, width, height
    rows, columns = (min(side, whole) for side, whole in zip(pair(crop), (height, width), strict=True))
    top, left = random.randint(0, height - rows), random.randint(0, width - columns)
    return left, top, columns, rows
