"""What operations by oneDNN share: products of matrices, weights in its own layouts, and what it can take.

torch promises nothing about the calls behind them, which torch.compile puts in by itself where it freezes weights:
hence the look if they are there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.ops.backends import compiles, learns, needs_plain_eager


def has(operation: str) -> bool:
    """Whether this torch has oneDNN, and an operation of it."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, operation)


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"none": lambda x: x, "relu": F.relu, "gelu": F.gelu}
"""name -> function, with which a layer may end; "gelu" is the exact one"""
BFLOAT16 = has("_is_mkldnn_bf16_supported") and torch.ops.mkldnn._is_mkldnn_bf16_supported()
"""whether this processor has what oneDNN needs for it: not with the instructions of AVX2 alone"""
AVX512 = torch.backends.cpu.get_cpu_capability() == "AVX512"


@dataclass
class Laid:
    """Weights of one layer in oneDNN's own layouts. They do not follow when the weights are changed.

    A layout suits the shape that it was chosen for; for another one it is turned back at every call, which costs ten
    times what it saves. So each shape has its own, and from MOST on weights stay as they are.
    """

    MOST: ClassVar[int] = 3
    kept: dict[Any, Tensor] = field(default_factory=dict)

    def out(self, weight: Tensor, dtype: torch.dtype, size: Any, lay: Callable[[Tensor], Tensor]) -> Tensor | None:
        """The weight in a dtype, laid out by `lay` for inputs of a size; None: there are enough of them."""
        found = self.kept.get((dtype, size))
        if found is None and len(self.kept) < self.MOST:
            found = self.kept[dtype, size] = lay(weight.to(dtype))
        return found


def computed_in(x: Tensor) -> torch.dtype:
    """What a layer computes in: under autocast not the dtype of x."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def in_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """tensor.to(dtype), a microsecond sooner where there is nothing to do: layers are called by the hundred."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def refuse_onednn(
    there: bool, x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor | None, operation: bool = False
) -> str | None:
    """Why oneDNN cannot take a layer; None when it can.

    there      whether this torch has what it is done by
    operation  whether torch.compile sees an operation of torch.library
    """
    if not there:
        return "this torch has no oneDNN"
    if x.device.type != "cpu":
        return f"x is on {x.device}, not on a CPU"
    dtype = computed_in(x)
    if dtype not in (torch.float32, torch.bfloat16):
        return f"x is {x.dtype}, it takes float32 and bfloat16"
    if dtype == torch.bfloat16 and not BFLOAT16:
        return "of bfloat16 it asks for AVX-512"
    if weight.dtype != x.dtype and not torch.is_autocast_enabled("cpu"):
        return f"x is {x.dtype} and weight {weight.dtype}; outside of autocast it takes one dtype"
    if learns(x, weight, bias, other):
        return "gradients flow through the reference"
    return None if compiles() and operation else needs_plain_eager(x, weight, bias, other)


def form_of(act: str) -> str:
    """What oneDNN asks besides: the exact GELU is called so, the other form is "tanh"."""
    return "none" if act == "gelu" else ""


def product(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    act: str = "none",
    other: Tensor | None = None,
    combine: str = "add",
    laid: Laid | None = None,
) -> Tensor:
    """act(x W^T + b), or act((x W^T + b) * or + other).

    x (..., C), weight (D, C), bias (D,) or None, other (..., D) or None -> (..., D)
    """
    dtype, rows = computed_in(x), x.shape[:-1].numel()
    lay: Any = torch.ops.mkldnn._reorder_linear_weight
    own = laid.out(weight, dtype, rows, lambda w: lay(w, rows)) if laid and rows else None
    own = in_dtype(weight, dtype) if own is None else own
    x, bias = in_dtype(x, dtype), None if bias is None else in_dtype(bias, dtype)
    out: Tensor
    if other is not None:
        out = torch.ops.mkldnn._linear_pointwise.binary(x, in_dtype(other, dtype), own, bias, combine)
        return ACTIVATIONS[act](out)
    if act == "gelu" and not AVX512:  # its own GELU is slow there: 784 x 192 to 576, batch 8, takes 10.3 ms, so 9.2
        out = torch.ops.mkldnn._linear_pointwise(x, own, bias, "none", [], "")
        return torch.ops.aten.gelu_(out)
    out = torch.ops.mkldnn._linear_pointwise(x, own, bias, act, [], form_of(act))
    return out
