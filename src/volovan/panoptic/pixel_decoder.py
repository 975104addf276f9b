"""The pixel decoder of Mask2Former: maps of strides 4, 8, 16, 32 to maps that know of each other.

    C_i = GN(1x1(map_i)) of the strides 32, 16, 8; all their places in one row are x, through layers
        x = LN(x + deformable(x)),  x = LN(x + FFN(x))                                              deformable.py
    D = ReLU(GN(3x3(GN(1x1(map_1)) + up(x of stride 8)))),  mask features = 1x1(D), of stride 4     up: bilinear

Where a place lies is added to what asks in deformable(x): sines of x and y, and a learned vector for each map.
transformers has the same with the same names of parameters, but its code looks at its values in training, which parts
the graph of torch.compile, and writes the size of the picture into an export.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.panoptic.deformable import DeformableAttention, Shape, middles

GROUPS = 32
LEVELS, POINTS = 3, 4
TEMPERATURE = 10_000


class PixelDecoder(nn.Module):
    """layers, ffn: of the encoder; width, heads: see `Mask2FormerHead`."""

    def __init__(self, in_chans: Sequence[int], width: int, heads: int, layers: int, ffn: int):
        super().__init__()
        self.level_embed = nn.Parameter(torch.empty(LEVELS, width))
        self.input_projections = nn.ModuleList(
            nn.Sequential(nn.Conv2d(chans, width, 1), nn.GroupNorm(GROUPS, width)) for chans in in_chans[:0:-1]
        )
        self.encoder = Encoder(layers, width, heads, ffn)
        self.adapter_1 = nn.Sequential(nn.Conv2d(in_chans[0], width, 1, bias=False), nn.GroupNorm(GROUPS, width))
        self.layer_1 = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, width), nn.ReLU()
        )
        self.mask_projection = nn.Conv2d(width, width, 1)
        self.initialise()

    def initialise(self) -> None:
        nn.init.normal_(self.level_embed)
        for projection in self.input_projections:
            first: nn.Conv2d = projection[0]  # type: ignore[index]
            nn.init.xavier_uniform_(first.weight)
            nn.init.zeros_(first.bias)  # type: ignore[arg-type]
        for convolution in (self.adapter_1[0], self.layer_1[0], self.mask_projection):
            nn.init.kaiming_uniform_(convolution.weight, a=1)  # type: ignore[arg-type]
        nn.init.zeros_(self.mask_projection.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Maps of strides 4, 8, 16, 32 -> those of 32, 16, 8, and the mask features of stride 4, all (B, C, h, w)."""
        coarse = [project(map_) for project, map_ in zip(self.input_projections, maps[:0:-1], strict=True)]
        shapes = [(map_.shape[2], map_.shape[3]) for map_ in coarse]
        where = torch.cat(
            [sines(shape, self.level_embed) + own for shape, own in zip(shapes, self.level_embed, strict=True)]
        )
        row = self.encoder(torch.cat([map_.flatten(2) for map_ in coarse], dim=2).transpose(1, 2), where, shapes)
        parts = row.transpose(1, 2).split([rows * columns for rows, columns in shapes], dim=2)
        found = [part.unflatten(2, shape) for part, shape in zip(parts, shapes, strict=True)]
        fine = self.adapter_1(maps[0])
        fine = fine + F.interpolate(found[-1], size=fine.shape[2:], mode="bilinear", align_corners=False)
        return found, self.mask_projection(self.layer_1(fine))


class Encoder(nn.Module):
    def __init__(self, layers: int, width: int, heads: int, ffn: int):
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, heads, ffn) for _ in range(layers))

    def forward(self, x: Tensor, where: Tensor, shapes: Sequence[Shape]) -> Tensor:
        """Maps of these shapes one behind the other (B, P, C), and what says where each place is (P, C) -> as x."""
        places = middles(shapes, x.device)
        for layer in self.layers:
            x = layer(x, where, places, shapes)
        return x


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, ffn: int):
        super().__init__()
        self.self_attn = DeformableAttention(width, heads, LEVELS, POINTS)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, ffn), nn.Linear(ffn, width)
        self.final_layer_norm = nn.LayerNorm(width)
        for linear in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, x: Tensor, where: Tensor, places: Tensor, shapes: Sequence[Shape]) -> Tensor:
        x = self.self_attn_layer_norm(x + self.self_attn(x + where, x, places, shapes))
        return self.final_layer_norm(x + self.fc2(self.fc1(x).relu()))


def sines(shape: Shape, like: Tensor) -> Tensor:
    """(rows * columns, C) of the width and on the device of `like`: sines and cosines of y, then of x, 2 pi at the end
    of a map."""
    half = like.shape[1] // 2
    step = torch.arange(half, device=like.device).div(2, rounding_mode="floor")
    wave = TEMPERATURE ** (2 * step.to(like.dtype) / half)
    waves = []
    for side in shape:
        at = (torch.arange(side, dtype=like.dtype, device=like.device) + 1) / (side + 1e-6) * (2 * math.pi)
        angle = at[:, None] / wave
        waves.append(torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1))
    rows, columns = shape
    down, across = waves[0][:, None].expand(-1, columns, -1), waves[1][None].expand(rows, -1, -1)
    return torch.cat((down, across), dim=2).flatten(0, 1)
