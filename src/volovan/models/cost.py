"""What a variant costs: parameters and multiply-accumulates, counted without memory or time on the meta device."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from volovan.models.factory import create_model


@dataclass(frozen=True)
class Cost:
    """parameters: of trunk and heads; gmacs: 1e9 multiply-accumulates of convolutions and matrix products, batch 1;
    outputs: of the head."""

    parameters: int
    gmacs: float
    size: tuple[int, int]
    outputs: int


def measure_cost(name: str, img_size: int | tuple[int, int] | None = None, **settings: Any) -> Cost:
    """Cost of a variant (or of any config, by `create_model`'s keywords) at a size; the variant's by default."""
    with torch.device("meta"):
        model = create_model(name, img_size=img_size, **settings).eval()
        images = torch.empty(1, model.config.in_chans, *model.preprocessing.input_size)
    return cost_of(model, images)


def cost_of(model: Any, images: Tensor, **forward: Any) -> Cost:
    """Cost of a picture in a pass of a network on the meta device; images (B, C, H, W), forward: other arguments."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images, **forward)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    count, _, height, width = images.shape
    return Cost(parameters, counter.get_total_flops() / (count * 2e9), (height, width), model.config.num_classes)
