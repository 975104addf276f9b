"""Detection with tensors whose sizes do not depend on what is found, as files of other programs need it.

What `RCNNHead.detect`, `SparseRCNNHead.detect` and `TowerHead.detect` do for one picture after the other is done for a
batch at once: lists of proposals are tensors with room for all, in which a score of 0 marks what is none; a box is read
from every map of the pyramid, from those that it does not belong to as a box of one pixel, which costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms, roi_align

from volovan.detect.boxes import from_deltas
from volovan.detect.rcnn import MASK_POOLED, RCNNHead
from volovan.detect.rois import POOLED, STRIDES, level_of
from volovan.detect.rpn import OVERLAP, RPN
from volovan.detect.select import PER_MAP, Choice
from volovan.detect.sparse_rcnn import SAMPLES, STDS, SparseRCNNHead
from volovan.detect.towers import TowerHead

_library = torch.library.Library("volovan", "FRAGMENT")
_library.define("suppress(Tensor boxes, Tensor scores, float overlap, int most) -> Tensor")


def suppress(boxes: Tensor, scores: Tensor, overlap: float, most: int) -> Tensor:
    """Non-maximum suppression in each picture, by an operation that exporters can translate.

    boxes   (B, N, 4) corners
    scores  (B, N); 0 and less: there is none
    returns (B, most) int64: rows of boxes that stay, the surest first; -1 behind the last
    """
    found: Tensor = torch.ops.volovan.suppress(boxes, scores, overlap, most)
    return found


def _suppress(boxes: Tensor, scores: Tensor, overlap: float, most: int) -> Tensor:
    found = scores.new_full((scores.shape[0], most), -1, dtype=torch.int64)
    for own, own_boxes, own_scores in zip(found, boxes, scores, strict=True):
        there = (own_scores > 0).nonzero()[:, 0]
        kept = there[nms(own_boxes[there], own_scores[there], overlap)[:most]]
        own[: len(kept)] = kept
    return found


_library.impl("suppress", _suppress, "CompositeExplicitAutograd")


@torch.library.register_fake("volovan::suppress", lib=_library)
def _(boxes: Tensor, scores: Tensor, overlap: float, most: int) -> Tensor:
    return scores.new_empty((scores.shape[0], most), dtype=torch.int64)


def surest(boxes: Tensor, scores: Tensor, groups: Tensor, overlap: float, most: int) -> tuple[Tensor, Tensor]:
    """Suppression within groups: (B, most) rows, where there is none 0, and (B, most) scores, there 0.

    groups  (B, N) or (N,): boxes of different ones lie apart
    """
    area = (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
    scores = torch.where(area, scores, torch.zeros_like(scores))
    apart = groups.to(boxes.dtype) * (boxes.amax(dim=(1, 2))[:, None] + 1)
    rows = suppress(boxes + apart[..., None], scores, overlap, most)
    there = rows.clamp(min=0)
    kept = scores.gather(1, there)
    return there, torch.where(rows >= 0, kept, torch.zeros_like(kept))


def pick(values: Tensor, rows: Tensor) -> Tensor:
    """(B, N, ...) and (B, M) -> (B, M, ...)."""
    index = rows.reshape(*rows.shape, *(1,) * (values.dim() - 2)).expand(*rows.shape, *values.shape[2:])
    return values.gather(1, index)


def clip_to(boxes: Tensor, images: Tensor) -> Tensor:
    """(..., 4) corners within pictures of the size of images (B, C, H, W)."""
    height, width = (torch.full_like(boxes[..., :1], images.shape[axis]) for axis in (2, 3))
    limit = torch.cat((width, height, width, height), dim=-1)
    return torch.minimum(boxes.clamp(min=0), limit)


def read(maps: Sequence[Tensor], boxes: Tensor, side: int = POOLED, samples: int = 0) -> Tensor:
    """`volovan.detect.rois.pool` for (B, P, 4) boxes -> (B P, C, side, side)."""
    batch, count = boxes.shape[:2]
    picture = torch.arange(batch, device=boxes.device)[:, None, None].expand(-1, count, 1)
    every = torch.cat((picture.to(boxes.dtype), boxes), dim=2).flatten(0, 1)
    level = level_of(every[:, 1:])
    pixel = torch.cat((every[:, :1], every.new_tensor([[0.0, 0.0, 1.0, 1.0]]).expand(every.shape[0], 4)), dim=1)
    found: Tensor | None = None
    for number, (map_, stride) in enumerate(zip(maps, STRIDES, strict=False)):
        here = level == number
        own = torch.where(here[:, None], every, pixel)
        values = roi_align(map_, own.to(map_.dtype), side, 1 / stride, samples, aligned=True)
        found = values if found is None else torch.where(here[:, None, None, None], values, found)
    assert found is not None
    return found


def propose(rpn: RPN, maps: Sequence[Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """`RPN.propose`: (B, P, 4) proposals and their (B, P) scores."""
    per_level, in_all = rpn.counts[False]
    logits, deltas = rpn(maps)
    boxes, scores, levels = [], [], []
    for number, (anchors, own, moves) in enumerate(zip(rpn.anchors(maps), logits, deltas, strict=True)):
        best = own.float().sigmoid().topk(torch.sym_min(per_level, own.shape[1]), dim=1)
        of_anchors = pick(anchors.expand(own.shape[0], -1, -1), best.indices)
        moved = from_deltas(of_anchors.flatten(0, 1), pick(moves, best.indices).flatten(0, 1))
        boxes.append(clip_to(moved.view_as(of_anchors), images))
        scores.append(best.values)
        levels.append(torch.full_like(best.indices, number))
    every = torch.cat(boxes, dim=1)
    rows, sure = surest(every, torch.cat(scores, dim=1), torch.cat(levels, dim=1), OVERLAP, in_all)
    return pick(every, rows), sure


def detect(head: RCNNHead, maps: Sequence[Tensor], images: Tensor, choice: Choice) -> tuple[Tensor, ...]:
    """`RCNNHead.detect`: (B, most, 4) boxes, (B, most) scores, 0 where there is none, and classes, and of a head with
    masks (B, most, 28, 28)."""
    pyramid = head.fpn(maps)
    boxes, sure = propose(head.rpn, pyramid, images)
    batch, count, classes = *boxes.shape[:2], head.num_classes
    every: list[Tensor] = []
    moved = boxes[:, :, None]
    for number, (stage, box_head) in enumerate(zip(head.stages, head.box_heads, strict=True)):
        scores, moves = box_head(read(pyramid, boxes))
        every.append(scores.float().softmax(dim=1))
        moved = clip_to(from_deltas(boxes.flatten(0, 1), moves, stage.stds).unflatten(0, (batch, count)), images)
        if number + 1 < len(head.stages):
            likeliest = scores[:, :-1].argmax(dim=1).view(batch, count, 1, 1).expand(-1, -1, 1, 4)
            boxes = moved.gather(2, likeliest)[:, :, 0]
    mean = torch.stack(every).mean(dim=0)[:, :-1].unflatten(0, (batch, count))
    kept = torch.where((mean > choice.least) & (sure > 0)[..., None], mean, torch.zeros_like(mean))
    candidates, labels = moved.flatten(1, 2), torch.arange(classes, device=boxes.device).repeat(count)
    rows, scores = surest(candidates, kept.flatten(1), labels, choice.overlap, choice.most)
    found = pick(candidates, rows)
    told = rows % classes
    if head.mask_heads is None:
        return found, scores, told
    pooled = read(pyramid, found, MASK_POOLED)
    of_class = told.flatten()[:, None, None, None].expand(-1, 1, 28, 28)
    masks = [one(pooled).gather(1, of_class)[:, 0].float().sigmoid() for one in head.mask_heads]
    return found, scores, told, torch.stack(masks).mean(dim=0).unflatten(0, (batch, choice.most))


def sparse(head: SparseRCNNHead, maps: Sequence[Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """The last of `SparseRCNNHead.forward`: (B, N, K) logits and (B, N, 4) corners."""
    pyramid = head.fpn(maps)
    batch: Any = images.shape[0]
    middle, side = head.boxes.weight.split(2, dim=1)
    shares = torch.cat((middle - side / 2, middle + side / 2), dim=1).expand(batch, -1, -1)
    height, width = (torch.full_like(shares[..., :1], images.shape[axis]) for axis in (2, 3))
    boxes = shares * torch.cat((width, height, width, height), dim=-1)
    x = head.features.weight.expand(batch, -1, -1)
    logits = x
    for stage in head.stages:
        x, logits, deltas = stage(x, read(pyramid, boxes, POOLED, SAMPLES))
        boxes = from_deltas(boxes.flatten(0, 1), deltas.flatten(0, 1), STDS).view_as(boxes)
    return logits, boxes


def chosen_sparse(
    head: SparseRCNNHead, maps: Sequence[Tensor], images: Tensor, choice: Choice
) -> tuple[Tensor, Tensor, Tensor]:
    """`SparseRCNNHead.detect`: boxes, scores and classes of each picture, as `detect` gives them."""
    logits, boxes = sparse(head, maps, images)
    best = logits.float().sigmoid().flatten(1).topk(boxes.shape[1], dim=1)
    classes = logits.shape[2]
    found = clip_to(pick(boxes, best.indices // classes), images)
    kept = torch.where(best.values > choice.least, best.values, torch.zeros_like(best.values))
    rows, scores = surest(found, kept, best.indices % classes, choice.overlap, min(choice.most, boxes.shape[1]))
    return pick(found, rows), scores, (best.indices % classes).gather(1, rows)


def chosen_dense(head: TowerHead, maps: Sequence[Tensor], images: Tensor, choice: Choice) -> tuple[Tensor, ...]:
    """`TowerHead.detect`, likewise."""
    pyramid = head.fpn(maps[1:])
    boxes, scores, labels = [], [], []
    for anchors, logits, values in zip(head.anchors(pyramid), *head.predict(pyramid), strict=True):
        batch, count, classes = logits.shape
        told = head.scores(logits.flatten(0, 1).float(), values.flatten(0, 1).float())
        sure, factors = (one.unflatten(0, (batch, count)) for one in told)
        best = sure.flatten(1).topk(torch.sym_min(PER_MAP, count * classes), dim=1)
        rows = best.indices // classes
        decoded = head.decode(
            pick(anchors.expand(batch, -1, -1), rows).flatten(0, 1), pick(values, rows).flatten(0, 1)
        ).unflatten(0, (batch, -1))
        kept = torch.where(best.values > choice.least, best.values, torch.zeros_like(best.values))
        boxes.append(clip_to(decoded, images))
        scores.append(kept * factors.gather(1, rows))
        labels.append(best.indices % classes)
    every, classes_ = torch.cat(boxes, dim=1), torch.cat(labels, dim=1)
    rows, sure = surest(every, torch.cat(scores, dim=1), classes_, choice.overlap, choice.most)
    return pick(every, rows), sure, classes_.gather(1, rows)
