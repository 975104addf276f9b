"""Label maps and crop boxes -> targets of the classes for every token (arXiv 2104.10858, volo.md 6.4).

RoIAlign of a crop averages samples on a grid of rows times a grid of columns, so it is two small matrices per picture:
rows @ map @ columns^T. And most classes occur nowhere in a picture: they share one value, and only those that do occur
are computed. Both are exact; the tests compare with torchvision's operator on maps of all classes.

Letters: B pictures, k best classes of a cell, H x W cells, K classes, U classes that occur, S x T tokens.
"""

from collections.abc import Sequence
from math import ceil
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from volovan.engine.settings import SettingsError

Order = Literal["right", "official"]


class TokenTargets(NamedTuple):
    """Targets of a batch, float32.

    hard   (B, K) the labels, smoothed; sums to 1
    cls    (B, K) target of the class token
    patch  (B, N, K) of the tokens, row-major; (B, K): the same for every token; None: there is no patch loss
    """

    hard: Tensor
    cls: Tensor
    patch: Tensor | None


def plain_targets(labels: Tensor, num_classes: int, smoothing: float = 0.1, dense: bool = True) -> TokenTargets:
    """Targets without a teacher: class numbers (B,) int64 -> the smoothed label; dense: for every token too."""
    hard = smooth_labels(labels, num_classes, smoothing)
    return TokenTargets(hard, hard, hard if dense else None)


@torch.no_grad()
def token_targets(
    maps: Tensor,
    boxes: Tensor,
    labels: Tensor,
    num_classes: int,
    size: int | tuple[int, int],
    smoothing: float = 0.1,
    order: Order = "right",
    sizes: Tensor | None = None,
) -> TokenTargets:
    """Cut each crop out of its map, softmax over all classes, smooth; on the device of the maps, nothing is modified.

    maps       (B, 2, k, H, W): logits and class numbers of the k best classes of a cell; all others have logit 0
    boxes      (B, 4) top, left, height, width of the crop as fractions of the map; outside of [0, 1] all logits are 0
    labels     (B,) int64 true classes
    size       rows and columns of tokens, or one number for both; 1: a soft label per picture and no patch targets
    smoothing  eps: soft targets are p (1 - eps + eps / K) + eps / K, which sum to 1 + eps / K, as published
    order      official: rows and columns of the crop exchanged, as in the published code
    sizes      (B, 2) int64 rows and columns of each map, where `pad_maps` has made them equal; None: all are H x W

    SettingsError: a map holds a class number that is not below num_classes. Waits for the device once, so make the
    targets before the forward pass is queued.
    """
    tokens = (size, size) if isinstance(size, int) else (size[0], size[1])
    with torch.autocast(maps.device.type, enabled=False):
        logits, numbers = maps.float().permute(1, 0, 3, 4, 2)
        numbers = numbers.round().long()
        if sizes is None:
            sizes = torch.tensor(maps.shape[3:], device=maps.device).expand(len(maps), 2)
        begin, length = boxes.float().view(-1, 2, 2).unbind(1)  # fractions -> cells, whose centres are whole numbers
        if order == "official":  # what expects x1, y1, x2, y2 was given top, left, bottom, right (volo.md 8, defect 1)
            begin, length = begin.flip(1), length.flip(1)
        first, last = begin * sizes - 0.5, (begin + length) * sizes - 0.5
        crop = torch.stack([first, (last - first).clamp(min=1)], dim=2)  # RoIAlign takes at least one cell
        classes, slots, longest = _occurring(numbers, num_classes, crop)
        dense = logits.new_zeros(*logits.shape[:3], classes.shape[1]).scatter_(3, slots, logits)

        def target(grid: tuple[int, int]) -> Tensor:
            cut = _roi_align(dense, crop, sizes, grid, longest)
            return _spread(cut.flatten(1, 2), classes, num_classes, smoothing)

        patch = None if tokens == (1, 1) else target(tokens)
        return TokenTargets(smooth_labels(labels, num_classes, smoothing), target((1, 1))[:, 0], patch)


