"""From scores to detections: the best of a map, then of each class the surest of boxes that overlap."""

from __future__ import annotations

from torch import Tensor
from torchvision.ops import batched_nms

from volovan.detect.objects import Detections

PER_MAP = 1000
LEAST = 0.05
"""scores up to this are no detection"""
IN_ALL = 100


def best(scores: Tensor, number: int = PER_MAP, least: float = LEAST) -> tuple[Tensor, Tensor, Tensor]:
    """(A, K) scores -> rows, classes and scores of the `number` largest above `least`."""
    rows, labels = (scores > least).nonzero(as_tuple=True)
    kept = scores[rows, labels]
    order = kept.sort(descending=True, stable=True).indices[:number]
    return rows[order], labels[order], kept[order]


def keep(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float, number: int = IN_ALL) -> Detections:
    """Non-maximum suppression within each class; the `number` surest that are left. Boxes without area are none."""
    area = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    boxes, scores, labels = boxes[area], scores[area], labels[area]
    left = batched_nms(boxes, scores, labels, overlap)[:number]
    return Detections(boxes[left], scores[left], labels[left])
