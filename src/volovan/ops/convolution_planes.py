"""Convolution on a CPU that learns: the gradient of its weights in torch's default layout.

Without AVX-512 oneDNN's gradient of the weights of a 3 x 3 convolution takes 1.5 to 3 times as long in channels-last
layout as in the default one, which costs more than two copies; all else of a convolution is as fast or faster in
channels-last layout. (256 to 256 channels over 2 x 128 x 128 pixels: 669 ms, and 229.)
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.ops.backends import convolution_gradients, gradients_again, learns, needs_plain_eager
from volovan.ops.onednn import AVX512

Pair = tuple[int, int]


def gains(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether `convolve` learns sooner than torch's convolution, and can take these."""
    return (
        not AVX512
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and learns(weight)
        and weight.shape[2] * weight.shape[3] > 1
        and x.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_autocast_enabled("cpu")
        and needs_plain_eager(x, weight, bias) is None
    )


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Pair, dilation: Pair) -> Tensor:
    """F.conv2d of stride 1 and one group, with the same gradients.

    x       (B, C, H, W) in channels-last layout
    weight  (D, C, kh, kw); bias (D,) or None
    returns (B, D, h, w)
    """
    found: Tensor = _InPlanes.apply(x, weight, bias, padding, dilation)
    return found


class _InPlanes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: Pair, dilation: Pair) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.padding, ctx.dilation = padding, dilation
        return F.conv2d(x, weight, bias, 1, padding, dilation)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        needed = ctx.needs_input_grad
        if torch.is_grad_enabled():  # create_graph=True
            again = F.conv2d(x, weight, bias, 1, ctx.padding, ctx.dilation)
            return (*gradients_again(again, (x, weight, bias), needed, grad), None, None)
        of_x = of_weight = None
        if needed[0]:
            laid = grad.contiguous(memory_format=torch.channels_last)
            of_x = convolution_gradients(laid, x, weight, ctx.padding, (True, False), ctx.dilation)[0]
        if needed[1]:
            planes = grad.contiguous(), x.contiguous(), weight.contiguous()  # all, or torch lays out some after others
            of_weight = convolution_gradients(*planes, ctx.padding, (False, True), ctx.dilation)[1]
        return of_x, of_weight, grad.sum((0, 2, 3)) if needed[2] else None, None, None
