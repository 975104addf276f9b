"""Depth-wise convolution and the large kernel attention that is made of it.

VAN, arXiv 2202.09741, section 3.1: a large convolution is split in a depth-wise, a depth-wise dilated and a
1 x 1 convolution, and their result gates the input:

    attention = PW(DWD(DW(x)))
    out       = attention * x
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.ops.backends import (
    Backend,
    choose,
    compiles,
    decline_kernel,
    gradients_again,
    learns,
    needs_plain_eager,
    refuse_kernel,
)
from volovan.ops.convolution import ACTIVATIONS, Kernel, conv2d_then
from volovan.ops.depthwise_columns import convolve, gains
from volovan.ops.onednn import BFLOAT16, computed_in
from volovan.ops.pointwise import gated_by_kernel

Bias = Tensor | None
"""(C,) or None"""


def depthwise_conv2d(
    x: Tensor, weight: Tensor, bias: Bias = None, dilation: int = 1, act: str = "none", backend: str = "auto"
) -> Tensor:
    """Convolve each channel with its own kernel, stride 1, zero padding that keeps the size; then an activation.

    x        (B, C, H, W)
    weight   (C, 1, kh, kw), dilation * (kh - 1) and dilation * (kw - 1) even
    bias     (C,) or None
    act      "none", "relu" or "gelu"
    backend  "auto", or a name that `volovan.ops.backends` lists
    returns  (B, C, H, W)
    raises   ValueError: shapes disagree, no symmetric padding, an unknown name, or the named backend cannot run this
    """
    args = check_depthwise(x, weight, bias, dilation, act)
    return choose("depthwise_conv2d", DEPTHWISE, backend, args).run(*args)


def large_kernel_attention(
    x: Tensor,
    dw: Tensor,
    dw_bias: Bias,
    dwd: Tensor,
    dwd_bias: Bias,
    pw: Tensor,
    pw_bias: Bias,
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
    return choose("large_kernel_attention", LKA, backend, args).run(*args)


def check_depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Bias = None,
    dilation: int = 1,
    act: str = "none",
    op: str = "depthwise_conv2d",
    name: str = "weight",
) -> tuple[Tensor, Tensor, Bias, int, str]:
    """The arguments of every implementation, or ValueError."""
    if act not in ACTIVATIONS:
        raise ValueError(f"{op}: act is {act!r}, expected one of {', '.join(ACTIVATIONS)}")
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
    return x, weight, bias, dilation, act


def check_lka(
    x: Tensor, dw: Tensor, dw_bias: Bias, dwd: Tensor, dwd_bias: Bias, pw: Tensor, pw_bias: Bias, dilation: int = 3
) -> tuple[Any, ...]:
    """The arguments of every implementation, or ValueError."""
    op = "large_kernel_attention"
    check_depthwise(x, dw, dw_bias, 1, op=op, name="dw")
    check_depthwise(x, dwd, dwd_bias, dilation, op=op, name="dwd")
    channels = x.shape[1]
    if tuple(pw.shape) != (channels, channels, 1, 1):
        raise ValueError(f"{op}: pw has shape {tuple(pw.shape)}, expected ({channels}, {channels}, 1, 1)")
    if pw_bias is not None and tuple(pw_bias.shape) != (channels,):
        raise ValueError(f"{op}: bias of pw has shape {tuple(pw_bias.shape)}, expected ({channels},)")
    return x, dw, dw_bias, dwd, dwd_bias, pw, pw_bias, dilation


def depthwise_reference(x: Tensor, weight: Tensor, bias: Bias, dilation: int, act: str = "none") -> Tensor:
    padding = [dilation * (size - 1) // 2 for size in weight.shape[2:]]
    return ACTIVATIONS[act](F.conv2d(x, weight, bias, padding=padding, dilation=dilation, groups=weight.shape[0]))


def gated_then(attention: Tensor, pw: Tensor, pw_bias: Bias, x: Tensor) -> Tensor:
    return conv2d_then(attention, Kernel(pw, pw_bias), other=x, combine="mul")


def gated(attention: Tensor, pw: Tensor, pw_bias: Bias, x: Tensor) -> Tensor:
    return F.conv2d(attention, pw, pw_bias) * x


def lka(convolve: Callable[..., Tensor], gate: Callable[..., Tensor], x: Tensor, *args: Any) -> Tensor:
    """Large kernel attention whose depth-wise parts are `convolve`, and whose last part and product with x are `gate`;
    args: those behind x that `check_lka` gives."""
    dw, dw_bias, dwd, dwd_bias, pw, pw_bias, dilation = args
    attention = convolve(x, dw, dw_bias, 1)
    attention = convolve(attention, dwd, dwd_bias, dilation)
    return gate(attention, pw, pw_bias, x)


# On a CPU, compiled too. torch's depth-wise convolution is fast there without dilation, several times slower with one.
# A dilated convolution is the same undilated one on each of the d x d maps that every d-th pixel makes up ("phases"),
# so these are laid side by side in the batch, in channels-last layout. The result has the memory format of the input.


def refuse(x: Tensor, weight: Tensor, bias: Bias, dilation: int, act: str = "none") -> str | None:
    if x.device.type != "cpu":
        return f"x is on {x.device}, not on a CPU"
    if any(size % 2 == 0 for size in weight.shape[2:]):
        return f"a dilated kernel of even size {tuple(weight.shape[2:])} reads across phases"
    return None if compiles() else needs_plain_eager(x, weight, bias)  # its operations are ordinary ones


def decline(x: Tensor, weight: Tensor, bias: Bias, dilation: int, act: str = "none") -> str | None:
    if x.dtype not in (torch.float32, torch.bfloat16):
        return f"in {x.dtype} the reference is faster"
    if dilation == 1 and act == "none" and not emulated(x) and not gains(weight):
        return "without dilation, and without a gradient of wide weights, the reference is as fast"
    return None


def emulated(x: Tensor) -> bool:
    """Whether a convolution of x is one of bfloat16 on a processor without it, where it takes up to 100 times as long
    as one of float32."""
    return computed_in(x) == torch.bfloat16 and not BFLOAT16


def refuse_lka(x: Tensor, *args: Any) -> str | None:
    dw, dw_bias, dwd, dwd_bias, pw, pw_bias, dilation = args
    return refuse(x, dwd, dwd_bias, dilation) or (None if compiles() else needs_plain_eager(dw, dw_bias, pw, pw_bias))


def decline_lka(x: Tensor, *args: Any) -> str | None:
    return decline(x, args[2], args[3], args[-1])


def by_phases(x: Tensor, weight: Tensor, bias: Bias, dilation: int, act: str = "none") -> Tensor:
    if emulated(x) or torch.is_autocast_enabled("cpu"):
        dtype = computed_in(x)
        inside = torch.float32 if emulated(x) else dtype
        own_bias = None if bias is None else bias.to(inside)
        with torch.autocast("cpu", enabled=False):
            return by_phases(x.to(inside), weight.to(inside), own_bias, dilation, act).to(dtype)
    if dilation == 1:
        if gains(weight):
            return ACTIVATIONS[act](convolve(x, weight, bias))
        padding = weight.shape[2] // 2, weight.shape[3] // 2
        return conv2d_then(x, Kernel(weight, bias, padding=padding, groups=weight.shape[0]), act)
    if act != "none":
        return ACTIVATIONS[act](by_phases(x, weight, bias, dilation))
    B, C, H, W = x.shape
    d, h, w = dilation, -(-H // dilation), -(-W // dilation)
    phases = F.pad(x, (0, w * d - W, 0, h * d - H)).reshape(B, C, h, d, w, d)
    phases = phases.permute(0, 3, 5, 2, 4, 1).reshape(B * d * d, h, w, C).permute(0, 3, 1, 2)
    out = convolve(phases, weight, bias).unflatten(0, (B, d, d))  # B, d, d, C, h, w
    if x.is_contiguous():
        out = out.permute(0, 3, 4, 1, 5, 2).reshape(B, C, h * d, w * d)
        return out[:, :, :H, :W].contiguous()
    out = out.permute(0, 4, 1, 5, 2, 3).reshape(B, h * d, w * d, C)
    return out[:, :H, :W].contiguous().permute(0, 3, 1, 2)


# On a GPU, in Triton, which is imported with the first use: depthwise_triton.py for maps in channels-last layout,
# depthwise_planes_triton.py for others. torch.compile sees two operations of torch.library. The result has the memory
# format of the input.

_library = torch.library.Library("volovan", "FRAGMENT")
_library.define(
    "depthwise_conv2d(Tensor x, Tensor weight, Tensor? bias, int dilation, bool turned, str act, Tensor? grad)"
    " -> Tensor"
)
_library.define("depthwise_conv2d_weight(Tensor x, Tensor grad, int[] kernel, int dilation) -> (Tensor, Tensor)")


def channels_last(x: Tensor) -> bool:
    """Whether a map is taken as one in channels-last layout; one that is neither is laid so."""
    return x.is_contiguous(memory_format=torch.channels_last) or not x.is_contiguous()


def _kernels(x: Tensor) -> Any:
    """The module of those for the layout of a map."""
    from volovan.ops import depthwise_planes_triton, depthwise_triton

    return depthwise_triton if channels_last(x) else depthwise_planes_triton


def _convolve(x: Tensor, *args: Any) -> Tensor:
    found: Tensor = _kernels(x).convolve(x, *args)
    return found


def _weight_gradient(x: Tensor, grad: Tensor, kernel: list[int], dilation: int) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] = _kernels(x).weight_gradient(x, grad, kernel, dilation)
    return found


_library.impl("depthwise_conv2d", _convolve, "CompositeExplicitAutograd")
_library.impl("depthwise_conv2d_weight", _weight_gradient, "CompositeExplicitAutograd")


@torch.library.register_fake("volovan::depthwise_conv2d", lib=_library)
def _(x: Tensor, weight: Tensor, bias: Bias, dilation: int, turned: bool, act: str, grad: Tensor | None) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last if channels_last(x) else torch.contiguous_format)


@torch.library.register_fake("volovan::depthwise_conv2d_weight", lib=_library)
def _(x: Tensor, grad: Tensor, kernel: list[int], dilation: int) -> tuple[Tensor, Tensor]:
    channels = x.shape[1]
    return x.new_empty((channels, 1, *kernel), dtype=torch.float32), x.new_empty(channels, dtype=torch.float32)


class _TritonDepthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Bias, dilation: int, act: str) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.dilation, ctx.act = dilation, act
        found: Tensor = torch.ops.volovan.depthwise_conv2d(x, weight, bias, dilation, False, act, None)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # create_graph=True
            own_bias = None if bias is None else bias.to(x.dtype)
            out = depthwise_reference(x, weight.to(x.dtype), own_bias, ctx.dilation, ctx.act)
            return (*gradients_again(out, (x, weight, bias), needed, grad), None, None)
        if ctx.act != "none":
            grad = torch.ops.volovan.depthwise_conv2d(x, weight, bias, ctx.dilation, False, ctx.act, grad)
        of_x = of_weight = of_bias = None
        if needed[0]:
            of_x = torch.ops.volovan.depthwise_conv2d(grad, weight, None, ctx.dilation, True, "none", None)
        if needed[1] or needed[2]:
            sums = torch.ops.volovan.depthwise_conv2d_weight(x, grad, list(weight.shape[2:]), ctx.dilation)
            of_weight, of_bias = (own.to(weight.dtype) for own in sums)
        return of_x, of_weight if needed[1] else None, of_bias if needed[2] else None, None, None


def by_kernel(x: Tensor, weight: Tensor, bias: Bias, dilation: int, act: str = "none") -> Tensor:
    if torch.is_autocast_enabled(x.device.type):  # of the weights, products in float32 need no copy
        x = x.to(torch.get_autocast_dtype(x.device.type))
    if learns(x, weight, bias):
        out: Tensor = _TritonDepthwise.apply(x, weight, bias, dilation, act)
    else:
        out = torch.ops.volovan.depthwise_conv2d(x, weight, bias, dilation, False, act, None)
    return out


def gated_there(attention: Tensor, pw: Tensor, pw_bias: Bias, x: Tensor) -> Tensor:
    """In torch's default layout the product of matrices is the vendor's: the kernel would copy maps twice."""
    return (gated_by_kernel if channels_last(x) else gated)(attention, pw, pw_bias, x)


def refuse_triton(x: Tensor, weight: Tensor, bias: Bias, dilation: int, act: str = "none") -> str | None:
    mixed = any(t is not None and t.dtype != x.dtype for t in (weight, bias))
    if mixed and not torch.is_autocast_enabled(x.device.type):
        return f"x is {x.dtype}, and weight or bias is not; outside of autocast it takes one dtype"
    return refuse_kernel("x", x, weight, bias)


def decline_triton(x: Tensor, *args: Any) -> str | None:
    return decline_kernel(x)


def refuse_triton_lka(x: Tensor, *args: Any) -> str | None:
    dw, dw_bias, dwd, dwd_bias, _, _, dilation = args
    return refuse_triton(x, dw, dw_bias, 1) or refuse_triton(x, dwd, dwd_bias, dilation)


DEPTHWISE = (
    Backend("triton", by_kernel, refuse_triton, decline_triton),
    Backend("cpu", by_phases, refuse, decline),
    Backend("reference", depthwise_reference),
)
LKA = (
    Backend("triton", partial(lka, by_kernel, gated_there), refuse_triton_lka, decline_triton),
    Backend("cpu", partial(lka, by_phases, gated_then), refuse_lka, decline_lka),
    Backend("reference", partial(lka, depthwise_reference, gated)),
)
