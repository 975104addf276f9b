"""Losses of image classification."""

import torch
import torch.nn.functional as F
from torch import Tensor


def classification_loss(
    logits: Tensor, target: Tensor, *, name: str = "cross_entropy", smoothing: float = 0.0, weight: Tensor | None = None
) -> Tensor:
    """Mean loss of a batch.

    logits (B, K); target (B,) class numbers, or (B, K) probabilities, which are taken as they are (whoever mixed
    pictures has smoothed already); weight (K,) of the classes.

    cross_entropy: - sum_k t_k log softmax(z)_k, the weighted mean over the batch.
    binary: binary cross entropy of each class on its own, mean over classes and batch.
    """
    if name == "cross_entropy":
        smooth = smoothing if target.ndim == 1 else 0.0
        return F.cross_entropy(logits.float(), target, weight=weight, label_smoothing=smooth)
    if target.ndim == 1:
        target = smooth_one_hot(target, logits.shape[1], smoothing)
    return F.binary_cross_entropy_with_logits(logits.float(), target.float(), weight=weight)


def smooth_one_hot(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """(B,) -> (B, K): 1 - eps + eps / K on the class, eps / K elsewhere."""
    off = smoothing / num_classes
    target = torch.full((len(labels), num_classes), off, device=labels.device)
    return target.scatter_(1, labels[:, None], 1 - smoothing + off)


def multi_label_loss(
    logits: Tensor, target: Tensor, *, smoothing: float = 0.0, positive_weight: Tensor | None = None
) -> Tensor:
    """Binary cross entropy of each class on its own, mean over classes and batch.

    logits, target (B, K), target 0 or 1, smoothed to t (1 - eps) + eps / 2; positive_weight (K,) multiplies the part of
    the classes that apply.
    """
    target = target.float() * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logits.float(), target, pos_weight=positive_weight)


def regression_loss(output: Tensor, target: Tensor, *, name: str = "mse") -> Tensor:
    """Mean over the numbers and the batch of d^2 (mse), |d| (l1), or d^2 / 2 below 1 and |d| - 1/2 above (smooth_l1).

    output, target (B, K), both standardised.
    """
    functions = {"mse": F.mse_loss, "l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss}
    return functions[name](output.float(), target.float())
