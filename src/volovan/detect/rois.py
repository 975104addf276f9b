"""What lies in boxes of a pyramid's maps (RoIAlign, He et al., arXiv 1703.06870), and heads that read it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from volovan.models.layers import ConvNormAct, convolve

STRIDES = (4, 8, 16, 32)
FINEST = 56
"""pixels: the root of a box's area, from twice which on the next coarser map is read (Lin et al., 1612.03144, eq. 1)"""
POOLED = 7
HIDDEN = 1024


def pool(maps: Sequence[Tensor], boxes: Sequence[Tensor], side: int = POOLED, samples: int = 0) -> Tensor:
    """Boxes of each picture, each from the map of its size -> (n, C, side, side), picture after picture.

    samples  of a cell in each direction, bilinear; 0: as many as it has values of the map
    """
    every = torch.cat(
        [torch.cat((own.new_full((len(own), 1), number), own), dim=1) for number, own in enumerate(boxes)]
    )
    level = level_of(every[:, 1:])
    rows = [(level == number).nonzero()[:, 0] for number in range(len(STRIDES))]
    values = [
        roi_align(map_, every[own].to(map_.dtype), side, 1 / stride, samples, aligned=True)
        for map_, own, stride in zip(maps, rows, STRIDES, strict=False)
    ]
    # brought into order once: written into one tensor map after map, the gradient would be copied whole for each
    return torch.cat(values).index_select(0, torch.cat(rows).argsort())


def level_of(boxes: Tensor) -> Tensor:
    """(n, 4) corners -> (n,): the map of the pyramid that each is read from."""
    scale = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    return (scale / FINEST + 1e-6).log2().floor().clamp(0, len(STRIDES) - 1)


class BoxHead(nn.Module):
    """(n, C, 7, 7) -> (n, K + 1) logits, the last of background, and (n, K, 4) deltas for each class.

    convs   3 x 3 convolutions with BatchNorm before the linear layers
    linear  layers of `hidden` channels
    """

    def __init__(self, width: int, num_classes: int, convs: int = 0, linear: int = 2, hidden: int = HIDDEN):
        super().__init__()
        self.num_classes = num_classes
        self.convs = nn.Sequential(*(ConvNormAct(width, width, 3) for _ in range(convs)))
        widths = (width * POOLED**2, *(hidden,) * linear)
        self.linear = nn.ModuleList(nn.Linear(below, above) for below, above in pairwise(widths))
        self.class_out = nn.Linear(hidden, num_classes + 1)
        self.box_out = nn.Linear(hidden, num_classes * 4)
        for layer in self.linear:
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
        nn.init.normal_(self.class_out.weight, std=0.01)
        nn.init.normal_(self.box_out.weight, std=0.001)
        for layer in (*self.linear, self.class_out, self.box_out):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.convs(x).flatten(1)
        for layer in self.linear:
            x = layer(x).relu()
        return self.class_out(x), self.box_out(x).reshape(x.shape[0], self.num_classes, 4)


class MaskHead(nn.Module):
    """(n, C, 14, 14) -> (n, K, 28, 28) logits: four convolutions, twice the side, a map for each class."""

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(4))
        self.upsample = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.mask_out = nn.Conv2d(width, num_classes, 1)
        for layer in (*self.convs, self.upsample, self.mask_out):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = convolve(conv, x).relu()
        return self.mask_out(self.upsample(x).relu())
