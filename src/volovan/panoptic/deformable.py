"""Deformable attention over several maps (Zhu et al., Deformable DETR, arXiv 2010.04159), of plain torch operations.

Of a place p (in shares of the picture) with the features x, the head h takes

    sum over maps l and points k of  a_hlk * value_hl(p + offset_hlk / size_l),     a: softmax over all l and k

where a and offset (in cells of the map) are linear in x, and value is read bilinearly, zero beyond the map.

transformers has the same, and the same names of parameters; in bfloat16 it keeps places in bfloat16, in which two cells
of a large map are one place. Here places are float32 whatever the network computes in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, int]
"""(rows, columns) of a map"""


class DeformableAttention(nn.Module):
    """See above. A new one looks from each head into a direction of its own, as far as the number of the point, and
    all points count alike."""

    def __init__(self, width: int, heads: int, levels: int, points: int):
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj, self.output_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.initialise()

    def initialise(self) -> None:
        angles = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        directions = torch.stack((angles.cos(), angles.sin()), dim=1)
        directions = directions / directions.abs().amax(dim=1, keepdim=True)
        places = directions[:, None, None] * torch.arange(1, self.points + 1)[:, None]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(places.expand(-1, self.levels, -1, -1).reshape(-1))
        for linear in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(linear.weight)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.attention_weights.bias)

    def forward(self, queries: Tensor, x: Tensor, places: Tensor, shapes: Sequence[Shape]) -> Tensor:
        """queries (B, Q, C) at places (Q, 2) read the maps in x (B, P, C) -> (B, Q, C)."""
        batch, count, _ = queries.shape
        heads, levels, points = self.heads, self.levels, self.points
        values = self.value_proj(x).unflatten(2, (heads, -1)).permute(0, 2, 3, 1)  # (B, heads, c, P)
        offsets = self.sampling_offsets(queries).float().view(batch, count, heads, levels, points, 2)
        weights = self.attention_weights(queries).view(batch, count, heads, levels * points).softmax(dim=-1)
        exact = torch.promote_types(values.dtype, torch.float32)  # bfloat16 has not the digits of a place
        of_level = weights.to(exact).transpose(1, 2).flatten(0, 1).split(points, dim=2)  # (B heads, Q, points) each
        summed = values.new_zeros((), dtype=exact)  # map by map: all that is read at once would be copied once more
        for level, own in enumerate(values.split([rows * columns for rows, columns in shapes], dim=3)):
            rows, columns = shapes[level]
            at = offsets[:, :, :, level].transpose(1, 2).flatten(0, 1)  # (B heads, Q, points, 2)
            at = torch.stack((at[..., 0] / columns, at[..., 1] / rows), dim=-1) + places[:, None]
            map_ = own.flatten(0, 1).unflatten(2, (rows, columns))
            read = F.grid_sample(map_.to(exact), (2 * at - 1).to(exact), align_corners=False)  # (B heads, c, Q, points)
            summed = summed + (read * of_level[level][:, None]).sum(dim=3)
        return self.output_proj(summed.to(values.dtype).unflatten(0, (batch, heads)).flatten(1, 2).transpose(1, 2))


def middles(shapes: Sequence[Shape], device: torch.device) -> Tensor:
    """(P, 2) float32: x and y of the middle of each cell of maps, in shares of the picture."""
    found = []
    for rows, columns in shapes:
        down = (torch.arange(rows, dtype=torch.float32, device=device) + 0.5) / rows
        across = (torch.arange(columns, dtype=torch.float32, device=device) + 0.5) / columns
        x, y = across.expand(rows, -1), down[:, None].expand(-1, columns)
        found.append(torch.stack((x, y), dim=2).flatten(0, 1))
    return torch.cat(found)
