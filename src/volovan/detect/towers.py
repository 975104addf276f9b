"""What RetinaNet, ATSS and GFL share: towers on every map, what anchors learn, and the choice of detections."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from volovan.detect.anchors import Anchors
from volovan.detect.boxes import clip
from volovan.detect.fpn import FPN, Extra
from volovan.detect.matching import UNUSED
from volovan.detect.objects import Detections, Objects, Size
from volovan.detect.select import Choice, best, keep
from volovan.models.layers import convolve

PRIOR = 0.01
"""of every class at every anchor before training (RetinaNet, section 4.1)"""
STRIDES = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Taught:
    """What the anchors of a batch are to learn, P of them boxes.

    labels   (N,) class numbers, -1 for background
    rows     (N,) which of all anchors, picture after picture, they are; others are in no loss
    matched  (P,) which of the N rows have an object
    anchors  (P, 4) and boxes (P, 4): theirs, and those of their objects
    """

    labels: Tensor
    rows: Tensor
    matched: Tensor
    anchors: Tensor
    boxes: Tensor
    positives: int
    """P, but of a picture without any 1"""


class Tower(nn.Sequential):
    """Four convolutions 3 x 3 with ReLU, with GroupNorm of 32 groups or without.

    Of fewer than 64 channels a group has two: of one channel of a map of 1 x 1 there is nothing to normalise by.
    """

    def __init__(self, width: int, norm: bool, depth: int = 4):
        parts: list[nn.Module] = []
        for _ in range(depth):
            parts.append(nn.Conv2d(width, width, 3, padding=1, bias=not norm))
            parts += [nn.GroupNorm(min(32, width // 2), width)] if norm else []
            parts.append(nn.ReLU(inplace=True))
        super().__init__(*parts)

    def forward(self, x: Tensor) -> Tensor:
        for part in self:
            x = convolve(part, x)
        return x


class TowerHead(nn.Module):
    """A head that predicts classes and boxes at every anchor of five maps of strides 8 to 128.

    in_chans     channels of the maps of strides 4, 8, 16 and 32; the first is not read
    num_classes  objects have
    width        channels of pyramid and towers
    """

    EXTRA: ClassVar[Extra]
    NORM: ClassVar[bool]
    usual = Choice()
    box_values = 4
    """numbers that a box is predicted as"""

    def __init__(self, in_chans: Sequence[int], num_classes: int, anchors: Anchors, width: int):
        super().__init__()
        self.num_classes, self.anchors = num_classes, anchors
        self.fpn = FPN(in_chans[1:], len(STRIDES), self.EXTRA, width)
        self.class_tower, self.box_tower = Tower(width, self.NORM), Tower(width, self.NORM)
        self.class_out = nn.Conv2d(width, anchors.per_place * num_classes, 3, padding=1)
        self.box_out = nn.Conv2d(width, anchors.per_place * self.box_values, 3, padding=1)
        for part in (self.class_tower, self.box_tower, self.class_out, self.box_out):
            part.apply(init_normal)
        nn.init.constant_(self.class_out.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]

    @abstractmethod
    def match(self, levels: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Anchors of each level and (G, 4) boxes -> a match, see `volovan.detect.matching`."""

    def teach(self, maps: Sequence[Tensor], sizes: Sequence[Size], objects: Sequence[Objects]) -> Taught:
        """What the anchors over the maps are to learn."""
        levels = self.anchors(maps)
        every = torch.cat(levels)
        labels, rows, anchors, boxes, positives = [], [], [], [], 0
        for number, (size, there) in enumerate(zip(sizes, objects, strict=True)):
            inside = self.anchors.inside(maps, size)
            match = torch.full((len(every),), UNUSED, device=every.device)
            seen = [level[over] for level, over in zip(levels, inside, strict=True)]
            match[torch.cat(inside)] = self.match(seen, there.boxes)
            used = (match != UNUSED).nonzero()[:, 0]
            match = match[used]
            with_object = match >= 0
            found = torch.full_like(match, -1)
            found[with_object] = there.labels[match[with_object]]
            labels.append(found)
            rows.append(used + number * len(every))
            anchors.append(every[used[with_object]])
            boxes.append(there.boxes[match[with_object]])
            positives += max(int(with_object.sum()), 1)
        all_labels = torch.cat(labels)
        matched = (all_labels >= 0).nonzero()[:, 0]
        return Taught(all_labels, torch.cat(rows), matched, torch.cat(anchors), torch.cat(boxes), positives)

    @abstractmethod
    def predict(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps of the pyramid -> (B, A_i, K) logits and (B, A_i, box_values) of each."""

    @abstractmethod
    def decode(self, anchors: Tensor, values: Tensor) -> Tensor:
        """(N, 4) anchors and (N, box_values) -> (N, 4) corners."""

    def scores(self, logits: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """(A, K) logits and (A, box_values) of a picture's level -> (A, K) to choose by, and (A,) that they are
        multiplied by afterwards."""
        return logits.sigmoid(), torch.ones_like(logits[:, 0])

    def detect(self, maps: Sequence[Tensor], sizes: Sequence[Size], choice: Choice) -> list[Detections]:
        """Maps of strides 4 to 32, and the (height, width) of each picture -> what is found in each."""
        pyramid = self.fpn(maps[1:])
        every = list(zip(self.anchors(pyramid), *self.predict(pyramid), strict=True))
        return [
            chosen([self._level(anchors, own[at], values[at]) for anchors, own, values in every], size, choice)
            for at, size in enumerate(sizes)
        ]

    def _level(self, anchors: Tensor, logits: Tensor, values: Tensor) -> Level:
        scores, factors = self.scores(logits.float(), values.float())
        return Level(scores, factors, lambda rows: self.decode(anchors[rows], values[rows]))

    def dense(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What `detect` chooses from, of all A anchors: boxes (B, A, 4), not clipped, scores (B, A, K), factors (B, A)
        of them, and the level (A,) of each."""
        pyramid = self.fpn(maps[1:])
        boxes, scores, factors, levels = [], [], [], []
        for number, (anchors, logits, values) in enumerate(
            zip(self.anchors(pyramid), *self.predict(pyramid), strict=True)
        ):
            batch, count = logits.shape[:2]
            own, sure = self.scores(logits.flatten(0, 1).float(), values.flatten(0, 1).float())
            repeated = anchors.expand(batch, -1, -1).flatten(0, 1)
            boxes.append(self.decode(repeated, values.flatten(0, 1)).unflatten(0, (batch, count)))
            scores.append(own.unflatten(0, (batch, count)))
            factors.append(sure.unflatten(0, (batch, count)))
            levels.append(torch.full_like(anchors[:, 0], number, dtype=torch.int64))
        return torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(factors, 1), torch.cat(levels)

    def work(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """All that costs something, whatever the maps hold, for a count of operations."""
        logits, values = self.predict(self.fpn(maps[1:]))
        return [*logits, *values]


class Level(NamedTuple):
    """What anchors of one map say of a picture: (A, K) scores to choose by, (A,) factors of those that are chosen, and
    the boxes of some rows."""

    scores: Tensor
    factors: Tensor
    boxes: Callable[[Tensor], Tensor]


def chosen(levels: Sequence[Level], size: Size, choice: Choice) -> Detections:
    """What is found in a picture of (height, width)."""
    found = []
    for level in levels:
        rows, labels, kept = best(level.scores, choice.least)
        found.append((clip(level.boxes(rows), size), kept * level.factors[rows], labels))
    boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    return keep(boxes, scores, labels, choice)


def init_normal(module: nn.Module) -> None:
    """Weights of convolutions with a standard deviation of 0.01, biases 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def by_anchor(map_: Tensor, values: int) -> Tensor:
    """(B, A * values, h, w) -> (B, h * w * A, values), as anchors are numbered."""
    return map_.permute(0, 2, 3, 1).reshape(map_.shape[0], -1, values)