def smooth_labels(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """(B,) int64 -> (B, K): 1 - eps + eps / K on the class, eps / K elsewhere."""
    off = smoothing / num_classes
    target = torch.full((len(labels), num_classes), off, device=labels.device)
    return target.scatter_(1, labels[:, None], 1 - smoothing + off)


def pad_maps(maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Maps (2, k, h, w) of different h and w -> (B, 2, k, H, W) float32 and their sizes (B, 2) int64.

    The padding is never read: `token_targets` ends each map at its own border.
    """
    sizes = torch.tensor([m.shape[2:] for m in maps])
    padded = torch.zeros(len(maps), *maps[0].shape[:2], *sizes.amax(dim=0).tolist())
    for whole, m in zip(padded, maps, strict=True):
        whole[..., : m.shape[2], : m.shape[3]] = m
    return padded, sizes


def _roi_align(dense: Tensor, crop: Tensor, sizes: Tensor, grid: tuple[int, int], longest: float) -> Tensor:
    """(B, H, W, U) -> (B, S, T, U) as torchvision's RoIAlign with adaptive sampling, aligned=False.

    crop (B, 2, 2): begin and length on both axes, in cells; sizes: see above; longest: the largest length in crop.
    """
    B, H, W, U = dense.shape
    rows, columns = (
        _axis_weights(crop[:, axis], sizes[:, axis], cells, tokens, ceil(longest / tokens))
        for axis, (cells, tokens) in enumerate(zip((H, W), grid, strict=True))
    )
    cut = (rows @ dense.view(B, H, W * U)).view(B, grid[0], W, U)
    return columns[:, None] @ cut


def _axis_weights(crop: Tensor, size: Tensor, cells: int, tokens: int, samples: int) -> Tensor:
    """How much each cell of an axis counts in each token, (B, tokens, cells).

    crop (B, 2) begin and length; size (B,) cells of the map before padding; samples: as many as any token takes.
    """
    length = crop[:, 1, None, None] / tokens
    count = length.ceil()  # samples per token, one per cell that it covers
    sample = torch.arange(samples, device=crop.device)
    token = torch.arange(tokens, device=crop.device)[:, None]
    place = crop[:, 0, None, None] + length * token + (sample + 0.5) * length / count  # B, tokens, samples
    size = size[:, None, None]
    taken = (sample < count) & (place >= -1) & (place <= size)  # beyond half a cell outside of the border: zero
    place = place.clamp(min=0).minimum(size - 1)
    hat = (1 - (place[..., None] - torch.arange(cells, device=crop.device)).abs()).clamp(min=0)
    return (hat * taken[..., None]).sum(dim=2) / count


def _occurring(numbers: Tensor, num_classes: int, crop: Tensor) -> tuple[Tensor, Tensor, float]:
    """Classes of each picture (B, U), the place in them of each class number (B, H, W, k), and the longest crop.

    Where a picture has fewer than U classes others fill up, whose logits are 0.
    """
    flat = numbers.flatten(1)
    known = torch.zeros(len(numbers), num_classes, dtype=torch.int8, device=numbers.device)
    known.scatter_(1, flat.clamp(0, num_classes - 1), 1)
    facts = (flat.min(), flat.max(), known.sum(dim=1).max(), crop[..., 1].max())
    least, most, occurring, longest = torch.stack([fact.float() for fact in facts]).tolist()  # waits for the device
    if least < 0 or most >= num_classes:
        found = int(least if least < 0 else most)
        raise SettingsError(
            f"the label maps name class {found}, but there are {num_classes} classes; make label maps for these data, "
            "with a teacher that knows the same classes (volovan label)"
        )
    classes = known.argsort(dim=1, descending=True, stable=True)[:, : int(occurring)]
    place = torch.zeros(known.shape, dtype=torch.int64, device=numbers.device)
    place.scatter_(1, classes, torch.arange(classes.shape[1], device=numbers.device).expand_as(classes))
    return classes, place.gather(1, flat).view_as(numbers), longest


def _spread(logits: Tensor, classes: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """(B, N, U) logits of the classes (B, U), 0 for all others -> smoothed softmax (B, N, K)."""
    off = smoothing / num_classes
    on = 1 - smoothing + off
    top = logits.amax(dim=2, keepdim=True).clamp(min=0)
    share, other = (logits - top).exp(), (-top).exp()
    total = share.sum(dim=2, keepdim=True) + (num_classes - classes.shape[1]) * other
    target = (other / total * on + off).expand(-1, -1, num_classes).contiguous()
    return target.scatter_(2, classes[:, None].expand_as(share), share / total * on + off)
