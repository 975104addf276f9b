"""Parts that the families share. Token maps are channels last, (B, H, W, C), unless a docstring says otherwise."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import prod, sqrt
from typing import TypeGuard

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from volovan.models.watched import nobody_looks, plain_conv, watched
from volovan.ops import linear_then
from volovan.ops.convolution import ACTIVATIONS
from volovan.ops.convolution_planes import convolve as convolve_in_planes
from volovan.ops.convolution_planes import gains


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): in training, zero the branch of a sample with probability `rate`."""

    def __init__(self, rate: float = 0.0):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return drop_path(x, self.rate) if self.rate and self.training else x

    def keep(self, x: Tensor, dtype: torch.dtype) -> Tensor | None:
        """(B,) factors by which it would multiply the samples of x; None: it leaves them."""
        return kept(x, self.rate, dtype) if self.rate and self.training else None

    def extra_repr(self) -> str:
        return f"rate={self.rate:.4f}"


def drop_path(x: Tensor, rate: float) -> Tensor:
    """x, the samples of which are zero with probability `rate`, and divided by the share that is left."""
    return x * kept(x, rate, x.dtype).view((-1,) + (1,) * (x.dim() - 1))


def kept(x: Tensor, rate: float, dtype: torch.dtype) -> Tensor:
    """(B,) factors: 0 with probability `rate`, else 1 / (1 - rate)."""
    return x.new_empty(x.shape[0], dtype=dtype).bernoulli_(1 - rate) / (1 - rate)


torch.fx.wrap("drop_path")


class MapNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map (B, C, H, W), which it returns as such."""

    def forward(self, x: Tensor) -> Tensor:
        return to_nchw(super().forward(x.permute(0, 2, 3, 1)))


def linear(layer: nn.Module, x: Tensor, act: str = "none") -> Tensor:
    """act(layer(x)) of a linear layer; by volovan.ops, without the call, where nothing watches it."""
    if type(layer) is nn.Linear and not watched(layer) and nobody_looks():
        return linear_then(x, layer.weight, layer.bias, act)
    return ACTIVATIONS[act](layer(x))


class MLP(nn.Module):
    """Linear, exact GELU, Linear on the last axis, dropout after both."""

    def __init__(self, dim: int, hidden: int, drop: float):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(linear(self.fc2, self.drop(linear(self.fc1, x, "gelu"))))


class SelfAttention(nn.Module):
    """Global attention over all positions between the first and the last axis: (B, N, C) or (B, H, W, C).

    Rows of qkv: queries, keys, values, each head-major.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool, attn_drop: float, drop: float):
        super().__init__()
        self.num_heads = num_heads
        self.attn_drop = attn_drop
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape
        qkv = linear(self.qkv, x.flatten(1, -2))
        q, k, v = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # B, N heads, positions, d
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=self.attn_drop if self.training else 0.0)
        return self.drop(linear(self.proj, out.transpose(1, 2).reshape(shape)))


class TransformerBlock(nn.Module):
    """x + mixer(LN(x)), then x + MLP(LN(x)); both branches are divided by `residual_divisor` (LV-ViT, 2104.10858)."""

    def __init__(
        self,
        mixer: nn.Module,
        dim: int,
        hidden: int,
        drop: float,
        norm_eps: float,
        drop_path: float = 0.0,
        residual_divisor: float = 1.0,
    ):
        super().__init__()
        self.residual_divisor = residual_divisor
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = mixer
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = MLP(dim, hidden, drop)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.add(x, self.attn(self.norm1(x)))
        return self.add(x, self.mlp(self.norm2(x)))

    def add(self, x: Tensor, branch: Tensor) -> Tensor:
        branch = self.drop_path(branch)
        return x + (branch if self.residual_divisor == 1 else branch / self.residual_divisor)


class SteadyBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that normalises fewer than five values of a channel by its running statistics, in training too.

    Two values become 1 and -1 whatever they were, and the gradient of their small differences grows by up to
    1 / sqrt(eps), 316, in each layer: a chain of such layers, as heads have on maps of one position, overflows. The
    running statistics move first, in proportion to the values. With five values or more, and in evaluation, it is
    BatchNorm.
    """

    FEW = 5

    def forward(self, x: Tensor) -> Tensor:
        values = x.numel() // x.shape[1]
        if not self.training or values >= self.FEW or self.running_mean is None or self.running_var is None:
            return super().forward(x)
        if values > 1:
            with torch.no_grad():
                share = (self.momentum or 0.0) * values / self.FEW
                F.batch_norm(x, self.running_mean, self.running_var, None, None, True, share, self.eps)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        mean, var = self.running_mean.clone(), self.running_var.clone()  # they move on before the backward pass
        return F.batch_norm(x, mean, var, self.weight, self.bias, False, 0.0, self.eps)


def convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """conv(x); where its weights are learnt sooner by volovan.ops, without the call, if nothing watches it."""
    if plain_conv(conv, groups=1) and gains(x, conv.weight, conv.bias):
        return convolve_in_planes(x, conv.weight, conv.bias, conv.padding, conv.dilation)  # type: ignore[arg-type]
    out: Tensor = conv(x)
    return out


class ConvNormAct(nn.Module):
    """Convolution that keeps the size, BatchNorm, ReLU, named `conv` and `bn` as in mmsegmentation's files."""

    def __init__(
        self, in_chans: int, out_chans: int, kernel: int = 1, dilation: int = 1, bias: bool = False, act: bool = True
    ):
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(in_chans, out_chans, kernel, padding=padding, dilation=dilation, bias=bias)
        self.bn = SteadyBatchNorm2d(out_chans)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(convolve(self.conv, x))
        return x.relu() if self.act else x


