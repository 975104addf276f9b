"""1 x 1 convolution that ends in the product or sum with another map, on a GPU, in Triton (pointwise_triton.py, which
is imported with the first use). torch.compile sees an operation of torch.library.

Of the gate of large kernel attention, out = (W a + b) * x with the gradient g of out:

    grad x = (W a + b) * g                       the same operation, with g in the place of x
    grad a = W^T (g x),   grad W = (g x) a^T     products of matrices, by torch
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.ops.backends import gradients_again, learns

Bias = Tensor | None
"""(D,) or None"""

_library = torch.library.Library("volovan", "FRAGMENT")
_library.define("pointwise(Tensor x, Tensor weight, Tensor? bias, Tensor? other, str combine, str act) -> Tensor")


def _multiply(*args: Any) -> Tensor:
    from volovan.ops import pointwise_triton

    return pointwise_triton.multiply(*args)


_library.impl("pointwise", _multiply, "CompositeExplicitAutograd")


@torch.library.register_fake("volovan::pointwise", lib=_library)
def _(x: Tensor, weight: Tensor, bias: Bias, other: Tensor | None, combine: str, act: str) -> Tensor:
    size = (x.shape[0], weight.shape[0], *x.shape[2:])
    return x.new_empty(size).contiguous(memory_format=torch.channels_last)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, attention: Tensor, weight: Tensor, bias: Bias, x: Tensor) -> Tensor:
        ctx.save_for_backward(attention, weight, bias, x)
        found: Tensor = torch.ops.volovan.pointwise(attention, weight, bias, x, "mul", "none")
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        attention, weight, bias, x = ctx.saved_tensors
        needed = ctx.needs_input_grad
        own = weight.to(x.dtype)
        if torch.is_grad_enabled():  # create_graph=True
            out = F.conv2d(attention, own, None if bias is None else bias.to(x.dtype)) * x
            return tuple(gradients_again(out, (attention, weight, bias, x), needed, grad))
        of_attention = of_weight = of_bias = of_x = None
        if needed[3]:
            of_x = torch.ops.volovan.pointwise(attention, weight, bias, grad, "mul", "none")
        inner = _rows(grad * x)
        if needed[0]:
            of_attention = (inner @ own.flatten(1)).view(_last(attention).shape).permute(0, 3, 1, 2)
        if needed[1]:
            of_weight = (inner.t() @ _rows(attention)).view(weight.shape).to(weight.dtype)
        if bias is not None and needed[2]:
            of_bias = inner.sum(dim=0, dtype=torch.float32).to(bias.dtype)
        return of_attention, of_weight, of_bias, of_x


def _last(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C)"""
    return x.permute(0, 2, 3, 1)


def _rows(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B * H * W, C), a view of a map in channels-last layout."""
    return _last(x).reshape(-1, x.shape[1])


def gated_by_kernel(attention: Tensor, weight: Tensor, bias: Bias, x: Tensor) -> Tensor:
    """(W attention + b) * x, of maps (B, C, H, W), for weight (C, C, 1, 1)."""
    x = x.to(attention.dtype)
    out: Tensor
    if learns(attention, weight, bias, x):
        out = _Gated.apply(attention, weight, bias, x)
    else:
        out = torch.ops.volovan.pointwise(attention, weight, bias, x, "mul", "none")
    return out if x.is_contiguous(memory_format=torch.channels_last) else out.contiguous()
