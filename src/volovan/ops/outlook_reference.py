"""outlook_attention in ordinary torch operations: the definition that every other backend is tested against.

Strided slices gather the k*k neighbours and add the weighted sums back into a padded map. No unfold and fold, which
are slow, memory-hungry and hard to export; every odd k, stride and size holds. Letters as in outlook.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def window_slices(k: int, s: int, h: int, w: int) -> list[tuple[slice, slice]]:
    """For each place of the window, row-major, the pixels of the padded map that it covers in all h x w windows."""
    ends = ((h - 1) * s + 1, (w - 1) * s + 1)
    return [(slice(r, r + ends[0], s), slice(c, c + ends[1], s)) for r in range(k) for c in range(k)]


def reference(
    value: Tensor, logits: Tensor, num_heads: int, kernel_size: int, stride: int, dropout: float = 0.0
) -> Tensor:
    """outlook_attention of checked arguments; torch.compile and torch.export always take this one."""
    B, H, W, C = value.shape
    h, w = logits.shape[1:3]
    k2, pad = kernel_size**2, kernel_size // 2
    head_dim = C // num_heads
    places = window_slices(kernel_size, stride, h, w)

    weights = logits.reshape(B, h, w, num_heads, k2, k2) * head_dim**-0.5
    weights = F.dropout(weights.softmax(dim=-1), dropout).to(value.dtype)
    padded = F.pad(value, (0, 0, pad, pad, pad, pad))
    source = torch.stack([padded[:, r, c] for r, c in places], dim=3)  # B, h, w, k2, C
    source = source.reshape(B, h, w, k2, num_heads, head_dim).transpose(3, 4)
    target = (weights @ source).transpose(3, 4).reshape(B, h, w, k2, C)

    out = torch.zeros_like(padded)
    for place, (r, c) in enumerate(places):
        out[:, r, c].add_(target[:, :, :, place])
    return out[:, pad : pad + H, pad : pad + W]
