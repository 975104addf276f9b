"""A convolution that ends in what follows it: the product or sum with another map, an activation.

    out = act(conv(x))    out = act(conv(x) * other)    out = act(conv(x) + other)

In networks of convolutions the passes between them cost as much as some of them: GELU alone, over the widest maps,
takes a sixth of VAN-B2 on a CPU. For inference; gradients flow through the reference.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.ops.backends import Backend, choose, decline_kernel, learns, refuse_kernel
from volovan.ops.onednn import (
    ACTIVATIONS,
    AVX512,
    Laid,
    computed_in,
    form_of,
    has,
    in_dtype,
    product,
    refuse_onednn,
)

COMBINES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"mul": torch.mul, "add": torch.add}
"""what may be done with another map, before the activation"""


@dataclass(frozen=True)
class Kernel:
    """Weights of a convolution and how they move over the map, with zero padding.

    weight   (D, C / groups, kh, kw); bias (D,) or None
    stride, padding, dilation  of rows and columns
    """

    weight: Tensor
    bias: Tensor | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


def conv2d_then(
    x: Tensor,
    kernel: Kernel,
    act: str = "none",
    other: Tensor | None = None,
    combine: str = "add",
    laid: Laid | None = None,
    backend: str = "auto",
) -> Tensor:
    """Convolution, then * or + another map, then an activation.

    x        (B, C, H, W)
    act      "none", "relu" or "gelu"
    other    (B, D, h, w), the shape of the result; None: there is none
    combine  "mul" or "add"
    laid     where the weights stay as a backend wants them, so that they are not laid out anew with every call
    backend  "auto", or a name that `volovan.ops.backends` lists
    returns  (B, D, h, w)
    raises   ValueError: an unknown name, another map that does not fit, or the named backend cannot run this
    """
    args = check(x, kernel, act, other, combine, laid)
    return choose("conv2d_then", BACKENDS, backend, args).run(*args)


def check(
    x: Tensor,
    kernel: Kernel,
    act: str = "none",
    other: Tensor | None = None,
    combine: str = "add",
    laid: Laid | None = None,
) -> tuple[Tensor, Kernel, str, Tensor | None, str, Laid | None]:
    """The arguments of every implementation, or ValueError."""
    if act not in ACTIVATIONS:
        raise ValueError(f"conv2d_then: act is {act!r}, expected one of {', '.join(ACTIVATIONS)}")
    if combine not in COMBINES:
        raise ValueError(f"conv2d_then: combine is {combine!r}, expected one of {', '.join(COMBINES)}")
    if other is not None and other.shape[:2] != (x.shape[0], kernel.weight.shape[0]):
        raise ValueError(
            f"conv2d_then: other has shape {tuple(other.shape)}, expected that of the result: "
            f"({x.shape[0]}, {kernel.weight.shape[0]}, h, w)"
        )
    return x, kernel, act, other, combine, laid


def reference(
    x: Tensor, kernel: Kernel, act: str, other: Tensor | None, combine: str, laid: Laid | None = None
) -> Tensor:
    out = F.conv2d(x, kernel.weight, kernel.bias, kernel.stride, kernel.padding, kernel.dilation, kernel.groups)
    return ACTIVATIONS[act](out if other is None else COMBINES[combine](out, other))


# On a CPU, by oneDNN, whose convolutions take along what follows them, for float32 and bfloat16. Weights that are not
# laid out already are at every call: then a 1 x 1 over few positions is done as a product of matrices, which takes them
# as they are. With AVX-512 that is as fast as a convolution over more of them, too, once weights are laid out.

ONEDNN = has("_convolution_pointwise") and has("_linear_pointwise")
FEW = 1024
"""positions of a batch; of 196, 1,280 to 320 channels take 1.03 ms as a convolution, 0.86 as a product"""


def as_product(x: Tensor, kernel: Kernel, laid: Laid | None) -> bool:
    moves = kernel.stride == (1, 1) and kernel.padding == (0, 0) and kernel.groups == 1
    if kernel.weight.shape[2:] != (1, 1) or not moves or not x.is_contiguous(memory_format=torch.channels_last):
        return False
    return AVX512 if laid else x.shape[0] * x.shape[2] * x.shape[3] <= FEW


def refuse(x: Tensor, kernel: Kernel, act: str, other: Tensor | None, combine: str, laid: Laid | None) -> str | None:
    return refuse_onednn(ONEDNN, x, kernel.weight, kernel.bias, other)


def run(x: Tensor, kernel: Kernel, act: str, other: Tensor | None, combine: str, laid: Laid | None) -> Tensor:
    if as_product(x, kernel, laid):
        rows, also = x.permute(0, 2, 3, 1), None if other is None else other.permute(0, 2, 3, 1)
        return product(rows, kernel.weight.flatten(1), kernel.bias, act, also, combine, laid).permute(0, 3, 1, 2)
    dtype, moves = computed_in(x), (kernel.padding, kernel.stride, kernel.dilation, kernel.groups)

    def lay(weight: Tensor) -> Tensor:
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        laid_out: Tensor = reorder(weight.to_mkldnn(), *moves, x.shape)
        return laid_out

    weight = laid.out(kernel.weight, dtype, x.shape, lay) if laid else None
    if weight is None:
        weight = in_dtype(kernel.weight, dtype)
    x, bias = in_dtype(x, dtype), None if kernel.bias is None else in_dtype(kernel.bias, dtype)
    out: Tensor
    if other is None:
        out = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *moves, act, [], form_of(act))
        return out
    out = torch.ops.mkldnn._convolution_pointwise.binary(
        x, in_dtype(other, dtype), weight, bias, *moves, combine, None, None, [], None
    )
    return ACTIVATIONS[act](out)


# On a GPU, in Triton: 1 x 1 (pointwise_triton.py), and depth-wise without another map (depthwise.py).


def refuse_triton(
    x: Tensor, kernel: Kernel, act: str, other: Tensor | None, combine: str, laid: Laid | None
) -> str | None:
    weight, bias = kernel.weight, kernel.bias
    if cannot := refuse_kernel("x", x, weight, bias, other):
        return cannot
    size = tuple(weight.shape[2:])
    keeps = tuple(d * (s - 1) // 2 for d, s in zip(kernel.dilation, size, strict=True)) == tuple(kernel.padding)
    if kernel.stride != (1, 1) or not keeps or kernel.dilation[0] != kernel.dilation[1]:
        return "it takes convolutions of stride 1 that keep the size"
    depthwise = kernel.groups == x.shape[1] == weight.shape[0] and other is None
    if not depthwise and not is_pointwise(kernel):
        return "it takes 1 x 1 convolutions, and depth-wise ones without another map"
    if any(t is not None and t.dtype != x.dtype for t in (weight, bias, other)):
        return f"x is {x.dtype}, and another tensor is not; it takes one dtype"
    if torch.is_autocast_enabled(x.device.type):
        return "autocast takes the reference"
    return "gradients flow through the reference" if learns(x, weight, bias, other) else None


def decline_triton(
    x: Tensor, kernel: Kernel, act: str, other: Tensor | None, combine: str, laid: Laid | None
) -> str | None:
    if other is None and act == "none":
        return "nothing follows that could be done with it"
    if is_pointwise(kernel) and not x.is_contiguous(memory_format=torch.channels_last):
        return "x is not in channels-last layout, which costs two copies"
    return decline_kernel(x)


def is_pointwise(kernel: Kernel) -> bool:
    return kernel.groups == 1 and kernel.weight.shape[2:] == (1, 1)


def by_kernel(x: Tensor, kernel: Kernel, act: str, other: Tensor | None, combine: str, laid: Laid | None) -> Tensor:
    weight, bias = kernel.weight, kernel.bias
    out: Tensor
    if not is_pointwise(kernel):
        out = torch.ops.volovan.depthwise_conv2d(x, weight, bias, kernel.dilation[0], False, act, None)
        return out
    out = torch.ops.volovan.pointwise(x, weight, bias, other, combine, act)
    return out if x.is_contiguous(memory_format=torch.channels_last) else out.contiguous()


BACKENDS = (
    Backend("onednn", run, refuse),
    Backend("triton", by_kernel, refuse_triton, decline_triton),
    Backend("reference", reference),
)
