"""Boundary IoU (Cheng et al. 2021, arXiv 2103.16562): IoU of the pixels that lie near the edge of their class.

Of the region of a class, the pixels that an erosion by d pixels takes away are its boundary; d is 2 % of the diagonal
of the picture, and what lies beyond the picture counts as another class. Here the boundaries of all classes are found
at once: a pixel belongs to one if the square of 2 d + 1 pixels around it holds another number.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.data.masks import IGNORE

DILATION = 0.02
"""of the diagonal, as the paper sets it"""
Combine = Callable[[Tensor, Tensor], Tensor]


class BoundarySums:
    """Intersections and unions of boundaries, per class over all pictures."""

    def __init__(self, num_classes: int, device: torch.device, dilation: float = DILATION) -> None:
        self.num_classes, self.dilation = num_classes, dilation
        names = ("boundary_intersection", "boundary_union")
        self.totals = {name: torch.zeros(num_classes, dtype=torch.long, device=device) for name in names}

    def add(self, predicted: Tensor, mask: Tensor) -> None:
        """Class numbers (H, W) and labels (H, W). What is ignored in the label is so in the prediction."""
        predicted = torch.where(mask == IGNORE, mask, predicted.to(mask.dtype))
        width = boundary_width(mask.shape[0], mask.shape[1], self.dilation)
        of_mask = boundary(mask, width) & (mask != IGNORE)
        of_prediction = boundary(predicted, width) & (predicted != IGNORE)
        both = self._count(mask[of_mask & of_prediction & (mask == predicted)])
        self.totals["boundary_intersection"] += both
        self.totals["boundary_union"] += self._count(mask[of_mask]) + self._count(predicted[of_prediction]) - both

    def iou(self) -> Tensor:
        """(K,) per cent, float64; nan for a class without a pixel."""
        sums = {name: total.cpu().double() for name, total in self.totals.items()}
        return 100 * sums["boundary_intersection"] / sums["boundary_union"]

    def _count(self, numbers: Tensor) -> Tensor:
        return torch.bincount(numbers.long(), minlength=self.num_classes)


def boundary_width(height: int, width: int, dilation: float = DILATION) -> int:
    """d in pixels, at least 1."""
    return max(1, round(dilation * (height**2 + width**2) ** 0.5))


def boundary(classes: Tensor, width: int) -> Tensor:
    """(H, W) bool: whether a pixel with another number, or the edge of the picture, is at most `width` pixels away,
    diagonal steps counting as one (as repeated erosions by 3 x 3 do)."""
    outside = F.pad(classes.short(), (width, width, width, width), value=-1)
    lowest = highest = outside
    for axis in (0, 1):
        lowest = _slide(lowest, axis, 2 * width + 1, torch.minimum)
        highest = _slide(highest, axis, 2 * width + 1, torch.maximum)
    return lowest != highest


def _slide(values: Tensor, axis: int, window: int, combine: Combine) -> Tensor:
    """The least or the largest of each `window` neighbours along an axis, in log2(window) steps: each doubles what
    has been combined, the last overlaps."""
    done = 1
    while done < window:
        step = min(done, window - done)
        kept = values.shape[axis] - step
        values = combine(values.narrow(axis, 0, kept), values.narrow(axis, step, kept))
        done += step
    return values
