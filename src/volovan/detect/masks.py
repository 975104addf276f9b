"""Masks of objects: what a mask head learns, and from its answers back to the picture.

No step holds a mask of the whole picture for each object: 2,000 objects of 2,048 x 2,048 pixels would be 8 GB.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from volovan.detect.objects import Outline

SIDE = 28
THRESHOLD = 0.5


def mask_targets(boxes: Tensor, masks: Sequence[Outline], objects: Tensor) -> Tensor:
    """(P, 4) boxes and the number of the object of each -> (P, 28, 28) float: 1 where it is at least half of a cell."""
    found = boxes.new_zeros(len(boxes), SIDE, SIDE, dtype=torch.float32)
    for number in objects.unique().tolist():
        rows = (objects == number).nonzero()[:, 0]
        outline = masks[number]
        framed = F.pad(outline.mask.float(), (2, 2, 2, 2))[None, None]  # RoIAlign repeats what lies at an edge
        moved = boxes[rows].float() - boxes.new_tensor((outline.x - 2, outline.y - 2) * 2, dtype=torch.float32)
        of_map = torch.cat((moved.new_zeros(len(rows), 1), moved), dim=1)
        found[rows] = (roi_align(framed, of_map, SIDE, 1.0, 0, aligned=True)[:, 0] >= THRESHOLD).float()
    return found
