"""The loss of EDN: binary cross entropy and dice on every map; for small data also absolute error."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.models.pyramid import resize_to_picture
from volovan.saliency.recipe import LossSettings

EPS = 1e-5


def saliency_loss(maps: Sequence[Tensor], mask: Tensor, settings: LossSettings) -> Tensor:
    """Sum over the maps of bce * BCE + dice * (1 - dice of the batch) + l1 * mean absolute error.

    maps     logits (B, 1, h_i, w_i) of the picture padded to multiples of 32, the result first; each is resized to the
             mask (bilinear)
    mask     (B, H, W) from 0 to 1, soft values allowed
    returns  a scalar in float32, also under autocast
    """
    with torch.autocast(mask.device.type, enabled=False):
        mask = mask.float()
        total = mask.new_zeros(())
        for number, logits in enumerate(maps):
            logits = resize_to_picture(logits.float(), (mask.shape[1], mask.shape[2]))[:, 0]
            term = map_loss(logits, mask, settings)
            total = total + (term if number == 0 else settings.deep * term)
    return total


def map_loss(logits: Tensor, mask: Tensor, settings: LossSettings) -> Tensor:
    """Of one map (B, H, W), of the size of the mask."""
    probability = logits.sigmoid()
    term = settings.bce * F.binary_cross_entropy_with_logits(logits, mask)
    term = term + settings.dice * (1 - batch_dice(probability, mask))
    return term + settings.l1 * (probability - mask).abs().mean()


def batch_dice(probability: Tensor, mask: Tensor) -> Tensor:
    """(2 sum p m + eps) / (sum p + sum m + eps), the sums over all pixels of all pictures: a picture without object
    costs little, and pictures with a large one count more."""
    return (2 * (probability * mask).sum() + EPS) / (probability.sum() + mask.sum() + EPS)
