"""What of a panoptic network is written into a file: all up to what the queries say."""

from typing import Any

from torch import Tensor

from volovan.panoptic.mask2former import Predictions
from volovan.room.cut import Cut


def inside(model: Any, images: Tensor) -> tuple[Tensor, ...]:
    return tuple(model(images))


def outside(shell: Any, found: list[Tensor], images: Tensor) -> Predictions:
    return Predictions(*found)


CUT = Cut(Predictions._fields, inside, outside)
