"""The dilated depth-wise convolution on a CPU in eager mode, and LKA with it. Reference: depthwise.py.

torch's depth-wise convolution is fast on a CPU without dilation and several times slower with one. A dilated
convolution is the same undilated one on each of the d x d maps that every d-th pixel makes up ("phases"), so these
are laid side by side in the batch, in channels-last layout. The result has the memory format of the input.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.ops.backends import needs_plain_eager


def refuse(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> str | None:
    """Why this formulation cannot run, or None."""
    if x.device.type != "cpu":
        return f"x is on {x.device}, not on a CPU"
    if any(size % 2 == 0 for size in weight.shape[2:]):
        return f"a dilated kernel of even size {tuple(weight.shape[2:])} reads across phases"
    return needs_plain_eager(x, weight, bias)


def decline(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> str | None:
    """Why the reference is faster, or None."""
    if dilation == 1:
        return "without dilation the reference is as fast"
    if x.dtype not in (torch.float32, torch.bfloat16):
        return f"in {x.dtype} the reference is faster"
    return None


def refuse_lka(x: Tensor, *args: Any) -> str | None:
    """Why this formulation cannot run, or None."""
    dw, dw_bias, dwd, dwd_bias, pw, pw_bias, dilation = args
    return refuse(x, dwd, dwd_bias, dilation) or needs_plain_eager(dw, dw_bias, pw, pw_bias)


def decline_lka(x: Tensor, *args: Any) -> str | None:
    """Why the reference is faster, or None."""
    return decline(x, args[2], args[3], args[-1])


def dilated(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    B, C, H, W = x.shape
    d, h, w = dilation, -(-H // dilation), -(-W // dilation)
    phases = F.pad(x, (0, w * d - W, 0, h * d - H)).reshape(B, C, h, d, w, d)
    phases = phases.permute(0, 3, 5, 2, 4, 1).reshape(B * d * d, h, w, C).permute(0, 3, 1, 2)
    padding = [size // 2 for size in weight.shape[2:]]
    out = F.conv2d(phases, weight, bias, padding=padding, groups=C).unflatten(0, (B, d, d))  # B, d, d, C, h, w
    if x.is_contiguous():
        out = out.permute(0, 3, 4, 1, 5, 2).reshape(B, C, h * d, w * d)
        return out[:, :, :H, :W].contiguous()
    out = out.permute(0, 4, 1, 5, 2, 3).reshape(B, h * d, w * d, C)
    return out[:, :H, :W].contiguous().permute(0, 3, 1, 2)


def lka(
    x: Tensor,
    dw: Tensor,
    dw_bias: Tensor | None,
    dwd: Tensor,
    dwd_bias: Tensor | None,
    pw: Tensor,
    pw_bias: Tensor | None,
    dilation: int,
) -> Tensor:
    attention = F.conv2d(x, dw, dw_bias, padding=[size // 2 for size in dw.shape[2:]], groups=dw.shape[0])
    return F.conv2d(dilated(attention, dwd, dwd_bias, dilation), pw, pw_bias) * x
