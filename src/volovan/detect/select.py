"""From scores to detections: the best of a map, then of each class the surest of boxes that overlap."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torchvision.ops import batched_nms

from volovan.detect.objects import Detections

PER_MAP = 1000


@dataclass(frozen=True)
class Choice:
    """Which of all boxes of a picture are detections.

    least    scores up to this are none
    overlap  IoU above which the surer of two boxes of a class stays alone
    most     in a picture
    """

    least: float = 0.05
    overlap: float = 0.5
    most: int = 100


def best(scores: Tensor, least: float, number: int = PER_MAP) -> tuple[Tensor, Tensor, Tensor]:
    """(A, K) scores -> rows, classes and scores of the `number` largest above `least`."""
    rows, labels = (scores > least).nonzero(as_tuple=True)
    kept = scores[rows, labels]
    order = kept.sort(descending=True, stable=True).indices[:number]
    return rows[order], labels[order], kept[order]


def keep(boxes: Tensor, scores: Tensor, labels: Tensor, choice: Choice) -> Detections:
    """Non-maximum suppression within each class; the surest that are left. Boxes without area are none."""
    area = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    boxes, scores, labels = boxes[area], scores[area], labels[area]
    left = batched_nms(boxes, scores, labels, choice.overlap)[: choice.most]
    return Detections(boxes[left], scores[left], labels[left])
