"""Losses of logits (B, K, H, W) against masks (B, H, W) of class numbers; pixels that are IGNORE add nothing.

cross entropy   -log p_t, weighted by class
focal           -(1 - p_t)^gamma log p_t                               (Lin et al., arXiv 1708.02002)
OHEM            the mean over hard pixels only: p_t below a threshold  (Shrivastava et al., arXiv 1604.03540)
                those are averaged over labelled pixels; with `average: all` the sum is divided by the number of all
                pixels, as mmsegmentation 0.26 does unless told otherwise (avg_non_ignore)
dice            1 - (2 sum p t + 1) / (sum p + sum t + 1), mean over the classes that occur in the batch
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.data.masks.coding import IGNORE
from volovan.models.pyramid import resize_to_picture
from volovan.segment.recipe import LossSettings

MANY = 16
"""classes, from which on torch's softmax of rows uses whole vectors"""


def segmentation_loss(
    outputs: list[Tensor], masks: Tensor, settings: LossSettings, weight: Tensor | None = None
) -> dict[str, Tensor]:
    """The loss of the head, plus `aux_weight` times that of each auxiliary head, its two parts.

    outputs  logits of `Segmenter.forward(..., deep=True)`
    masks    (B, H, W) uint8 class numbers
    weight   (K,) of the classes, or None
    returns  {"decode": a scalar, "aux": a scalar}, to be summed; no "aux" without auxiliary heads
    """
    target = masks.long()
    # The mean over no pixel at all would be nan; a batch that is all ignored teaches nothing, and weighs nothing.
    if not torch.any(target != IGNORE):
        losses = [logits.sum() * 0.0 for logits in outputs]
    else:
        size = (masks.shape[-2], masks.shape[-1])
        losses = [loss_of_map(resize_to_picture(logits.float(), size), target, settings, weight) for logits in outputs]
    decode, *auxiliary = losses
    if not auxiliary:
        return {"decode": decode}
    return {"decode": decode, "aux": settings.aux_weight * sum(auxiliary, decode.new_zeros(()))}


def loss_of_map(logits: Tensor, target: Tensor, settings: LossSettings, weight: Tensor | None) -> Tensor:
    """Logits (B, K, H, W) float32 and target (B, H, W) int64 -> scalar."""
    logits, target = as_rows(logits, target)
    losses = F.cross_entropy(
        logits, target, weight=weight, ignore_index=IGNORE, reduction="none", label_smoothing=settings.smoothing
    )
    kept = target != IGNORE
    if settings.name == "focal" or settings.ohem is not None:
        # Of the true class, without class weights and smoothing.
        p = torch.exp(-F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none"))
        if settings.name == "focal":
            losses = losses * (1 - p) ** settings.focal_gamma
        if settings.ohem is not None:
            kept = kept & hard_pixels(p.detach(), kept, settings.ohem, settings.ohem_min_kept)
    loss = losses[kept].sum() / (target.numel() if settings.average == "all" else kept.sum())
    return loss + settings.dice * dice_loss(logits, target) if settings.dice else loss


def as_rows(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The same as (B H W, K) and (B H W,), if the logits of a pixel lie side by side in memory: torch copies them
    otherwise, on a CPU for most of the time that the loss takes. Of few classes its softmax of rows is slow."""
    count = logits.shape[1]
    if logits.device.type != "cpu" or logits.stride(1) != 1 or count < MANY:
        return logits, target
    return logits.permute(0, 2, 3, 1).reshape(-1, count), target.reshape(-1)


def hard_pixels(p: Tensor, labelled: Tensor, threshold: float, min_kept: int) -> Tensor:
    """Pixels whose true class has a probability below the threshold, but at least the `min_kept` hardest."""
    values = p[labelled]
    kth = min(min_kept, values.numel())
    return p <= torch.clamp(values.kthvalue(kth).values, min=threshold)


def dice_loss(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """Soft dice over the whole batch, mean over the classes that occur in it. Classes are axis 1 of the logits."""
    labelled = (target != IGNORE).unsqueeze(1)
    truth = F.one_hot(target.masked_fill(target == IGNORE, 0), logits.shape[1]).movedim(-1, 1) * labelled
    p = logits.softmax(dim=1) * labelled
    axes = [axis for axis in range(p.dim()) if axis != 1]
    overlap, total = (p * truth).sum(axes), p.sum(axes) + truth.sum(axes)
    dice = 1 - (2 * overlap + smooth) / (total + smooth)
    return dice[truth.sum(axes) > 0].mean()


def balanced_weights(pixels: Tensor) -> Tensor:
    """Pixels of each class (K,) -> weights 1 / ln(1.02 + share), scaled to a mean of 1 (Paszke et al., 1606.02147)."""
    weights = 1 / torch.log(1.02 + pixels.double() / pixels.sum().clamp(min=1))
    return (weights / weights.mean()).float()
