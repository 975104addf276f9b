"""What of a panoptic network is written into a file: all up to what the queries say."""

from typing import Any

from torch import Tensor

from volovan.panoptic.mask2former import Predictions
from volovan.room.cut import Cut, as_they_are


def inside(model: Any, images: Tensor) -> tuple[Tensor, ...]:
    return tuple(model(images))


def outside(shell: Any, found: list[Tensor], images: Tensor) -> Predictions:
    return Predictions(*found)


# Queries look where their mask of the layer before is at least 0.5: where it is that to the last bit, a cell more or
# less is looked at, and what the query says moves by that.
CUT = Cut(Predictions._fields, inside, outside, tolerance=1e-2, cropped=as_they_are)
