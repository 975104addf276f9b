"""RetinaNet (Lin et al., Focal Loss for Dense Object Detection, arXiv 1708.02002).

Nine anchors at every place of five maps: sizes 4, 5.04 and 6.35 strides, ratios 1/2, 1, 2. An anchor learns the object
of its largest IoU from 0.5 on, below 0.4 background, and nothing between; every object has the anchors of its own
largest IoU too. Loss: focal of the classes and L1 of the deltas, both divided by the number of positives of the batch.
P6 is made of C5 (not of P5), and there is no ReLU before P7.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from volovan.detect.anchors import Anchors
from volovan.detect.boxes import from_deltas, to_deltas
from volovan.detect.fpn import WIDTH
from volovan.detect.losses import focal, l1, over_processes
from volovan.detect.matching import match_by_iou
from volovan.detect.objects import Objects, Size
from volovan.detect.towers import STRIDES, TowerHead, by_anchor


class RetinaNetHead(TowerHead):
    """Maps of strides 4, 8, 16, 32 (the first is not read) to objects."""

    EXTRA, NORM = "input", False

    def __init__(self, in_chans: Sequence[int], num_classes: int, width: int = WIDTH):
        super().__init__(in_chans, num_classes, Anchors(4, 3, (0.5, 1.0, 2.0), STRIDES), width)

    def match(self, levels: Sequence[Tensor], boxes: Tensor) -> Tensor:
        return match_by_iou(torch.cat(tuple(levels)), boxes, positive=0.5, negative=0.4, least=0.0)

    def predict(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits = [by_anchor(self.class_out(self.class_tower(map_)), self.num_classes) for map_ in maps]
        return logits, [by_anchor(self.box_out(self.box_tower(map_)), self.box_values) for map_ in maps]

    def decode(self, anchors: Tensor, values: Tensor) -> Tensor:
        return from_deltas(anchors, values)

    def losses(self, maps: Sequence[Tensor], sizes: Sequence[Size], objects: Sequence[Objects]) -> dict[str, Tensor]:
        """{"class", "box"}."""
        pyramid = self.fpn(maps[1:])
        taught = self.teach(pyramid, sizes, objects)
        logits, deltas = (torch.cat(parts, dim=1).flatten(0, 1)[taught.rows] for parts in self.predict(pyramid))
        positives = over_processes(taught.positives, logits.device)
        wanted = to_deltas(taught.anchors, taught.boxes)
        return {
            "class": focal(logits, taught.labels) / positives,
            "box": l1(deltas[taught.matched], wanted) / positives,
        }
