"""Networks whose modules are watched, and what is looked at."""

from typing import Any

import torch
from torch import Tensor, nn

import networks

SMALL = {**networks.SMALL, "volo": {**networks.SMALL["volo"], "depths": (2, 3)}}  # several blocks in every stage
CONVS = ["conv0", "conv_spatial", "conv1"]


def small(family: str, **changes: Any) -> nn.Module:
    """A network of SMALL for five classes, of the same weights each time; changes: of its settings."""
    model = networks.small(family, **(SMALL[family] | changes))
    for name, parameter in model.named_parameters():
        if "layer_scale" in name:
            nn.init.ones_(parameter)  # at 0.01 a wrong branch would hardly show
    return model


def images(size: int = 64, dtype: torch.dtype = torch.float32) -> Tensor:
    """The same two pictures each time."""
    return torch.randn(2, 3, size, size, dtype=dtype, generator=torch.Generator().manual_seed(1))


def gating_unit(model: nn.Module) -> nn.Module:
    """A gating unit of a VAN of SMALL, for 16 channels."""
    return model.block2[1].attn.spatial_gating_unit
