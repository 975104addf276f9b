"""Region proposals (Ren et al., Faster R-CNN, arXiv 1506.01497) on the maps of a feature pyramid.

Three anchors of 8 strides (ratios 1/2, 1, 2) at every place of five maps of strides 4 to 64. An anchor is an object
from an IoU of 0.7 on, background below 0.3, and every object has the anchors of its own largest IoU, from 0.3 on. Of
each picture 256 anchors teach, at most half of them objects: binary cross entropy, and L1 (or smooth L1) of the deltas,
both divided by the number of these anchors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.detect.anchors import Anchors
from volovan.detect.boxes import clip, from_deltas, to_deltas
from volovan.detect.losses import over_processes, smooth_l1
from volovan.detect.matching import match_by_iou, sample
from volovan.detect.objects import Objects, Size
from volovan.detect.select import Choice, keep
from volovan.detect.towers import by_anchor, init_normal
from volovan.models.layers import convolve

STRIDES = (4, 8, 16, 32, 64)
TEACHING = 256
OVERLAP = 0.7
"""IoU above which the surer of two proposals of a level stays alone"""


class RPN(nn.Module):
    """width        channels of the maps
    beta            from which difference on the loss of deltas is linear; 0: everywhere
    training, testing   of each picture (the best of a level, proposals that are left)
    """

    def __init__(
        self,
        width: int,
        beta: float = 0.0,
        training: tuple[int, int] = (2000, 1000),
        testing: tuple[int, int] = (1000, 1000),
    ):
        super().__init__()
        self.anchors = Anchors(8, 1, (0.5, 1.0, 2.0), STRIDES)
        self.beta, self.counts = beta, {True: training, False: testing}
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.class_out = nn.Conv2d(width, self.anchors.per_place, 1)
        self.box_out = nn.Conv2d(width, self.anchors.per_place * 4, 1)
        self.apply(init_normal)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps (B, C, h, w) -> (B, A_i) logits and (B, A_i, 4) deltas of each."""
        hidden = [convolve(self.conv, map_).relu() for map_ in maps]
        logits = [by_anchor(self.class_out(map_), 1)[..., 0] for map_ in hidden]
        return logits, [by_anchor(self.box_out(map_), 4) for map_ in hidden]

    @torch.no_grad()
    def propose(
        self, maps: Sequence[Tensor], logits: Sequence[Tensor], deltas: Sequence[Tensor], sizes: Sequence[Size]
    ) -> list[Tensor]:
        """(n, 4) proposals of each picture, the surest first."""
        per_level, in_all = self.counts[self.training]
        choice = Choice(overlap=OVERLAP, most=in_all)
        levels = self.anchors(maps)
        found = []
        for number, size in enumerate(sizes):
            boxes, scores, of_level = [], [], []
            for level, (anchors, own_logits, own_deltas) in enumerate(zip(levels, logits, deltas, strict=True)):
                best = own_logits[number].float().sigmoid().sort(descending=True, stable=True)
                chosen = best.indices[:per_level]
                boxes.append(clip(from_deltas(anchors[chosen], own_deltas[number][chosen]), size))
                scores.append(best.values[:per_level])
                of_level.append(torch.full_like(chosen, level))
            found.append(keep(torch.cat(boxes), torch.cat(scores), torch.cat(of_level), choice).boxes)
        return found

    def losses(
        self,
        maps: Sequence[Tensor],
        logits: Sequence[Tensor],
        deltas: Sequence[Tensor],
        sizes: Sequence[Size],
        objects: Sequence[Objects],
    ) -> dict[str, Tensor]:
        """{"rpn_class", "rpn_box"}."""
        anchors = torch.cat(self.anchors(maps))
        every_logit, every_delta = torch.cat(tuple(logits), dim=1), torch.cat(tuple(deltas), dim=1)
        said, learned, predicted, wanted = [], [], [], []
        for number, (size, there) in enumerate(zip(sizes, objects, strict=True)):
            inside = torch.cat(self.anchors.inside(maps, size)).nonzero()[:, 0]
            match = match_by_iou(anchors[inside], there.boxes, positive=0.7, negative=0.3, least=0.3)
            positive, negative = sample(match, TEACHING, 0.5)
            rows = inside[torch.cat((positive, negative))]
            said.append(every_logit[number, rows])
            learned.append((torch.arange(len(rows), device=rows.device) < len(positive)).float())
            rows = inside[positive]
            predicted.append(every_delta[number, rows])
            wanted.append(to_deltas(anchors[rows], there.boxes[match[positive]]))
        target = torch.cat(learned)
        number_taught = over_processes(len(target), target.device)
        scores = F.binary_cross_entropy_with_logits(torch.cat(said).float(), target, reduction="sum")
        boxes = smooth_l1(torch.cat(predicted), torch.cat(wanted), self.beta)
        return {"rpn_class": scores / number_taught, "rpn_box": boxes / number_taught}
