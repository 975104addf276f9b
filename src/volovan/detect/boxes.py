"""From boxes to what a network predicts of them, and back.

deltas     of a proposal with centre (x, y), width w and height h, for a box b (Girshick et al., arXiv 1311.2524):
           t = ((bx - x) / w, (by - y) / h, log(bw / w), log(bh / h)), each divided by its `std`
distances  of a point to the four sides of a box: left, top, right, bottom (Tian et al., 1904.01355)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LARGEST_LOG = abs(math.log(16 / 1000))
"""of what width and height are multiplied by: a box grows to 62.5 times its proposal at most"""
Stds = tuple[float, float, float, float]
ONES: Stds = (1.0, 1.0, 1.0, 1.0)


def to_deltas(proposals: Tensor, boxes: Tensor, stds: Stds = ONES) -> Tensor:
    """(N, 4) and (N, 4), both corners -> (N, 4) deltas."""
    proposals, boxes = proposals.float(), boxes.float()
    size, wanted = proposals[:, 2:] - proposals[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:] - proposals[:, :2] - proposals[:, 2:]) / 2 / size
    return torch.cat((shift, (wanted / size).log()), dim=1) / shift.new_tensor(stds)


def from_deltas(proposals: Tensor, deltas: Tensor, stds: Stds = ONES) -> Tensor:
    """(N, 4) corners and (N, ..., 4) deltas -> (N, ..., 4) corners."""
    proposals, deltas = proposals.float(), deltas.float()
    deltas = deltas * deltas.new_tensor(stds)
    proposals = proposals.reshape(proposals.shape[0], *(1,) * (deltas.ndim - 2), 4)
    size = proposals[..., 2:] - proposals[..., :2]
    centre = (proposals[..., :2] + proposals[..., 2:]) / 2 + size * deltas[..., :2]
    half = size * deltas[..., 2:].clamp(-LARGEST_LOG, LARGEST_LOG).exp() / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def to_distances(points: Tensor, boxes: Tensor) -> Tensor:
    """(N, 2) x, y and (N, 4) corners -> (N, 4) left, top, right, bottom; negative where the point lies outside."""
    return torch.cat((points - boxes[:, :2], boxes[:, 2:] - points), dim=1)


def from_distances(points: Tensor, distances: Tensor) -> Tensor:
    """(N, 2) and (N, 4) -> (N, 4) corners."""
    return torch.cat((points - distances[:, :2], points + distances[:, 2:]), dim=1)


def centres(boxes: Tensor) -> Tensor:
    """(N, 4) -> (N, 2)."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def clip(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """(..., 4) corners within a picture of (height, width)."""
    height, width = size
    return boxes.clamp(min=0).minimum(boxes.new_tensor((width, height, width, height)))


def paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """(N, 4) and (N, 4) -> (N,): each with its own."""
    low, high = torch.maximum(boxes[:, :2], others[:, :2]), torch.minimum(boxes[:, 2:], others[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    return shared / ((boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (others[:, 2:] - others[:, :2]).prod(dim=1) - shared)
