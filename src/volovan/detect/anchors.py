"""Anchors: boxes of fixed shapes around every place of every map (arXiv 1506.01497; with octaves 1708.02002).

At stride s the sizes are base * s * 2^(i / octaves), i = 0 .. octaves - 1, each with every ratio of height to width,
ratios outermost. Their centres lie at whole multiples of s, and s is that of the map: sizes of maps and pictures do not
enter, and nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from volovan.detect.objects import Size


class Anchors(nn.Module):
    """base, octaves, ratios as above; strides of the maps, finest first."""

    def __init__(self, base: float, octaves: int, ratios: Sequence[float], strides: Sequence[int]):
        super().__init__()
        self.base, self.octaves, self.ratios, self.strides = base, octaves, tuple(ratios), tuple(strides)

    @property
    def per_place(self) -> int:
        return self.octaves * len(self.ratios)

    def shapes(self, stride: int) -> Tensor:
        """(per_place, 4) float64: the anchors around (0, 0)."""
        high = torch.tensor(self.ratios, dtype=torch.float64).sqrt()[:, None]
        sizes = self.base * stride * 2 ** (torch.arange(self.octaves, dtype=torch.float64) / self.octaves)
        half_h, half_w = (high * sizes).flatten() / 2, (sizes / high).flatten() / 2
        return torch.stack((-half_w, -half_h, half_w, half_h), dim=1)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, C, h, w) of the strides -> (h * w * per_place, 4) float32 for each, row by row."""
        return [self.of_map(map_, stride) for map_, stride in zip(maps, self.strides, strict=True)]

    def of_map(self, map_: Tensor, stride: int) -> Tensor:
        high, wide = map_.shape[-2:]
        y, x = torch.meshgrid(torch.arange(high) * stride, torch.arange(wide) * stride, indexing="ij")
        shift = torch.stack((x, y, x, y), dim=-1).reshape(-1, 1, 4)
        return (shift + self.shapes(stride)).reshape(-1, 4).to(map_.device, torch.float32)

    def inside(self, maps: Sequence[Tensor], size: Size) -> list[Tensor]:
        """(h * w * per_place,) bool for each map: places over a picture of (height, width), not over padding."""
        found = []
        for map_, stride in zip(maps, self.strides, strict=True):
            over = torch.zeros(map_.shape[-2:], dtype=torch.bool, device=map_.device)
            over[: -(-size[0] // stride), : -(-size[1] // stride)] = True
            found.append(over.flatten().repeat_interleave(self.per_place))
        return found
