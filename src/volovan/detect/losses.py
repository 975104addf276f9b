"""Losses of detection heads, each a sum: what they are divided by is the head's.

focal                -alpha_t (1 - p_t)^gamma log p_t                       (Lin et al., arXiv 1708.02002)
quality focal        -|y - p|^beta ((1 - y) log(1 - p) + y log p)           (Li et al., arXiv 2006.04388, eq. 2)
distribution focal   -(b - y) log S_a - (y - a) log S_b, a <= y <= b = a + 1           (the same, eq. 6)
GIoU                 1 - IoU + |hull without union| / |hull|                (Rezatofighi et al., arXiv 1902.09630)

Values are taken in float32 whatever the network computes in.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from volovan.room.processes import mean_over_processes


def focal(logits: Tensor, labels: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """(N, K) logits, (N,) class numbers, below 0 for background -> scalar."""
    return sigmoid_focal_loss(logits.float(), one_hot(labels, logits), alpha, gamma, reduction="sum")


def quality_focal(logits: Tensor, labels: Tensor, quality: Tensor, beta: float = 2.0) -> Tensor:
    """As `focal`; quality (N,) is how large the score of the class is to be, and is read where there is one."""
    target = one_hot(labels, logits) * quality.float()[:, None]
    distance = (target - logits.float().sigmoid()).abs() ** beta
    return (distance * F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")).sum()


def distribution_focal(logits: Tensor, values: Tensor) -> Tensor:
    """(N, bins) logits of the values 0, 1 .. bins - 1, and values (N,) between them -> (N,)."""
    below = values.floor().clamp(0, logits.shape[1] - 2)
    share = values - below
    log_p = logits.float().log_softmax(dim=1)
    left, right = (log_p.gather(1, at.long()[:, None])[:, 0] for at in (below, below + 1))
    return -(1 - share) * left - share * right


def giou(boxes: Tensor, wanted: Tensor) -> Tensor:
    """(N, 4) and (N, 4) corners -> (N,), 0 to 2."""
    return generalized_box_iou_loss(boxes.float(), wanted.float(), reduction="none")


def l1(predicted: Tensor, wanted: Tensor) -> Tensor:
    return (predicted.float() - wanted.float()).abs().sum()


def smooth_l1(predicted: Tensor, wanted: Tensor, beta: float) -> Tensor:
    """beta: from which difference on it is linear; 0: everywhere."""
    return F.smooth_l1_loss(predicted.float(), wanted.float(), reduction="sum", beta=beta)


def one_hot(labels: Tensor, logits: Tensor) -> Tensor:
    """(N,) class numbers -> (N, K) float32; below 0: zeros."""
    target = torch.zeros(logits.shape, device=logits.device)
    rows = (labels >= 0).nonzero()[:, 0]
    target[rows, labels[rows]] = 1.0
    return target


def over_processes(total: Tensor | float, device: torch.device) -> Tensor:
    """The mean of a number over the processes of a run, and at least 1."""
    return mean_over_processes(total, device).clamp(min=1.0)
