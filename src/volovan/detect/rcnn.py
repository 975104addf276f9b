"""Heads in two steps: proposals, then one stage or several that name and move them (R-CNN), and masks of what is found.

A stage takes the objects and the proposals of a picture, matches them by IoU, and learns from 512 of them, at most a
quarter with an object: cross entropy of classes and background, and a loss of the boxes of those with an object, both
divided by how many learn. The boxes that it gives are the proposals of the next stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.detect.boxes import Stds, clip, from_deltas, to_deltas
from volovan.detect.fpn import FPN
from volovan.detect.losses import giou, l1, over_processes
from volovan.detect.masks import mask_targets
from volovan.detect.matching import match_by_iou, sample
from volovan.detect.objects import Detections, Objects, Size
from volovan.detect.rois import POOLED, BoxHead, MaskHead, pool
from volovan.detect.rpn import RPN, STRIDES
from volovan.detect.select import Choice, best, keep
from volovan.models.dense import Rows

TAUGHT, PROPOSALS = 512, 1000
"""of a picture, in the published runs"""
POSITIVE = 0.25
GIOU_WEIGHT = 10.0
MASK_POOLED = 14
WORK, WORK_MASKS = 1000, 100


@dataclass(frozen=True)
class Stage:
    """How a stage learns.

    iou     from which on a proposal is an object, and below which background
    stds    of its deltas
    own     whether every object has the proposals of its largest IoU too, from `iou` on
    box     "l1": of the deltas; "giou": of the boxes, ten times
    weight  of its losses
    """

    iou: float = 0.5
    stds: Stds = (0.1, 0.1, 0.2, 0.2)
    own: bool = False
    box: Literal["l1", "giou"] = "l1"
    weight: float = 1.0


@dataclass(frozen=True)
class Taken:
    """Proposals of a picture that a stage learns from, those with an object first.

    boxes    (n, 4)
    labels   (n,) class numbers, num_classes for background
    wanted   (p, 4) boxes of the objects of the first p
    objects  (p,) their numbers
    given    (n,) which of the boxes are those of objects themselves
    """

    boxes: Tensor
    labels: Tensor
    wanted: Tensor
    objects: Tensor
    given: Tensor


class RCNNHead(nn.Module):
    """Maps of strides 4, 8, 16, 32 to objects.

    stages  settings of each stage; box_heads and mask_heads (or none) are theirs
    taught  proposals of a picture that each stage learns from
    """

    masks = False
    """whether it has mask heads"""
    usual = Choice()

    def __init__(
        self,
        in_chans: Sequence[int],
        num_classes: int,
        width: int,
        rpn: RPN,
        stages: Sequence[Stage],
        box_heads: Sequence[BoxHead],
        taught: int,
    ):
        super().__init__()
        self.num_classes, self.stages = num_classes, tuple(stages)
        self.fpn = FPN(in_chans, len(STRIDES), "pool", width)
        self.rpn = rpn
        self.box_heads = nn.ModuleList(box_heads)
        self.mask_heads = nn.ModuleList(MaskHead(width, num_classes) for _ in stages) if self.masks else None
        self.taught = taught

    def losses(self, maps: Sequence[Tensor], sizes: Sequence[Size], objects: Sequence[Objects]) -> dict[str, Tensor]:
        """{"rpn_class", "rpn_box", "class", "box", "mask"}; of several stages their sums."""
        pyramid = self.fpn(maps)
        logits, deltas = self.rpn(pyramid)
        found = self.rpn.losses(pyramid, logits, deltas, sizes, objects)
        boxes = self.rpn.propose(pyramid, logits, deltas, sizes)
        parts: list[dict[str, Tensor]] = []
        for number, (stage, head) in enumerate(zip(self.stages, self.box_heads, strict=True)):
            taken = [self.take(stage, own, there) for own, there in zip(boxes, objects, strict=True)]
            scores, moves = head(pool(pyramid, [one.boxes for one in taken]))
            part = self.stage_losses(stage, taken, scores, moves)
            if self.mask_heads is not None:
                part["mask"] = self.mask_loss(self.mask_heads[number], pyramid, taken, objects)
            parts.append({name: stage.weight * loss for name, loss in part.items()})
            if number + 1 < len(self.stages):
                boxes = self.refined(stage, taken, scores.detach(), moves.detach(), sizes)
        return found | {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}

    @torch.no_grad()
    def take(self, stage: Stage, proposals: Tensor, there: Objects) -> Taken:
        """What a picture teaches a stage."""
        boxes = torch.cat((there.boxes, proposals))
        match = match_by_iou(boxes, there.boxes, stage.iou, stage.iou, stage.iou if stage.own else None)
        positive, negative = sample(match, self.taught, POSITIVE)
        rows = torch.cat((positive, negative))
        of = match[positive]
        labels = torch.cat((there.labels[of], negative.new_full((len(negative),), self.num_classes)))
        return Taken(boxes[rows], labels, there.boxes[of], of, rows < len(there.boxes))

    def stage_losses(self, stage: Stage, taken: Sequence[Taken], scores: Tensor, moves: Tensor) -> dict[str, Tensor]:
        """{"class", "box"}; scores (n, K + 1) and moves (n, K, 4) of all pictures one after another."""
        labels = torch.cat([one.labels for one in taken])
        number = over_processes(len(labels), labels.device)
        rows = (labels < self.num_classes).nonzero()[:, 0]
        anchors, wanted = torch.cat([one.boxes for one in taken])[rows], torch.cat([one.wanted for one in taken])
        predicted = moves[rows, labels[rows]]
        if stage.box == "l1":
            box = l1(predicted, to_deltas(anchors, wanted, stage.stds))
        else:
            box = GIOU_WEIGHT * giou(from_deltas(anchors, predicted, stage.stds), wanted).sum()
        return {"class": F.cross_entropy(scores.float(), labels, reduction="sum") / number, "box": box / number}

    def mask_loss(
        self, head: nn.Module, pyramid: Sequence[Tensor], taken: Sequence[Taken], objects: Sequence[Objects]
    ) -> Tensor:
        """Binary cross entropy of the map of the right class, mean over pixels and boxes with an object."""
        boxes = [one.boxes[: len(one.objects)] for one in taken]
        labels = torch.cat([one.labels[: len(one.objects)] for one in taken])
        logits = head(pool(pyramid, boxes, MASK_POOLED))[torch.arange(len(labels), device=labels.device), labels]
        target = torch.cat(
            [mask_targets(own, there.masks, one.objects) for own, there, one in zip(boxes, objects, taken, strict=True)]
        )
        number = over_processes(target.numel(), labels.device)
        return F.binary_cross_entropy_with_logits(logits.float(), target, reduction="sum") / number

    def refined(
        self, stage: Stage, taken: Sequence[Taken], scores: Tensor, moves: Tensor, sizes: Sequence[Size]
    ) -> list[Tensor]:
        """Boxes for the next stage: moved as their own class says, background as its likeliest does."""
        counts = [len(one.boxes) for one in taken]
        found = []
        for one, own_scores, own, size in zip(taken, scores.split(counts), moves.split(counts), sizes, strict=True):
            likeliest = own_scores[:, :-1].argmax(dim=1)
            labels = torch.where(one.labels == self.num_classes, likeliest, one.labels)
            chosen = own[torch.arange(len(own), device=own.device), labels]
            found.append(clip(from_deltas(one.boxes, chosen, stage.stds), size)[~one.given])
        return found

    def detect(self, maps: Sequence[Tensor], sizes: Sequence[Size], choice: Choice) -> list[Detections]:
        """Maps of strides 4 to 32, and the (height, width) of each picture -> what is found in each."""
        pyramid = self.fpn(maps)
        logits, deltas = self.rpn(pyramid)
        boxes = self.rpn.propose(pyramid, logits, deltas, sizes)
        counts = [len(own) for own in boxes]
        every: list[Tensor] = []
        for number, (stage, head) in enumerate(zip(self.stages, self.box_heads, strict=True)):
            scores, moves = head(pool(pyramid, boxes))
            every.append(scores.float().softmax(dim=1))
            if number + 1 < len(self.stages):
                likeliest = scores[:, :-1].argmax(dim=1)
                chosen = moves[torch.arange(len(moves), device=moves.device), likeliest]
                moved = from_deltas(torch.cat(boxes), chosen, stage.stds).split(counts)
                boxes = [clip(own, size) for own, size in zip(moved, sizes, strict=True)]
        mean = torch.stack(every).mean(dim=0).split(counts)
        last = self.stages[-1].stds
        found = [
            self._of_picture(clip(from_deltas(own, own_moves, last), size), own_scores, choice)
            for own, own_moves, own_scores, size in zip(boxes, moves.split(counts), mean, sizes, strict=True)
        ]
        return self.with_masks(pyramid, found) if self.mask_heads is not None else found

    def work(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """All that costs something, whatever the maps hold, for a count of operations: WORK boxes of each picture and
        masks of WORK_MASKS of them, as mmdetection counts."""
        pyramid = self.fpn(maps)
        logits, deltas = self.rpn(pyramid)
        batch, width = pyramid[0].shape[:2]
        pooled = pyramid[0].new_zeros(batch * WORK, width, POOLED, POOLED)
        found = [*logits, *deltas, *(part for head in self.box_heads for part in head(pooled))]
        pooled = pyramid[0].new_zeros(batch * WORK_MASKS, width, MASK_POOLED, MASK_POOLED)
        return found + [head(pooled) for head in self.mask_heads or ()]

    def _of_picture(self, boxes: Tensor, scores: Tensor, choice: Choice) -> Detections:
        """(n, K, 4) and (n, K + 1)."""
        rows, labels, kept = best(scores[:, :-1], choice.least, scores.numel())
        return keep(boxes[rows, labels], kept, labels, choice)

    def with_masks(self, pyramid: Sequence[Tensor], found: Sequence[Detections]) -> list[Detections]:
        """The mean of the masks that the heads of all stages give."""
        assert self.mask_heads is not None
        pooled = pool(pyramid, [one.boxes for one in found], MASK_POOLED)
        labels = torch.cat([one.labels for one in found])
        rows = torch.arange(len(labels), device=labels.device)
        masks = torch.stack([head(pooled)[rows, labels].float().sigmoid() for head in self.mask_heads]).mean(dim=0)
        parts = masks.split([len(one) for one in found])
        return [replace(one, masks=part) for one, part in zip(found, parts, strict=True)]


def classifiers(stages: int = 1) -> dict[str, Rows]:
    """Where classes lie in the parameters of so many stages: background is the last of their logits."""
    found = {}
    for number in range(stages):
        found[f"head.box_heads.{number}.class_out."] = Rows(rest=1)
        found[f"head.box_heads.{number}.box_out."] = Rows(each=4)
        found[f"head.mask_heads.{number}.mask_out."] = Rows()
    return found
