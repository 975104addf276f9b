"""Outlook attention: each k x k window is mixed by its own softmax weights, overlapping windows are summed.

VOLO, arXiv 2106.13112, section 3.1. For the window at (i, j), head n and place t ("target") in the window

    y[t] = sum over source places u of softmax_u(logits[i, j, n, t, u] / sqrt(d)) * value[window(i, j)[u]]

and y[t] is added to the pixel that t covers. Values outside the image are zero, results outside are dropped,
overlaps are summed and never averaged.

Letters: B batch, H W map, C channels = N heads * d, k kernel, s stride, h = ceil(H/s), w = ceil(W/s) windows,
k2 = k*k places of a window.
"""

from typing import Any

from torch import Tensor

from volovan.ops import outlook_cpu
from volovan.ops.backends import Backend, choose, never_refuses
from volovan.ops.outlook_reference import reference


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
    return choose("outlook_attention", BACKENDS["outlook_attention"], backend, args).run(*args)


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


BACKENDS: dict[str, tuple[Backend, ...]] = {
    "outlook_attention": (
        Backend("cpu", outlook_cpu.run, outlook_cpu.refuse),
        Backend("reference", reference, never_refuses),
    ),
}
CHECKS: dict[str, Any] = {"outlook_attention": check}
