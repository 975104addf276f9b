"""ATSS (Zhang et al., Bridging the Gap Between Anchor-based and Anchor-free Detection, arXiv 1912.02424).

One square anchor of 8 strides at every place; `match_by_statistics` says which learn an object. Each level has a number
of its own that its deltas are multiplied by. Losses: focal of the classes, divided by the number of positives; GIoU of
boxes, weighted by how central the anchor is in its object and divided by the sum of these weights; binary cross entropy
of that centrality,

    sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)),   l, t, r, b: distances of the anchor's centre to the sides

which scores are multiplied by. Numbers are means over processes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.detect.anchors import Anchors
from volovan.detect.boxes import Stds, centres, from_deltas, to_distances
from volovan.detect.fpn import WIDTH
from volovan.detect.losses import focal, giou, over_processes
from volovan.detect.matching import match_by_statistics
from volovan.detect.objects import Objects, Size
from volovan.detect.select import Choice
from volovan.detect.towers import STRIDES, TowerHead, by_anchor, init_normal

STDS: Stds = (0.1, 0.1, 0.2, 0.2)
BOX_WEIGHT = 2.0


class ATSSHead(TowerHead):
    """Maps of strides 4, 8, 16, 32 (the first is not read) to objects. A box is four deltas and a centrality."""

    EXTRA, NORM, usual = "output", True, Choice(overlap=0.6)

    def __init__(self, in_chans: Sequence[int], num_classes: int, width: int = WIDTH):
        super().__init__(in_chans, num_classes, Anchors(8, 1, (1.0,), STRIDES), width)
        self.centre_out = nn.Conv2d(width, 1, 3, padding=1)
        self.centre_out.apply(init_normal)
        self.scales = nn.ParameterList(torch.tensor(1.0) for _ in STRIDES)

    def match(self, levels: Sequence[Tensor], boxes: Tensor) -> Tensor:
        return match_by_statistics(levels, boxes)

    def predict(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits = [by_anchor(self.class_out(self.class_tower(map_)), self.num_classes) for map_ in maps]
        values = []
        for map_, scale in zip(maps, self.scales, strict=True):
            tower = self.box_tower(map_)
            values.append(by_anchor(torch.cat((self.box_out(tower) * scale, self.centre_out(tower)), dim=1), 5))
        return logits, values

    def decode(self, anchors: Tensor, values: Tensor) -> Tensor:
        return from_deltas(anchors, values[:, :4], STDS)

    def scores(self, logits: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return logits.sigmoid(), values[:, 4].sigmoid()

    def losses(self, maps: Sequence[Tensor], sizes: Sequence[Size], objects: Sequence[Objects]) -> dict[str, Tensor]:
        """{"class", "box", "centre"}."""
        pyramid = self.fpn(maps[1:])
        taught = self.teach(pyramid, sizes, objects)
        logits, values = (torch.cat(parts, dim=1).flatten(0, 1)[taught.rows] for parts in self.predict(pyramid))
        values = values[taught.matched]
        positives = over_processes(taught.positives, logits.device)
        central = centrality(centres(taught.anchors), taught.boxes)
        boxes = giou(self.decode(taught.anchors, values), taught.boxes)
        return {
            "class": focal(logits, taught.labels) / positives,
            "box": BOX_WEIGHT * (boxes * central).sum() / over_processes(central.sum(), logits.device),
            "centre": F.binary_cross_entropy_with_logits(values[:, 4].float(), central, reduction="sum") / positives,
        }


def centrality(points: Tensor, boxes: Tensor) -> Tensor:
    """(N, 2) points inside of (N, 4) boxes -> (N,), 1 in the middle and 0 at a side."""
    left, top, right, bottom = to_distances(points, boxes).unbind(dim=1)
    across = torch.minimum(left, right) / torch.maximum(left, right)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (across * down).sqrt()
