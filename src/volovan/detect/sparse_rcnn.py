"""Sparse R-CNN (Sun et al., arXiv 2011.12450): a fixed number of learned boxes, moved by six stages, without anchors or
suppression.

A proposal is a box, at first the whole picture, and a feature of 256 numbers. In a stage the features attend to each
other, and each makes two linear layers (256 to 64 and back) that read what RoIAlign finds in its box:

    x = LN(x + attention(x))
    x = LN(x + interact(x, roi)),   interact: LN and ReLU after each of the two and after a third, 49 * 256 to 256
    x = LN(x + FFN(x)),             FFN: 256 to 2048 to 256

of which class logits (one linear layer before them) and deltas (three) are made. Every object learns from the one
proposal that the cheapest matching gives it, in every stage; costs are the losses: focal (2), L1 of boxes in shares of
the picture (5), GIoU (2), divided by the number of objects, a mean over processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou

from volovan.detect.boxes import Stds, clip, from_deltas
from volovan.detect.fpn import FPN, WIDTH
from volovan.detect.losses import focal, giou, l1, over_processes
from volovan.detect.objects import Detections, Objects, Size
from volovan.detect.rois import POOLED, pool
from volovan.detect.select import Choice, keep
from volovan.detect.towers import PRIOR

STDS: Stds = (0.5, 0.5, 1.0, 1.0)
CLASS_WEIGHT, BOX_WEIGHT, GIOU_WEIGHT = 2.0, 5.0, 2.0
ALPHA, GAMMA = 0.25, 2.0
NARROW, HIDDEN, HEADS = 64, 2048, 8
MOST_STAGES = 16
SAMPLES = 2
"""of a cell in each direction, in RoIAlign"""


class SparseRCNNHead(nn.Module):
    """Maps of strides 4, 8, 16, 32 to objects; proposals: how many, 100 and 300 in the published rows."""

    def __init__(
        self, in_chans: Sequence[int], num_classes: int, width: int = WIDTH, proposals: int = 100, stages: int = 6
    ):
        super().__init__()
        if not 1 <= stages <= MOST_STAGES:
            raise ValueError(f"stages is {stages}; 1 to {MOST_STAGES} are expected")
        self.fpn = FPN(in_chans, len(in_chans), width=width)
        self.usual = Choice(least=0.0, overlap=1.0, most=proposals)  # each object is taught to one proposal alone
        self.boxes = nn.Embedding(proposals, 4)
        self.features = nn.Embedding(proposals, width)
        self.stages = nn.ModuleList(Stage(width, num_classes) for _ in range(stages))
        nn.init.constant_(self.boxes.weight[:, :2], 0.5)
        nn.init.constant_(self.boxes.weight[:, 2:], 1.0)

    def forward(self, maps: Sequence[Tensor], sizes: Sequence[Size]) -> list[tuple[Tensor, Tensor]]:
        """(B, N, K) logits and (B, N, 4) corners after each stage."""
        pyramid = self.fpn(maps)
        whole = torch.stack([whole_of(size, self.boxes.weight) for size in sizes])
        middle, side = self.boxes.weight.split(2, dim=1)
        boxes = torch.cat((middle - side / 2, middle + side / 2), dim=1) * whole[:, None]
        x = self.features.weight.expand(len(sizes), -1, -1)
        found = []
        for stage in self.stages:
            x, logits, deltas = stage(x, pool(pyramid, list(boxes), POOLED, SAMPLES))
            moved = from_deltas(boxes.flatten(0, 1), deltas.flatten(0, 1), STDS).reshape(boxes.shape)
            found.append((logits, moved))
            boxes = moved.detach()
        return found

    def work(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """All that costs something, whatever the maps hold, for a count of operations."""
        pyramid = self.fpn(maps)
        batch, width = pyramid[0].shape[:2]
        x, found = self.features.weight.detach().expand(batch, -1, -1), list[Tensor]()
        for stage in self.stages:
            x, *parts = stage(x, x.new_zeros(batch * x.shape[1], width, POOLED, POOLED))
            found += parts
        return found + list(pyramid)

    def losses(self, maps: Sequence[Tensor], sizes: Sequence[Size], objects: Sequence[Objects]) -> dict[str, Tensor]:
        """{"class", "box", "giou"}, sums over the stages."""
        every = [self.stage_losses(logits, boxes, sizes, objects) for logits, boxes in self(maps, sizes)]
        return {name: torch.stack([part[name] for part in every]).sum() for name in every[0]}

    def stage_losses(
        self, logits: Tensor, boxes: Tensor, sizes: Sequence[Size], objects: Sequence[Objects]
    ) -> dict[str, Tensor]:
        labels = torch.full(logits.shape[:2], -1, device=logits.device)
        predicted, wanted, wholes = [], [], []
        for number, (size, there) in enumerate(zip(sizes, objects, strict=True)):
            whole = whole_of(size, boxes)
            rows, of = match_cheapest(logits[number], boxes[number], there, whole)
            labels[number, rows] = there.labels[of]
            predicted.append(boxes[number, rows])
            wanted.append(there.boxes[of])
            wholes.append(whole.expand(len(rows), 4))
        found, right, whole = torch.cat(predicted), torch.cat(wanted), torch.cat(wholes)
        number_matched = over_processes(len(right), logits.device)
        return {
            "class": CLASS_WEIGHT * focal(logits.flatten(0, 1), labels.flatten(), ALPHA, GAMMA) / number_matched,
            "box": BOX_WEIGHT * l1(found / whole, right / whole) / number_matched,
            "giou": GIOU_WEIGHT * giou(found, right).sum() / number_matched,
        }

    def detect(self, maps: Sequence[Tensor], sizes: Sequence[Size], choice: Choice) -> list[Detections]:
        """Of the last stage: the largest scores of all classes, as many as there are proposals."""
        logits, boxes = self(maps, sizes)[-1]
        return self.chosen(logits, boxes, sizes, choice)

    def chosen(self, logits: Tensor, boxes: Tensor, sizes: Sequence[Size], choice: Choice) -> list[Detections]:
        """Of (B, N, K) logits and (B, N, 4) corners."""
        found = []
        for own_logits, own_boxes, size in zip(logits, boxes, sizes, strict=True):
            scores, order = own_logits.float().sigmoid().flatten().sort(descending=True, stable=True)
            order, classes = order[: len(own_boxes)], own_logits.shape[1]
            rows, labels = order.div(classes, rounding_mode="floor"), order % classes
            sure = scores[: len(own_boxes)] > choice.least
            boxes_kept, scores_kept = clip(own_boxes[rows], size)[sure], scores[: len(own_boxes)][sure]
            found.append(keep(boxes_kept, scores_kept, labels[sure], choice))
        return found


class Stage(nn.Module):
    """(B, N, C) features and (B N, C, 7, 7) of their boxes -> features, (B, N, K) logits, (B, N, 4) deltas."""

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.attention_norm = nn.LayerNorm(width)
        self.interaction = Interaction(width)
        self.interaction_norm = nn.LayerNorm(width)
        self.ffn = nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, width))
        self.ffn_norm = nn.LayerNorm(width)
        self.class_layers = layers(width, 1)
        self.box_layers = layers(width, 3)
        self.class_out = nn.Linear(width, num_classes)
        self.box_out = nn.Linear(width, 4)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.constant_(self.class_out.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, x: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.attention_norm(x + self.attention(x, x, x, need_weights=False)[0])
        x = self.interaction_norm(x + self.interaction(x.flatten(0, 1), pooled).reshape(x.shape))
        x = self.ffn_norm(x + self.ffn(x))
        return x, self.class_out(self.class_layers(x)), self.box_out(self.box_layers(x))


class Interaction(nn.Module):
    """(n, C) features and (n, C, 7, 7) -> (n, C): each feature makes the layers that read its box."""

    def __init__(self, width: int):
        super().__init__()
        self.dynamic = nn.Linear(width, 2 * width * NARROW)
        self.norm_in, self.norm_out = nn.LayerNorm(NARROW), nn.LayerNorm(width)
        self.linear = nn.Linear(width * POOLED**2, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, pooled: Tensor) -> Tensor:
        width = x.shape[1]
        first, second = self.dynamic(x).split(width * NARROW, dim=1)
        inside = pooled.flatten(2).transpose(1, 2)
        inside = self.norm_in(inside @ first.reshape(-1, width, NARROW)).relu()
        inside = self.norm_out(inside @ second.reshape(-1, NARROW, width)).relu()
        return self.norm(self.linear(inside.flatten(1))).relu()


def layers(width: int, depth: int) -> nn.Sequential:
    """Linear layers without bias, each with LayerNorm and ReLU."""
    parts: list[nn.Module] = []
    for _ in range(depth):
        parts += [nn.Linear(width, width, bias=False), nn.LayerNorm(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)


def whole_of(size: Size, like: Tensor) -> Tensor:
    """(4,): width, height, width, height."""
    height, width = size
    return torch.tensor((width, height, width, height), dtype=torch.float32, device=like.device)


@torch.no_grad()
def match_cheapest(logits: Tensor, boxes: Tensor, there: Objects, whole: Tensor) -> tuple[Tensor, Tensor]:
    """(N, K) and (N, 4) of a picture -> proposals and the objects that they are to learn, one to one."""
    from scipy.optimize import linear_sum_assignment  # here: only training needs it

    p = logits.float().sigmoid()[:, there.labels]
    surest = -ALPHA * (1 - p) ** GAMMA * (p + 1e-12).log() + (1 - ALPHA) * p**GAMMA * (1 - p + 1e-12).log()
    distance = torch.cdist(boxes / whole, there.boxes / whole, p=1)
    cost = CLASS_WEIGHT * surest + BOX_WEIGHT * distance - GIOU_WEIGHT * generalized_box_iou(boxes, there.boxes)
    rows, of = linear_sum_assignment(cost.cpu().numpy())
    return torch.as_tensor(rows, device=logits.device), torch.as_tensor(of, device=logits.device)
