"""Depth-wise convolution and the large kernel attention that is made of it.

VAN, arXiv 2202.09741, section 3.1: a large convolution is split in a depth-wise, a depth-wise dilated and a
1 x 1 convolution, and their result gates the input:

    attention = PW(DWD(DW(x)))
    out       = attention * x
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from volovan.ops import depthwise_cpu
from volovan.ops.backends import Backend, choose, never_refuses


def depthwise_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, dilation: int = 1, backend: str = "auto"
) -> Tensor:
    """Convolve each channel with its own kernel, stride 1, zero padding that keeps the size.

    x        (B, C, H, W)
    weight   (C, 1, kh, kw), dilation * (kh - 1) and dilation * (kw - 1) even
    bias     (C,) or None
    backend  "auto", or a name that `volovan.ops.backends` lists
    returns  (B, C, H, W)
    raises   ValueError: shapes disagree, no symmetric padding, or the named backend cannot run this
    """
    args = check_depthwise(x, weight, bias, dilation)
    return choose("depthwise_conv2d", BACKENDS["depthwise_conv2d"], backend, args).run(*args)


def large_kernel_attention(
    x: Tensor,
    dw: Tensor,
    dw_bias: Tensor | None,
    dwd: Tensor,
    dwd_bias: Tensor | None,
    pw: Tensor,
    pw_bias: Tensor | None,
    dilation: int = 3,
    backend: str = "auto",
) -> Tensor:
    """Large kernel attention of VAN (arXiv 2202.09741, equation 3): x gated by three convolutions of x.

    x        (B, C, H, W)
    dw       (C, 1, k, k), depth-wise; K = 21, dilation 3 has k = 5
    dwd      (C, 1, k', k'), depth-wise with `dilation`; K = 21, dilation 3 has k' = 7
    pw       (C, C, 1, 1); every bias is (C,) or None
    backend  "auto", or a name that `volovan.ops.backends` lists
    returns  (B, C, H, W)
    raises   ValueError: shapes disagree, no symmetric padding, or the named backend cannot run this
    """
    args = check_lka(x, dw, dw_bias, dwd, dwd_bias, pw, pw_bias, dilation)
    return choose("large_kernel_attention", BACKENDS["large_kernel_attention"], backend, args).run(*args)


def check_depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    dilation: int = 1,
    op: str = "depthwise_conv2d",
    name: str = "weight",
) -> tuple[Tensor, Tensor, Tensor | None, int]:
    """The arguments of every implementation, or ValueError."""
    if x.dim() != 4:
        raise ValueError(f"{op}: x has {x.dim()} axes, expected (B, C, H, W)")
    channels = x.shape[1]
    if weight.dim() != 4 or tuple(weight.shape[:2]) != (channels, 1):
        raise ValueError(f"{op}: {name} has shape {tuple(weight.shape)}, expected ({channels}, 1, kh, kw)")
    if bias is not None and tuple(bias.shape) != (channels,):
        raise ValueError(f"{op}: bias of {name} has shape {tuple(bias.shape)}, expected ({channels},)")
    if dilation < 1:
        raise ValueError(f"{op}: dilation is {dilation}, expected at least 1")
    for size in weight.shape[2:]:
        if dilation * (size - 1) % 2:
            raise ValueError(
                f"{op}: {name} of size {size} with dilation {dilation} has no symmetric padding that keeps the size; "
                f"make dilation * (size - 1) = {dilation * (size - 1)} even"
            )
    return x, weight, bias, dilation


def check_lka(
    x: Tensor,
    dw: Tensor,
    dw_bias: Tensor | None,
    dwd: Tensor,
    dwd_bias: Tensor | None,
    pw: Tensor,
    pw_bias: Tensor | None,
    dilation: int = 3,
) -> tuple[Any, ...]:
    """The arguments of every implementation, or ValueError."""
    op = "large_kernel_attention"
    check_depthwise(x, dw, dw_bias, 1, op, "dw")
    check_depthwise(x, dwd, dwd_bias, dilation, op, "dwd")
    channels = x.shape[1]
    if tuple(pw.shape) != (channels, channels, 1, 1):
        raise ValueError(f"{op}: pw has shape {tuple(pw.shape)}, expected ({channels}, {channels}, 1, 1)")
    if pw_bias is not None and tuple(pw_bias.shape) != (channels,):
        raise ValueError(f"{op}: bias of pw has shape {tuple(pw_bias.shape)}, expected ({channels},)")
    return x, dw, dw_bias, dwd, dwd_bias, pw, pw_bias, dilation


def depthwise_reference(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    padding = [dilation * (size - 1) // 2 for size in weight.shape[2:]]
    return F.conv2d(x, weight, bias, padding=padding, dilation=dilation, groups=weight.shape[0])


def lka_reference(
    x: Tensor,
    dw: Tensor,
    dw_bias: Tensor | None,
    dwd: Tensor,
    dwd_bias: Tensor | None,
    pw: Tensor,
    pw_bias: Tensor | None,
    dilation: int,
) -> Tensor:
    attention = depthwise_reference(x, dw, dw_bias, 1)
    attention = depthwise_reference(attention, dwd, dwd_bias, dilation)
    return F.conv2d(attention, pw, pw_bias) * x


BACKENDS: dict[str, tuple[Backend, ...]] = {
    "depthwise_conv2d": (
        Backend("cpu", depthwise_cpu.dilated, depthwise_cpu.refuse, depthwise_cpu.decline),
        Backend("reference", depthwise_reference, never_refuses),
    ),
    "large_kernel_attention": (
        Backend("cpu", depthwise_cpu.lka, depthwise_cpu.refuse_lka, depthwise_cpu.decline_lka),
        Backend("reference", lka_reference, never_refuses),
    ),
}
CHECKS: dict[str, Any] = {"depthwise_conv2d": check_depthwise, "large_kernel_attention": check_lka}
