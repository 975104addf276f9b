"""GFL (Li et al., Generalized Focal Loss, arXiv 2006.04388).

Anchors and their matching are those of ATSS, but a box is four distances of the anchor's centre to its sides, in
strides, each a distribution over 0, 1 .. 16 whose mean is taken. The score of the right class learns the IoU of the
predicted box (quality focal loss, divided by the number of positives). GIoU and distribution focal loss of a box are
weighted by the largest score there, without gradient, and divided by the sum of these weights. Numbers are means over
processes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from volovan.detect.anchors import Anchors
from volovan.detect.boxes import centres, from_distances, paired_iou, to_distances
from volovan.detect.fpn import WIDTH
from volovan.detect.losses import distribution_focal, giou, over_processes, quality_focal
from volovan.detect.matching import match_by_statistics
from volovan.detect.objects import Objects, Size
from volovan.detect.select import Choice
from volovan.detect.towers import STRIDES, TowerHead, by_anchor

LARGEST = 16
"""strides of a distance"""
BOX_WEIGHT, DISTRIBUTION_WEIGHT = 2.0, 0.25
_SIDE = 8.0
"""of an anchor, in strides"""


class GFLHead(TowerHead):
    """Maps of strides 4, 8, 16, 32 (the first is not read) to objects."""

    EXTRA, NORM, usual = "output", True, Choice(overlap=0.6)
    box_values = 4 * (LARGEST + 1)

    def __init__(self, in_chans: Sequence[int], num_classes: int, width: int = WIDTH):
        super().__init__(in_chans, num_classes, Anchors(_SIDE, 1, (1.0,), STRIDES), width)
        self.scales = nn.ParameterList(torch.tensor(1.0) for _ in STRIDES)

    def match(self, levels: Sequence[Tensor], boxes: Tensor) -> Tensor:
        return match_by_statistics(levels, boxes)

    def predict(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits = [by_anchor(self.class_out(self.class_tower(map_)), self.num_classes) for map_ in maps]
        boxes = [self.box_out(self.box_tower(map_)) * scale for map_, scale in zip(maps, self.scales, strict=True)]
        return logits, [by_anchor(map_, self.box_values) for map_ in boxes]

    def decode(self, anchors: Tensor, values: Tensor) -> Tensor:
        return from_distances(centres(anchors), mean_distances(values) * strides_of(anchors))

    def losses(self, maps: Sequence[Tensor], sizes: Sequence[Size], objects: Sequence[Objects]) -> dict[str, Tensor]:
        """{"class", "box", "distribution"}."""
        pyramid = self.fpn(maps[1:])
        taught = self.teach(pyramid, sizes, objects)
        logits, values = (torch.cat(parts, dim=1).flatten(0, 1)[taught.rows] for parts in self.predict(pyramid))
        values = values[taught.matched]
        boxes = self.decode(taught.anchors, values)
        quality = torch.zeros(len(logits), device=logits.device)
        quality[taught.matched] = paired_iou(boxes.detach(), taught.boxes)
        weight = logits.detach()[taught.matched].float().sigmoid().amax(dim=1)
        total = over_processes(weight.sum(), logits.device)
        sides = to_distances(centres(taught.anchors), taught.boxes) / strides_of(taught.anchors)
        spread = distribution_focal(values.reshape(-1, LARGEST + 1), sides.clamp(0, LARGEST - 0.1).flatten())
        return {
            "class": quality_focal(logits, taught.labels, quality) / over_processes(taught.positives, logits.device),
            "box": BOX_WEIGHT * (giou(boxes, taught.boxes) * weight).sum() / total,
            "distribution": DISTRIBUTION_WEIGHT * (spread.reshape(-1, 4).mean(dim=1) * weight).sum() / total,
        }


def mean_distances(values: Tensor) -> Tensor:
    """(N, 4 * 17) logits -> (N, 4), 0 to 16."""
    shares = values.float().reshape(-1, 4, LARGEST + 1).softmax(dim=-1)
    return shares @ torch.arange(LARGEST + 1.0, device=values.device)


def strides_of(anchors: Tensor) -> Tensor:
    """(N, 4) -> (N, 1)."""
    return (anchors[:, 2:3] - anchors[:, :1]) / _SIDE
