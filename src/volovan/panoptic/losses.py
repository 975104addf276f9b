"""The loss of Mask2Former: every segment learns from the one query that the cheapest matching gives it.

Of N queries with class logits and mask logits, and segments that are masks of 0 and 1, at P points of the picture:

    class   -sum_q w log p_q(class of its segment, or none) / sum_q w,      w: 0.1 of no object, else 1
    mask    mean over points of the binary cross entropy, summed over the pairs / number of segments
    dice    1 - (2 sum p t + 1) / (sum p + sum t + 1), summed over the pairs / number of segments
    cost    2 (-p(class)) + 5 (mask) + 5 (dice), at points that all queries of a picture share

2 class + 5 mask + 5 dice is summed over all predictions, each matched by itself. A pair has its own points: of three
times as many the three quarters of P where the mask is least sure, and for the rest others at random. Both divisors are
means over the processes, so that their mean gradient is that of one process with all pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.panoptic.mask2former import Predictions
from volovan.panoptic.recipe import LossSettings
from volovan.panoptic.targets import Segments, read_masks
from volovan.room.processes import mean_over_processes

STRIDE = 4
"""of the masks"""
USUAL = LossSettings()
Pairs = tuple[Tensor, Tensor]
"""numbers of queries, and of the segments that they are to learn"""


def losses(
    every: Sequence[Predictions], segments: Sequence[Segments], settings: LossSettings = USUAL
) -> dict[str, Tensor]:
    """{"class", "mask", "dice"}, weighted, each the sum over the predictions; segments: of each picture."""
    parts = [losses_of(found, segments, settings) for found in (every[-1], *every[:-1])]
    return {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}


def losses_of(found: Predictions, segments: Sequence[Segments], settings: LossSettings = USUAL) -> dict[str, Tensor]:
    """The same of one of the predictions."""
    found = Predictions(at_least_float(found.classes), at_least_float(found.masks))
    with torch.autocast(found.masks.device.type, enabled=False):  # products of matching would be in half precision
        pairs = [match(found.classes[i], found.masks[i], own, settings) for i, own in enumerate(segments)]
        mask, dice = mask_losses(found.masks, segments, pairs, settings)
        sure = class_loss(found.classes, segments, pairs, settings.no_object)
    return {
        "class": settings.class_weight * sure,
        "mask": settings.mask_weight * mask,
        "dice": settings.dice_weight * dice,
    }


def class_loss(classes: Tensor, segments: Sequence[Segments], pairs: Sequence[Pairs], no_object: float) -> Tensor:
    """(B, N, K + 1) logits -> scalar."""
    none = classes.shape[2] - 1
    wanted = torch.full(classes.shape[:2], none, device=classes.device)
    for number, (own, (queries, which)) in enumerate(zip(segments, pairs, strict=True)):
        wanted[number, queries] = own.labels[which]
    weights = torch.ones(none + 1, dtype=classes.dtype, device=classes.device)
    weights[none] = no_object
    total = F.cross_entropy(classes.flatten(0, 1), wanted.flatten(), weights, reduction="sum")
    return total / mean_over_processes(weights[wanted].sum(), classes.device)


def mask_losses(
    masks: Tensor, segments: Sequence[Segments], pairs: Sequence[Pairs], settings: LossSettings
) -> tuple[Tensor, Tensor]:
    """(B, N, h, w) logits -> cross entropy and dice."""
    matched = torch.cat([masks[number, queries] for number, (queries, _) in enumerate(pairs)])[:, None]
    points = unsure_points(matched.detach(), settings)
    frame = frame_of(masks)
    own = points.split([len(queries) for queries, _ in pairs])
    with torch.no_grad():
        wanted = torch.cat(
            [read_masks(one, at, frame, which) for one, at, (_, which) in zip(segments, own, pairs, strict=True)]
        ).to(masks.dtype)
    logits = read_logits(matched, points)[:, 0]
    count = mean_over_processes(sum(len(one.labels) for one in segments), masks.device).clamp(min=1.0)
    return cross_entropy(logits, wanted).sum() / count, dice(logits, wanted).sum() / count


def cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """(M, P) and (M, P) in 0 to 1 -> (M,)."""
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(dim=1)


def dice(logits: Tensor, wanted: Tensor) -> Tensor:
    """(M, P) and (M, P) -> (M,)."""
    p = logits.sigmoid()
    return 1 - (2 * (p * wanted).sum(dim=1) + 1) / (p.sum(dim=1) + wanted.sum(dim=1) + 1)


# Matching


@torch.no_grad()
def match(classes: Tensor, masks: Tensor, segments: Segments, settings: LossSettings = USUAL) -> Pairs:
    """(N, K + 1) and (N, h, w) logits of a picture -> pairs, one to one, as many as the fewer of both."""
    from scipy.optimize import linear_sum_assignment  # here: only training needs it

    points = torch.rand(1, settings.points, 2, device=masks.device)
    logits = read_logits(masks[None], points)[0]
    wanted = read_masks(segments, points[0], frame_of(masks)).to(masks.dtype)
    cost = costs(classes, logits, wanted, segments.labels, settings)
    largest = torch.finfo(cost.dtype).max  # what is not finite is taken only where nothing else is left
    cost = cost.nan_to_num(nan=largest, posinf=largest, neginf=largest)
    queries, which = linear_sum_assignment(cost.cpu().numpy())
    return torch.as_tensor(queries, device=masks.device), torch.as_tensor(which, device=masks.device)


def costs(classes: Tensor, logits: Tensor, wanted: Tensor, labels: Tensor, settings: LossSettings) -> Tensor:
    """(N, K + 1) class logits, (N, P) mask logits, (M, P) masks and (M,) labels of segments -> (N, M)."""
    surest = -classes.softmax(dim=1)[:, labels]
    number = logits.shape[1]
    # -log p = softplus(-x) where the segment is, softplus(x) where it is not
    mask = (F.softplus(-logits) @ wanted.T + F.softplus(logits) @ (1 - wanted).T) / number
    p = logits.sigmoid()
    overlap = 1 - (2 * p @ wanted.T + 1) / (p.sum(dim=1)[:, None] + wanted.sum(dim=1) + 1)
    return settings.class_weight * surest + settings.mask_weight * mask + settings.dice_weight * overlap


# Points, x and y in shares of the padded images


@torch.no_grad()
def unsure_points(logits: Tensor, settings: LossSettings = USUAL) -> Tensor:
    """(M, 1, h, w) -> (M, P, 2)."""
    count, device = len(logits), logits.device
    looked_at = torch.rand(count, int(settings.points * settings.oversample), 2, device=device)
    unsure = int(settings.points * settings.importance)
    places = (-read_logits(logits, looked_at)[:, 0].abs()).topk(unsure, dim=1).indices
    chosen = looked_at.gather(1, places[..., None].expand(-1, -1, 2))
    return torch.cat((chosen, torch.rand(count, settings.points - unsure, 2, device=device)), dim=1)


def read_logits(maps: Tensor, points: Tensor) -> Tensor:
    """(M, C, h, w) at (M, P, 2) -> (M, C, P), bilinear, zero beyond."""
    return F.grid_sample(maps, (2 * points - 1).to(maps.dtype)[:, :, None], align_corners=False)[..., 0]


def frame_of(masks: Tensor) -> tuple[int, int]:
    """(height, width) of the padded images that masks (..., h, w) are of."""
    return masks.shape[-2] * STRIDE, masks.shape[-1] * STRIDE


def at_least_float(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
