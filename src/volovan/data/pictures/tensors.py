"""Pictures as tensors, for every task."""

from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Stats = tuple[float, ...]


def to_tensor(image: Image.Image | np.ndarray, mean: Stats, std: Stats) -> Tensor:
    """RGB picture, or its pixels (H, W, 3) uint8 -> (3, H, W) float32, (value / 255 - mean) / std."""
    offset, scale = _of_bytes(mean, std)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return pixels.to(torch.float32, memory_format=torch.contiguous_format).sub_(offset).div_(scale)


@cache
def _of_bytes(mean: Stats, std: Stats) -> tuple[Tensor, Tensor]:
    """mean and std of values from 0 to 255, each (3, 1, 1)."""
    offset, scale = (255 * torch.tensor(values, device="cpu").view(-1, 1, 1) for values in (mean, std))
    return offset, scale
