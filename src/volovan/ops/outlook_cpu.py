"""outlook_attention on a CPU in eager mode. Reference: outlook_reference.py; tests: tests/ops/test_outlook.py.

Three things make it faster than the reference: the softmax over the few places of a window is written out (torch's
costs several times as much on so short an axis), windows are read head-major so that both products are one batched
matrix product, and the backward pass gathers by the same windows where autograd would scatter nine times.

Letters as in outlook.py; M = B*h*w*N windows of one head each.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.ops.backends import needs_plain_eager
from volovan.ops.outlook_reference import reference, window_slices


def refuse(value: Tensor, logits: Tensor, num_heads: int, kernel_size: int, stride: int, dropout: float) -> str | None:
    """Why this formulation cannot run, or None."""
    if value.device.type != "cpu":
        return f"value is on {value.device}, not on a CPU"
    if value.dtype != logits.dtype:
        return f"value is {value.dtype} and logits {logits.dtype}; it takes one dtype"
    if dropout:
        return "dropout of the weights takes the reference"
    return needs_plain_eager(value, logits)


def run(value: Tensor, logits: Tensor, num_heads: int, kernel_size: int, stride: int, dropout: float) -> Tensor:
    return _OutlookAttention.apply(value, logits, num_heads, kernel_size, stride)


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
            inputs = [t for t, needed in zip((value, logits), ctx.needs_input_grad, strict=False) if needed]
            found = iter(torch.autograd.grad(reference(value, logits, *ctx.sizes), inputs, grad, create_graph=True))
            return (*(next(found) if needed else None for needed in ctx.needs_input_grad[:2]), None, None, None)

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
