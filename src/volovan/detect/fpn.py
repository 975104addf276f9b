"""Feature pyramid (Lin et al., arXiv 1612.03144): maps of a trunk to maps of equal width, with coarser ones behind.

    T_n = 1x1(C_n),  T_i = 1x1(C_i) + nearest(T_{i+1}),  P_i = 3x3(T_i)

Coarser levels, by `extra`:

    "input"   3x3 of stride 2 on C_n, then on each other      RetinaNet
    "output"  3x3 of stride 2 on P_n, then on each other      ATSS, GFL
    "pool"    every second value of P_n, without parameters   R-CNN
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from volovan.models.layers import convolve
from volovan.models.pyramid import top_down

Extra = Literal["input", "output", "pool"]
WIDTH = 256


class FPN(nn.Module):
    """in_chans of the maps C, finest first; `levels` maps come out, of `width` channels."""

    def __init__(self, in_chans: Sequence[int], levels: int, extra: Extra = "pool", width: int = WIDTH):
        super().__init__()
        self.extra = extra
        self.lateral_convs = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in in_chans)
        more = levels - len(in_chans)
        self.more = more
        self.fpn_convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in in_chans)
        for number in range(more if extra != "pool" else 0):
            above = in_chans[-1] if extra == "input" and number == 0 else width
            self.fpn_convs.append(nn.Conv2d(above, width, 3, stride=2, padding=1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """len(in_chans) maps (B, C_i, h_i, w_i) -> `levels` maps (B, width, ...)."""
        tops = top_down(self.lateral_convs, maps)
        levels = [convolve(conv, top) for conv, top in zip(self.fpn_convs, tops, strict=False)]
        if self.extra == "pool":
            for _ in range(self.more):
                levels.append(levels[-1][..., ::2, ::2])
            return levels
        last = maps[-1] if self.extra == "input" else levels[-1]
        for conv in list(self.fpn_convs)[len(tops) :]:
            last = conv(last)
            levels.append(last)
        return levels
