"""The loss of EDN: binary cross entropy and dice on every map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-5


def saliency_loss(
    maps: Sequence[Tensor], mask: Tensor, *, bce: float = 1.0, dice: float = 1.0, deep: float = 1.0
) -> Tensor:
    """Sum over the maps of bce * BCE + dice * (1 - dice of the batch).

    maps     logits (B, 1, h_i, w_i), the result first; each is resized to the mask (bilinear)
    mask     (B, H, W) from 0 to 1, soft values allowed
    deep     weight of all maps but the first
    returns  a scalar in float32, also under autocast
    """
    total = mask.new_zeros((), dtype=torch.float32)
    for number, logits in enumerate(maps):
        logits = F.interpolate(logits.float(), size=mask.shape[1:], mode="bilinear", align_corners=False)[:, 0]
        with torch.autocast(logits.device.type, enabled=False):
            term = bce * F.binary_cross_entropy_with_logits(logits, mask.float())
            term = term + dice * (1 - batch_dice(logits.sigmoid(), mask.float()))
        total = total + (term if number == 0 else deep * term)
    return total


def batch_dice(probability: Tensor, mask: Tensor) -> Tensor:
    """(2 sum p m + eps) / (sum p + sum m + eps), the sums over all pixels of all pictures: a picture without object
    costs little, and pictures with a large one count more."""
    return (2 * (probability * mask).sum() + EPS) / (probability.sum() + mask.sum() + EPS)
