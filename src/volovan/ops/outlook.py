"""Outlook attention: each k x k window is mixed by its own softmax weights, overlapping windows are summed.

VOLO, arXiv 2106.13112, section 3.1. For the window at (i, j), head n and place t ("target") in the window

    y[t] = sum over source places u of softmax_u(logits[i, j, n, t, u] / sqrt(d)) * value[window(i, j)[u]]

and y[t] is added to the pixel that t covers. Values outside the image are zero, results outside are dropped,
overlaps are summed and never averaged.

Letters: B batch, H W map, C channels = N heads * d, k kernel, s stride, h = ceil(H/s), w = ceil(W/s) windows,
k2 = k*k places of a window, M = B*h*w*N windows of one head each.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.ops.backends import Backend, choose, decline_kernel, gradients_again, needs_plain_eager, refuse_kernel
from volovan.ops.onednn import BFLOAT16


def outlook_attention(
    value: Tensor,
    logits: Tensor,
    num_heads: int,
    kernel_size: int = 3,
    stride: int = 1,
    padding: int = 1,
    backend: str = "auto",
    dropout: float = 0.0,
) -> Tensor:
    """Mix each k x k window by softmax weights and sum the overlaps (VOLO, arXiv 2106.13112).

    value    (B, H, W, C), C divisible by num_heads; window (i, j) starts at row i*stride - padding
    logits   (B, ceil(H/stride), ceil(W/stride), num_heads * k^4), before scale (d^-0.5) and softmax;
             last axis in the order head, target, source
    backend  "auto", or a name that `volovan.ops.backends` lists
    dropout  probability with which a weight is zeroed after the softmax (the others grow by 1 / (1 - dropout))
    returns  (B, H, W, C), dtype of value
    raises   ValueError: shapes disagree, padding is not (kernel_size - 1) / 2, or the named backend cannot run this
    """
    args = check(value, logits, num_heads, kernel_size, stride, padding, dropout)
    return choose("outlook_attention", BACKENDS, backend, args).run(*args)


def check(
    value: Tensor,
    logits: Tensor,
    num_heads: int,
    kernel_size: int = 3,
    stride: int = 1,
    padding: int = 1,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor, int, int, int, float]:
    """The arguments (value, logits, num_heads, kernel_size, stride, dropout) of every implementation, or ValueError."""
    op = "outlook_attention"
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"{op}: kernel_size is {kernel_size}, expected an odd number")
    if stride < 1:
        raise ValueError(f"{op}: stride is {stride}, expected at least 1")
    if padding != (kernel_size - 1) // 2:
        # Only this padding gives ceil(H/s) windows for every H, as the pooled logits have.
        raise ValueError(f"{op}: padding is {padding}, expected (kernel_size - 1) / 2 = {(kernel_size - 1) // 2}")
    if value.dim() != 4 or logits.dim() != 4:
        raise ValueError(
            f"{op}: value has {value.dim()} axes and logits {logits.dim()}, expected (B, H, W, C) and (B, h, w, N*k^4)"
        )
    if not value.is_floating_point() or not logits.is_floating_point():
        raise ValueError(f"{op}: value is {value.dtype} and logits {logits.dtype}, expected floating point")
    if value.device != logits.device:
        raise ValueError(f"{op}: value is on {value.device} and logits on {logits.device}, expected one device")
    batch, height, width, channels = value.shape
    if num_heads < 1 or channels % num_heads:
        raise ValueError(f"{op}: value has {channels} channels, expected a multiple of num_heads = {num_heads}")
    if logits.shape[-1] != num_heads * kernel_size**4:
        raise ValueError(
            f"{op}: logits has {logits.shape[-1]} channels, expected num_heads * k^4 = "
            f"{num_heads} * {kernel_size**4} = {num_heads * kernel_size**4}"
        )
    windows = (batch, (height - 1) // stride + 1, (width - 1) // stride + 1)  # ceil, in the form that pooling has
    if tuple(logits.shape[:3]) != windows:
        raise ValueError(
            f"{op}: logits has shape {tuple(logits.shape)}, expected {(*windows, logits.shape[-1])}: "
            f"one window per {stride} x {stride} pixels of the {height} x {width} map"
        )
    return value, logits, num_heads, kernel_size, stride, dropout


# The reference: ordinary torch operations. Strided slices gather the k*k neighbours and add the weighted sums back into
# a padded map. No unfold and fold, which are slow, memory-hungry and hard to export; all odd k, strides and sizes hold.


def window_slices(k: int, s: int, height: int, width: int) -> list[tuple[slice, slice]]:
    """For each place of the window, row-major, the pixels of the padded map that it covers in all windows.

    The ends are those of the map and not of the last window: with dynamic sizes an exporter can prove that they fit.
    """
    return [(slice(r, r + height, s), slice(c, c + width, s)) for r in range(k) for c in range(k)]


def reference(
    value: Tensor, logits: Tensor, num_heads: int, kernel_size: int, stride: int, dropout: float = 0.0
) -> Tensor:
    """The definition that other backends are tested against; torch.compile and torch.export always take this one."""
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


# On a CPU in eager mode. Three things make it faster than the reference: the softmax over the few places of a window is
# written out (torch's costs several times as much on so short an axis), windows are read head-major so that both
# products are one batched matrix product, and the backward pass gathers by the same windows where autograd would
# scatter nine times.


def refuse(value: Tensor, logits: Tensor, num_heads: int, kernel_size: int, stride: int, dropout: float) -> str | None:
    if value.device.type != "cpu":
        return f"value is on {value.device}, not on a CPU"
    if value.dtype != logits.dtype:
        return f"value is {value.dtype} and logits {logits.dtype}; it takes one dtype"
    if dropout:
        return "dropout of the weights takes the reference"
    return needs_plain_eager(value, logits)


def run(value: Tensor, logits: Tensor, num_heads: int, kernel_size: int, stride: int, dropout: float) -> Tensor:
    sizes = num_heads, kernel_size, stride
    if value.dtype == torch.bfloat16 and not BFLOAT16:  # products of bfloat16 would be made of several passes
        return _OutlookAttention.apply(value.float(), logits.float(), *sizes).to(torch.bfloat16)
    return _OutlookAttention.apply(value, logits, *sizes)


class _OutlookAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, logits: Tensor, num_heads: int, kernel_size: int, stride: int) -> Tensor:
        ctx.sizes = (num_heads, kernel_size, stride)
        weights = window_softmax(logits, kernel_size**2, (value.shape[-1] // num_heads) ** -0.5)
        # The logits are kept for second derivatives only, which the reference takes.
        ctx.save_for_backward(value, logits, weights)
        target = torch.bmm(weights, gather(value, logits.shape[1:3], *ctx.sizes))
        return scatter(target, value.shape, logits.shape[1:3], *ctx.sizes)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        value, logits, weights = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True
            out = reference(value, logits, *ctx.sizes)
            return (*gradients_again(out, (value, logits), ctx.needs_input_grad, grad), None, None, None)

        windows = logits.shape[1:3]
        grad_target = gather(grad, windows, *ctx.sizes)  # M, k2, d
        grad_value = grad_logits = None
        if ctx.needs_input_grad[0]:
            grad_source = torch.bmm(weights.transpose(1, 2), grad_target)
            grad_value = scatter(grad_source, value.shape, windows, *ctx.sizes)
        if ctx.needs_input_grad[1]:
            grad_weights = torch.bmm(grad_target, gather(value, windows, *ctx.sizes).transpose(1, 2))
            scale = (value.shape[-1] // ctx.sizes[0]) ** -0.5
            grad_logits = window_softmax_backward(grad_weights, weights, scale).view(logits.shape)
        return grad_value, grad_logits, None, None, None


def window_softmax(logits: Tensor, k2: int, scale: float) -> Tensor:
    """softmax(scale * logits) over the source places, in float32 at least: (B, h, w, N*k2*k2) to (M, k2, k2)."""
    x = logits.reshape(-1, k2, k2)
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    x = (x - x.amax(dim=-1, keepdim=True)).mul_(scale).exp_()
    return x.div_(x.sum(dim=-1, keepdim=True)).to(logits.dtype)


def window_softmax_backward(grad: Tensor, weights: Tensor, scale: float) -> Tensor:
    """Gradient of the logits: scale * w * (g - sum over sources of g * w)."""
    dtype = grad.dtype
    if dtype in (torch.float16, torch.bfloat16):
        grad, weights = grad.float(), weights.float()
    product = grad * weights
    return product.sub_(weights * product.sum(dim=-1, keepdim=True)).mul_(scale).to(dtype)


def gather(x: Tensor, windows: Sequence[int], num_heads: int, k: int, s: int) -> Tensor:
    """Every window of the zero-padded map, head-major: (B, H, W, C) to (M, k2, d)."""
    pad = k // 2
    x = F.pad(x, (0, 0, pad, pad, pad, pad))
    head_dim = x.shape[-1] // num_heads
    batch_step, row, column, _ = x.stride()
    size = (x.shape[0], *windows, num_heads, k, k, head_dim)
    return x.as_strided(size, (batch_step, s * row, s * column, head_dim, row, column, 1)).reshape(-1, k * k, head_dim)


def scatter(y: Tensor, shape: torch.Size, windows: Sequence[int], num_heads: int, k: int, s: int) -> Tensor:
    """Add every window to the pixels it covers, drop the padding: (M, k2, d) to (B, H, W, C). Transpose of gather."""
    B, H, W, C = shape
    pad, head_dim = k // 2, C // num_heads
    y = y.view(B, *windows, num_heads, k * k, head_dim)
    out = y.new_zeros(B, H + 2 * pad, W + 2 * pad, num_heads, head_dim)
    for place, (r, c) in enumerate(window_slices(k, s, H, W)):
        out[:, r, c].add_(y[:, :, :, :, place])
    return out[:, pad : pad + H, pad : pad + W].flatten(3)


# On a GPU, in Triton (outlook_triton.py, which is imported with the first use). torch.compile sees two operations of
# torch.library.

_library = torch.library.Library("volovan", "FRAGMENT")
_library.define(
    "outlook_attention(Tensor value, Tensor logits, int num_heads, int kernel_size, int stride, bool keep)"
    " -> (Tensor, Tensor)"
)
_library.define(
    "outlook_attention_backward(Tensor grad, Tensor value, Tensor logits, Tensor lse, int num_heads, int kernel_size,"
    " int stride) -> (Tensor, Tensor)"
)


def _forward(
    value: Tensor, logits: Tensor, num_heads: int, kernel_size: int, stride: int, keep: bool
) -> tuple[Tensor, Tensor]:
    from volovan.ops import outlook_triton

    return outlook_triton.forward(value, logits, num_heads, kernel_size, stride, keep)


def _backward(
    grad: Tensor, value: Tensor, logits: Tensor, lse: Tensor, num_heads: int, kernel_size: int, stride: int
) -> tuple[Tensor, Tensor]:
    from volovan.ops import outlook_triton

    return outlook_triton.backward(grad, value, logits, lse, num_heads, kernel_size, stride)


_library.impl("outlook_attention", _forward, "CompositeExplicitAutograd")
_library.impl("outlook_attention_backward", _backward, "CompositeExplicitAutograd")


@torch.library.register_fake("volovan::outlook_attention", lib=_library)
def _(
    value: Tensor, logits: Tensor, num_heads: int, kernel_size: int, stride: int, keep: bool
) -> tuple[Tensor, Tensor]:
    lse = (*logits.shape[:3], num_heads * kernel_size**2) if keep else (0,)
    return value.new_empty(value.shape), value.new_empty(lse, dtype=torch.float32)


@torch.library.register_fake("volovan::outlook_attention_backward", lib=_library)
def _(
    grad: Tensor, value: Tensor, logits: Tensor, lse: Tensor, num_heads: int, kernel_size: int, stride: int
) -> tuple[Tensor, Tensor]:
    return value.new_empty(value.shape), logits.new_empty(logits.shape)


def refuse_triton(
    value: Tensor, logits: Tensor, num_heads: int, kernel_size: int, stride: int, dropout: float
) -> str | None:
    if value.dtype != logits.dtype:
        return f"value is {value.dtype} and logits {logits.dtype}; it takes one dtype"
    if dropout:
        return "dropout of the weights takes the reference"
    return refuse_kernel("value", value, logits)


def decline_triton(value: Tensor, *args: Any) -> str | None:
    return decline_kernel(value)


def run_triton(value: Tensor, logits: Tensor, num_heads: int, kernel_size: int, stride: int, dropout: float) -> Tensor:
    if torch.is_grad_enabled() and (value.requires_grad or logits.requires_grad):
        return _TritonOutlookAttention.apply(value, logits, num_heads, kernel_size, stride)
    found: Tensor = torch.ops.volovan.outlook_attention(value, logits, num_heads, kernel_size, stride, False)[0]
    return found


class _TritonOutlookAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, logits: Tensor, num_heads: int, kernel_size: int, stride: int) -> Tensor:
        ctx.sizes = (num_heads, kernel_size, stride)
        out, lse = torch.ops.volovan.outlook_attention(value, logits, *ctx.sizes, True)
        ctx.save_for_backward(value, logits, lse)
        found: Tensor = out
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        value, logits, lse = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True
            out = reference(value, logits, *ctx.sizes)
            return (*gradients_again(out, (value, logits), ctx.needs_input_grad, grad), None, None, None)
        found = torch.ops.volovan.outlook_attention_backward(grad, value, logits, lse, *ctx.sizes)
        return (*found, None, None, None)


BACKENDS = (
    Backend("triton", run_triton, refuse_triton, decline_triton),
    Backend("cpu", run, refuse),
    Backend("reference", reference),
)
