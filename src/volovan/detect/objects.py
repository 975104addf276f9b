"""What is there and what was found: boxes are (x1, y1, x2, y2) in pixels of the picture that the network sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

Size = tuple[int, int]
"""(height, width)"""


@dataclass(frozen=True)
class Outline:
    """Mask of one object where it lies: thousands in a large picture take no more room than they show.

    mask  (h, w) bool or uint8
    x, y  of its upper left pixel in the picture
    """

    mask: Tensor
    x: int
    y: int


@dataclass(frozen=True)
class Objects:
    """N annotated objects of a picture, for a loss.

    boxes   (N, 4) float
    labels  (N,) int64, 0 to num_classes - 1
    masks   one for each, or none at all where the head has no masks
    """

    boxes: Tensor
    labels: Tensor
    masks: Sequence[Outline] = ()

    def with_area(self) -> Objects:
        """Without those whose box has no area, of which nothing can be learned."""
        kept = (self.boxes[:, 2:] > self.boxes[:, :2]).all(dim=1)
        if bool(kept.all()):
            return self
        masks = tuple(mask for mask, keep in zip(self.masks, kept.tolist(), strict=True) if keep) if self.masks else ()
        return Objects(self.boxes[kept], self.labels[kept], masks)

    def to(self, device: torch.device) -> Objects:
        masks = tuple(Outline(outline.mask.to(device), outline.x, outline.y) for outline in self.masks)
        return Objects(self.boxes.to(device), self.labels.to(device), masks)


@dataclass(frozen=True)
class Detections:
    """N objects that were found in a picture, the surest first.

    boxes   (N, 4) float, within the picture
    scores  (N,) float, 0 to 1
    labels  (N,) int64
    masks   (N, 28, 28) float, how sure each part of the box is of the object; None without mask head
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None = field(default=None)

    def __len__(self) -> int:
        return len(self.scores)
