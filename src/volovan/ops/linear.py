"""A linear layer that ends in what follows it: the sum with another tensor, an activation.

    out = act(x W^T + b)    out = act(x W^T + b + other)

For inference; gradients flow through the reference. With AVX-512 oneDNN is a tenth faster than torch's own product of
float32, a little more where weights stay in its layout, and takes GELU and the shortcut along. Without AVX-512 it is by
a twentieth, and only where weights stay in its layout.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.ops.backends import Backend, choose, compiles
from volovan.ops.onednn import ACTIVATIONS, AVX512, Laid, computed_in, has, product, refuse_onednn

ONEDNN = has("_linear_pointwise") and has("_reorder_linear_weight")


def linear_then(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    act: str = "none",
    other: Tensor | None = None,
    laid: Laid | None = None,
    backend: str = "auto",
) -> Tensor:
    """Linear layer on the last axis, then + another tensor, then an activation.

    x        (..., C)
    weight   (D, C), bias (D,) or None
    act      "none", "relu" or "gelu"
    other    (..., D), the shape of the result; None: there is none
    laid     where the weights stay as a backend wants them, so that they are not laid out anew with every call
    backend  "auto", or a name that `volovan.ops.backends` lists
    returns  (..., D)
    raises   ValueError: an unknown name, another tensor that does not fit, or the named backend cannot run this
    """
    args = check(x, weight, bias, act, other, laid)
    return choose("linear_then", BACKENDS, backend, args).run(*args)


def check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    act: str = "none",
    other: Tensor | None = None,
    laid: Laid | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, str, Tensor | None, Laid | None]:
    """The arguments of every implementation, or ValueError."""
    if act not in ACTIVATIONS:
        raise ValueError(f"linear_then: act is {act!r}, expected one of {', '.join(ACTIVATIONS)}")
    if other is not None and tuple(other.shape) != (shape := (*x.shape[:-1], weight.shape[0])):
        raise ValueError(f"linear_then: other has shape {tuple(other.shape)}, expected that of the result: {shape}")
    return x, weight, bias, act, other, laid


def reference(
    x: Tensor, weight: Tensor, bias: Tensor | None, act: str, other: Tensor | None, laid: Laid | None = None
) -> Tensor:
    out = F.linear(x, weight, bias)
    return ACTIVATIONS[act](out if other is None else out + other)


# On a CPU, by oneDNN. torch.compile sees an operation of torch.library.

_library = torch.library.Library("volovan", "FRAGMENT")
_library.define("linear_then(Tensor x, Tensor weight, Tensor? bias, str act, Tensor? other) -> Tensor")
_library.impl("linear_then", lambda x, weight, bias, act, other: product(x, weight, bias, act, other), "CPU")


@torch.library.register_fake("volovan::linear_then", lib=_library)
def _(x: Tensor, weight: Tensor, bias: Tensor | None, act: str, other: Tensor | None) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


def refuse(
    x: Tensor, weight: Tensor, bias: Tensor | None, act: str, other: Tensor | None, laid: Laid | None
) -> str | None:
    return refuse_onednn(ONEDNN, x, weight, bias, other, operation=not torch.is_autocast_enabled("cpu"))


def decline(
    x: Tensor, weight: Tensor, bias: Tensor | None, act: str, other: Tensor | None, laid: Laid | None
) -> str | None:
    if not AVX512 and laid is None:
        return "without AVX-512 torch's own product of weights that are not laid out is as fast"
    dtype = computed_in(x)
    return None if dtype == torch.float32 else f"of {dtype} torch takes oneDNN by itself"


def run(x: Tensor, weight: Tensor, bias: Tensor | None, act: str, other: Tensor | None, laid: Laid | None) -> Tensor:
    if compiles():
        found: Tensor = torch.ops.volovan.linear_then(x, weight, bias, act, other)
        return found
    return product(x, weight, bias, act, other, "add", laid)


BACKENDS = (Backend("onednn", run, refuse, decline), Backend("reference", reference))
