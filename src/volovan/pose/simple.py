"""SimpleBaseline (Xiao et al., arXiv 1804.06208): transposed convolutions from the last map of a trunk to stride 4.

    each  4 x 4 transposed convolution of stride 2 without bias, BatchNorm, ReLU
    out   1 x 1 to one map for every point

A trunk that ends at stride 32, as VAN does, takes three of them. VOLO and LV-ViT end at stride 16: two lead as far, as
in the classic decoder of ViTPose (arXiv 2204.12484). Names of parameters are those of the original code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from volovan.models.config import ConfigError
from volovan.models.layers import SteadyBatchNorm2d

STRIDE = 4
"""of the heat maps"""
_STD = 0.001  # of the initial weights


class SimpleHead(nn.Module):
    """Last map of a trunk -> (B, num_points, h, w), of stride 4.

    channels, strides  of the trunk's maps, the last of which is read
    width              channels of the transposed convolutions
    """

    def __init__(self, channels: Sequence[int], num_points: int, strides: Sequence[int], width: int = 256):
        super().__init__()
        steps = math.log2(strides[-1] / STRIDE)
        if steps < 1 or steps % 1:
            raise ConfigError(f"the last map has stride {strides[-1]}; the head doubles it to {STRIDE}: 8, 16, 32 do")
        layers: list[nn.Module] = []
        for number in range(int(steps)):
            wide = channels[-1] if number == 0 else width
            layers += [
                nn.ConvTranspose2d(wide, width, 4, stride=2, padding=1, bias=False),
                SteadyBatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(width, num_points, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        maps_: Tensor = self.final_layer(self.deconv_layers(maps[-1]))
        return maps_
