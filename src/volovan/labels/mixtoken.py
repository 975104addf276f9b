"""MixToken: which box of tokens is exchanged between the samples of a batch (arXiv 2104.10858, volo.md 1.4).

The model applies a box (volovan.models.layers.mix_tokens), the loss mixes the class targets by what it leaves. Drawing
it stands apart from the model: in numbers of its own, so that graphs compile and a run repeats.
"""

from math import sqrt

import numpy as np
import torch
from torch import Tensor

Grid = tuple[int, int]


def mixtoken_box(lam: float, centre: tuple[int, int], grid: Grid) -> tuple[int, int, int, int]:
    """Half-open box (r1, c1, r2, c2) of about 1 - lam of the area of a grid, cut off at its border.

    lam     share of the tokens to keep, 0 to 1
    centre  row and column within the grid
    grid    rows and columns of tokens

    Half a side is rounded down, as published: sides are even and small boxes empty.
    """
    cut = sqrt(1 - lam)
    low, high = [], []
    for middle, side in zip(centre, grid, strict=True):
        half = int(side * cut) // 2
        low.append(min(max(middle - half, 0), side))
        high.append(min(max(middle + half, 0), side))
    return low[0], low[1], high[0], high[1]


def draw_box(grid: Grid, alpha: float, *key: int) -> Tensor:
    """The box of a key: (4,) int64 r1, c1, r2, c2, with lam ~ Beta(alpha, alpha) and a uniform centre.

    key: whole numbers >= 0. The same key always gives the same box; no generator but its own is touched.
    """
    draw = np.random.default_rng(key)
    lam = draw.beta(alpha, alpha)
    centre = int(draw.integers(grid[0])), int(draw.integers(grid[1]))
    return torch.tensor(mixtoken_box(lam, centre, grid))


def next_box(grid: Grid, alpha: float, *, shared: bool = False, device: torch.device | None = None) -> Tensor:
    """The box of this forward pass, (4,) int64 on `device`; alpha 0: the empty box, which mixes nothing.

    Its key is one number of torch's default CPU generator, which the engine keys by (seed, step, rank): so it repeats
    after a resume. shared: all processes take the box of the first, so each must call this equally often.
    """
    if alpha == 0:
        return torch.zeros(4, dtype=torch.int64, device=device)
    key = int(torch.randint(2**62, (), device="cpu"))
    box = draw_box(grid, alpha, key).to(device or "cpu", non_blocking=True)
    if shared and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.broadcast(box, 0)
    return box


def share_of(box: Tensor, grid: Grid) -> Tensor:
    """Share of the tokens that a box leaves in place, lam' = 1 - area / (P Q): () float32, 1 for an empty box."""
    r1, c1, r2, c2 = box.unbind()
    return 1 - ((r2 - r1) * (c2 - c1)).float() / (grid[0] * grid[1])