# MixToken


@dataclass
class MixTokenOutput:
    """What VOLO and LV-ViT return when they are given a MixToken box.

    logits        (B, num_classes) of the class token; its target is mixed by the area of the box
    patch_logits  (B, N, num_classes), tokens row-major, the box already pasted back, so that their targets need no
                  mixing; None without dense head
    box           (4,) integers r1, c1, r2, c2: half-open rows and columns of the token grid
    """

    logits: Tensor
    patch_logits: Tensor | None
    box: Tensor


# Containers of outputs must be known to pytree, or FSDP2 does not find the tensors within and export refuses them.
torch.export.register_dataclass(MixTokenOutput)


def mix_tokens(x: Tensor, box: Tensor, scale: int = 1) -> Tensor:
    """Inside the box, take sample B - 1 - i for sample i (MixToken, arXiv 2104.10858). Its own inverse.

    x      (B, H, W, C)
    box    (4,) integers r1, c1, r2, c2 in units of `scale` positions; an empty box changes nothing
    """
    r1, c1, r2, c2 = (box.to(x.device) * scale).unbind()
    rows = torch.arange(x.shape[1], device=x.device)
    columns = torch.arange(x.shape[2], device=x.device)
    # A mask in place of slices: the box stays a tensor, so that compiled graphs hold for every box.
    inside = ((rows >= r1) & (rows < r2))[:, None] & ((columns >= c1) & (columns < c2))
    return torch.where(inside[None, :, :, None], x.flip(0), x)


def is_given(box: Tensor | None) -> TypeGuard[Tensor]:
    """Whether there is a MixToken box. torch.fx puts a stand-in for every argument: its graphs mix no tokens."""
    return box is not None and not isinstance(box, torch.fx.Proxy)


def check_box(box: Tensor) -> None:
    """ValueError unless the box is four integers in one tensor."""
    if not isinstance(box, Tensor):
        raise ValueError(f"box is {box!r}, expected an integer tensor of 4 numbers: torch.tensor([r1, c1, r2, c2])")
    if tuple(box.shape) != (4,) or box.dtype == torch.bool or box.is_floating_point() or box.is_complex():
        raise ValueError(
            f"box has shape {tuple(box.shape)} and dtype {box.dtype}, expected 4 integers r1, c1, r2, c2 in the grid"
        )


# Position embedding


def resize_position(embedding: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a learned position embedding (1, H, W, C) to `size`, bicubic, pixel centres aligned, no antialias.

    Equal sizes return the embedding itself; while exporting the resize is unconditional (then it is the identity),
    since an `if` on sizes would freeze them in the graph.
    """
    if not torch.compiler.is_exporting() and tuple(embedding.shape[1:3]) == tuple(size):
        return embedding
    maps = embedding.float().permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size=size, mode="bicubic", align_corners=False, antialias=False)
    return maps.permute(0, 2, 3, 1).to(embedding.dtype)


# Running blocks


def run_block(block: nn.Module, x: Tensor, checkpointing: bool) -> Tensor:
    """block(x); with checkpointing its activations are computed again in the backward pass instead of kept."""
    if not (checkpointing and torch.is_grad_enabled()):
        return block(x)
    if torch.compiler.is_compiling():  # the compiled backward repeats no buffer update
        return checkpoint(block, x, use_reentrant=False)
    return checkpoint(block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _frozen_statistics(block)))


@contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Within it BatchNorm normalises as before but moves no statistics: recomputing must not count a batch twice."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches


class Stage(nn.Sequential):
    """Blocks that keep the shape, called as one module, so that hooks on it fire.

    first   number of its first block, counted through the trunk
    """

    def __init__(self, *blocks: nn.Module, first: int = 0):
        super().__init__(*blocks)
        self.first = first

    def forward(
        self, x: Tensor, checkpointing: bool = False, keep: Callable[[int, Tensor], None] | None = None
    ) -> Tensor:
        """The map after the last block; `keep` gets the number and the output of every block.

        It is a function and not a list to fill, since FSDP2 copies the lists among the arguments of what it shards.
        """
        for number, block in enumerate(self, self.first):
            x = run_block(block, x, checkpointing)
            if keep is not None:
                keep(number, x)
        return x


# Heads and layouts


def init_linear(module: nn.Module) -> None:
    """Linear: truncated normal of std 0.02 (cut at +-2), bias 0. Convolutions and norms keep the default of torch."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def init_convolution(module: nn.Module) -> None:
    """Convolution that a ReLU follows: normal, variance 2 / fan out (arXiv 1502.01852), bias 0."""
    if isinstance(module, nn.Conv2d):
        fan_out = prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def new_head(width: int, num_classes: int, like: Tensor) -> nn.Linear:
    """A fresh classifier with the device and dtype of `like`."""
    head = nn.Linear(width, num_classes, device=like.device, dtype=like.dtype)
    init_linear(head)
    return head


def in_channels_last(x: Tensor) -> Tensor:
    """The same map (B, C, H, W) laid out channels last on a CPU, where convolutions want it so (VAN-B2 1.6 times as
    fast); elsewhere in the layout that it has."""
    if x.device.type != "cpu" or torch.compiler.is_exporting():
        return x
    return x.contiguous(memory_format=torch.channels_last)


torch.fx.wrap("in_channels_last")


def to_nchw(x: Tensor) -> Tensor:
    """(B, H, W, C) to (B, C, H, W), a view."""
    return x.permute(0, 3, 1, 2)


def to_nhwc(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H, W, C), contiguous: the sum of every later block takes the strides of this first term."""
    return x.permute(0, 2, 3, 1).contiguous()
