"""What mixes neighbouring tokens in the first stage of VOLO: outlook attention and the rivals of table 6 of its paper.

All take and return (B, H, W, C) and look at the k x k window, k odd. The paper does not publish the details of the
rivals, so each has the plainest form:

    mixer     form                                                                      parameters (k = 3)
    outlook   values and pooled logits by linear layers, projection                     (2 + N k^4 / C) C^2 + C + N k^4
    local     multi-head self-attention of each pixel over the window centred on it      4 C^2 + C
    conv      one dense k x k convolution                                                k^2 C^2 + C
"""

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.models.layers import linear
from volovan.ops import outlook_attention

# What asks for sizes is one step in a graph of torch.fx, which knows none.
torch.fx.wrap("outlook_attention")
torch.fx.wrap("pool_windows")


class OutlookAttention(nn.Module):
    """Outlook attention (VOLO, section 3.1): the logits come from the map, averaged over stride x stride pixels.

    The pooling runs in ceil mode and divides by the number of real pixels, so that odd sizes work.
    """

    def __init__(
        self, dim: int, num_heads: int, kernel: int, stride: int, qkv_bias: bool, attn_drop: float, drop: float
    ):
        super().__init__()
        self.num_heads, self.kernel, self.stride, self.attn_drop = num_heads, kernel, stride, attn_drop
        self.v = nn.Linear(dim, dim, bias=qkv_bias)
        self.attn = nn.Linear(dim, num_heads * kernel**4)
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        logits = linear(self.attn, pool_windows(x, self.stride))
        dropout = self.attn_drop if self.training else 0.0
        args = (self.num_heads, self.kernel, self.stride, self.kernel // 2)
        mixed = outlook_attention(linear(self.v, x), logits, *args, dropout=dropout)
        return self.drop(linear(self.proj, mixed))


def pool_windows(x: Tensor, s: int) -> Tensor:
    """Mean of each s x s square of (B, H, W, C); squares cut off by the edge take the mean of what is left."""
    if s == 1:
        return x
    if not torch.compiler.is_exporting():
        return F.avg_pool2d(x.permute(0, 3, 1, 2), s, s, ceil_mode=True).permute(0, 2, 3, 1)
    # Ceil mode asks whether the last square begins inside, a condition on sizes that dynamic export cannot prove.
    H, W = x.shape[1:3]
    padded = F.pad(x, (0, 0, 0, s - 1, 0, s - 1))
    total = torch.stack([padded[:, r : r + H : s, c : c + W : s] for r in range(s) for c in range(s)]).sum(0)
    rows, columns = (
        (size - s * torch.arange(n, device=x.device)).clamp(max=s)
        for size, n in zip((H, W), total.shape[1:3], strict=True)
    )
    return total / (rows[:, None] * columns)[..., None].to(x.dtype)


class LocalAttention(nn.Module):
    """Self-attention of each pixel over the k x k window centred on it; places outside the image are masked."""

    def __init__(self, dim: int, num_heads: int, kernel: int, qkv_bias: bool, attn_drop: float, drop: float):
        super().__init__()
        self.num_heads, self.kernel = num_heads, kernel
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.attn_drop = nn.Dropout(attn_drop)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = linear(self.qkv, x).unflatten(-1, (3, self.num_heads, -1)).unbind(3)  # B, H, W, N, d
        inside = self.windows(torch.ones_like(x[:1, :, :, :1, None])) > 0
        scores = (q.unsqueeze(3) * self.scale * self.windows(k)).sum(-1)  # B, H, W, k2, N
        weights = self.attn_drop(scores.masked_fill(~inside.squeeze(-1), -torch.inf).softmax(dim=3))
        out = (weights.unsqueeze(-1) * self.windows(v)).sum(3)
        return self.drop(linear(self.proj, out.flatten(3)))

    def windows(self, x: Tensor) -> Tensor:
        """(B, H, W, N, d) to (B, H, W, k2, N, d), zero outside the image."""
        height, width = x.shape[1:3]
        pad = self.kernel // 2
        padded = F.pad(x, (0, 0, 0, 0, pad, pad, pad, pad))
        places = [(r, c) for r in range(self.kernel) for c in range(self.kernel)]
        return torch.stack([padded[:, r : r + height, c : c + width] for r, c in places], dim=3)


class SpatialConv(nn.Module):
    """A dense k x k convolution with bias, zero padding, nothing else."""

    def __init__(self, dim: int, kernel: int, drop: float):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, kernel, padding=kernel // 2)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
