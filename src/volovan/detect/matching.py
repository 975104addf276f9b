"""Which anchor or proposal is to learn which object, and which of them teach.

A match is (A,) int64: the number of the object, NOTHING (background) or UNUSED (in no loss).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

from volovan.detect.boxes import centres, to_distances

NOTHING, UNUSED = -1, -2


def match_by_iou(
    boxes: Tensor, objects: Tensor, positive: float, negative: float, least: float | None = None
) -> Tensor:
    """By the largest IoU with an object (Ren et al., arXiv 1506.01497).

    boxes, objects  (A, 4) and (G, 4) corners
    positive        the object of the largest IoU, if that is at least so large
    negative        background, if it is below
    least           besides, every object takes all boxes of its own largest IoU, where that is at least so large and
                    not 0; of two objects that want a box, the later one has it. None: it does not
    """
    found = torch.full((len(boxes),), UNUSED, device=boxes.device)
    if len(objects) == 0:
        return found.fill_(NOTHING)
    if len(boxes) == 0:
        return found
    ious = box_iou(objects, boxes)
    best, nearest = ious.max(dim=0)
    found[best < negative] = NOTHING
    found = torch.where(best >= positive, nearest, found)
    if least is not None:
        own = ious.max(dim=1, keepdim=True).values
        wanted = (ious == own) & (own >= least) & (own > 0)
        last = len(objects) - 1 - wanted.flip(0).int().argmax(dim=0)
        found = torch.where(wanted.any(dim=0), last, found)
    return found


def match_by_statistics(levels: Sequence[Tensor], objects: Tensor, nearest: int = 9) -> Tensor:
    """ATSS (Zhang et al., arXiv 1912.02424, algorithm 1), with one anchor for each place.

    levels   (A_i, 4) anchors of each level
    objects  (G, 4)
    nearest  candidates of an object on each level: those whose centres are nearest to its own

    Of an object's candidates those are positive whose IoU with it is at least mean + standard deviation (of samples)
    over its candidates, and whose centre lies inside of it. An anchor of several objects takes the largest IoU.
    """
    anchors = torch.cat(tuple(levels))
    found = torch.full((len(anchors),), NOTHING, device=anchors.device)
    if len(objects) == 0 or len(anchors) == 0:
        return found
    ious = box_iou(anchors, objects)
    middles = centres(anchors)
    distances = torch.cdist(middles, centres(objects), compute_mode="donot_use_mm_for_euclid_dist")
    candidates = torch.cat(
        [
            start + distances[start : start + len(level)].topk(min(nearest, len(level)), dim=0, largest=False).indices
            for start, level in zip(_starts(levels), levels, strict=True)
        ]
    )  # (candidates, G)
    of_candidates = ious.gather(0, candidates)
    threshold = of_candidates.mean(dim=0) + of_candidates.std(dim=0)
    chosen = torch.zeros_like(ious, dtype=torch.bool).scatter_(0, candidates, of_candidates >= threshold)
    sides = torch.stack([to_distances(middles, box.expand(len(middles), 4)).amin(dim=1) for box in objects], dim=1)
    best, nearest_object = ious.masked_fill(~(chosen & (sides > 0.01)), -1.0).max(dim=1)
    return torch.where(best >= 0, nearest_object, found)


def _starts(levels: Sequence[Tensor]) -> list[int]:
    starts = [0]
    for level in levels[:-1]:
        starts.append(starts[-1] + len(level))
    return starts


def sample(match: Tensor, number: int, positive: float) -> tuple[Tensor, Tensor]:
    """(indices with an object, indices of background), drawn at random: `number` in all at most, of them at most the
    share `positive` with an object."""
    with_object, without = (match >= 0).nonzero()[:, 0], (match == NOTHING).nonzero()[:, 0]
    chosen = _draw(with_object, int(number * positive))
    return chosen, _draw(without, number - len(chosen))


def _draw(indices: Tensor, number: int) -> Tensor:
    if len(indices) <= number:
        return indices
    return indices[torch.randperm(len(indices))[:number].to(indices.device)]  # on the CPU: its state is what is resumed
