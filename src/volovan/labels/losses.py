"""Losses of token labeling (arXiv 2104.10858, volo.md 6.5), in float32 whatever the precision of the logits."""

import torch
from torch import Tensor

from volovan.labels.mixtoken import Grid, share_of
from volovan.labels.targets import TokenTargets
from volovan.models.layers import MixTokenOutput


def soft_target_loss(logits: Tensor, target: Tensor) -> Tensor:
    """- sum_k t_k log softmax(z)_k, the mean over all rows.

    logits (B, K) or (B, N, K); target of the same shape, or (B, K) for (B, N, K): the same for every token.
    """
    log_p = logits.float().log_softmax(dim=-1)
    if log_p.ndim > target.ndim:
        log_p = log_p.mean(dim=1)
    return -(target.float() * log_p).sum(dim=-1).mean()


def token_label_loss(
    output: MixTokenOutput | Tensor,
    targets: TokenTargets,
    grid: Grid | None = None,
    *,
    dense_weight: float = 0.5,
    class_weight: float = 1.0,
    ground_truth: bool = False,
) -> dict[str, Tensor]:
    """class_weight CE(class logits, M(class target)) + dense_weight CE(patch logits, patch target), its two parts.

    output        of a model given a MixToken box (an empty one mixes nothing), or the (B, K) logits of any model
    targets       see TokenTargets; without patch targets there is no dense part
    grid          rows and columns of tokens, for the share of the box; not needed for plain logits
    ground_truth  first mix the true class into the class target (`with_ground_truth`)
    returns       {"class": a scalar, "dense": a scalar}, to be summed

    M mixes the targets of sample i and B - 1 - i by the share that the box leaves. Patch targets need no mixing: the
    model has put the patches back. ValueError: there are patch targets, but no patch logits.
    """
    target = with_ground_truth(targets.cls, targets.hard) if ground_truth else targets.cls
    logits, patch_logits = (output, None) if isinstance(output, Tensor) else (output.logits, output.patch_logits)
    if isinstance(output, MixTokenOutput):
        if grid is None:
            raise ValueError("grid is None; the rows and columns of the tokens are needed for the share of the box")
        target = mix_targets(target, share_of(output.box, grid))
    parts = {"class": class_weight * soft_target_loss(logits, target)}
    if targets.patch is None:
        return parts
    if patch_logits is None:
        raise ValueError(
            "the model gives no patch logits to compare with the patch targets; make targets of size 1, which are for "
            "the whole picture, or use a model with a dense head and give it a box"
        )
    return parts | {"dense": dense_weight * soft_target_loss(patch_logits, targets.patch)}


def mix_targets(target: Tensor, share: Tensor | float) -> Tensor:
    """M(t) = share * t + (1 - share) * t reversed along the batch; (B, K) -> (B, K)."""
    return share * target + (1 - share) * target.flip(0)


def with_ground_truth(target: Tensor, hard: Tensor) -> Tensor:
    """r t + (1 - r) y with r = 0.5 where teacher and label agree on the class, else 0.9; (B, K) each.

    The teacher counts for more where it disagrees, as published.
    """
    agree = target.argmax(dim=1) == hard.argmax(dim=1)
    r = torch.where(agree, 0.5, 0.9)[:, None]
    return r * target + (1 - r) * hard
