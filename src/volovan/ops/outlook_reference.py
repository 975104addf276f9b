"""outlook_attention in ordinary torch operations: the definition that every other backend is tested against.

Strided slices gather the k*k neighbours and add the weighted sums back into a padded map. No unfold and fold, which
are slow, memory-hungry and hard to export; every odd k, stride and size holds. Letters as in outlook.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def window_slices(k: int, s: int, height: int, width: int) -> list[tuple[slice, slice]]:
    """For each place of the window, row-major, the pixels of the padded map that it covers in all windows.

    The ends are those of the map and not of the last window: with dynamic sizes an exporter can prove that they fit.
    """
    return [(slice(r, r + height, s), slice(c, c + width, s)) for r in range(k) for c in range(k)]


def reference(
    value: Tensor, logits: Tensor, num_heads: int, kernel_size: int, stride: int, dropout: float = 0.0
) -> Tensor:
    """outlook_attention of checked arguments; torch.compile and torch.export always take this one."""
    H, W, C = value.shape[1:]
    k2, pad = kernel_size**2, kernel_size // 2
    head_dim = C // num_heads
    places = window_slices(kernel_size, stride, H, W)

    weights = logits.unflatten(3, (num_heads, k2, k2)) * head_dim**-0.5
    weights = F.dropout(weights.softmax(dim=-1), dropout).to(value.dtype)
    padded = F.pad(value, (0, 0, pad, pad, pad, pad)).unflatten(3, (num_heads, head_dim))
    source = torch.stack([padded[:, r, c] for r, c in places], dim=4)  # B, h, w, N, k2, d
    target = torch.bmm(weights.flatten(0, 3), source.flatten(0, 3))
    # Heads apart first: the sizes of the rest are then a plain product, which dynamic export can take apart.
    target = target.unflatten(0, (-1, num_heads)).unflatten(0, source.shape[:3])

    out = torch.zeros_like(padded)
    for place, (r, c) in enumerate(places):
        out[:, r, c].add_(target[:, :, :, :, place])
    return out[:, pad : pad + H, pad : pad + W].flatten(3)
