"""The two attentions as functions: tensors in, tensors out.

outlook_attention       VOLO, arXiv 2106.13112
large_kernel_attention  VAN, arXiv 2202.09741
depthwise_conv2d        the convolution that the second is made of
conv2d_then             a convolution that ends in a gate, a shortcut or an activation
linear_then             the same of a linear layer
add_branch              layer scale, drop path and shortcut at the end of a block
backends                which implementation can run given inputs, and why the others cannot
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from volovan.ops import convolution, depthwise, linear, outlook, residual
from volovan.ops.convolution import conv2d_then
from volovan.ops.depthwise import depthwise_conv2d, large_kernel_attention
from volovan.ops.linear import linear_then
from volovan.ops.outlook import outlook_attention
from volovan.ops.residual import add_branch

__all__ = [
    "add_branch",
    "backends",
    "conv2d_then",
    "depthwise_conv2d",
    "large_kernel_attention",
    "linear_then",
    "outlook_attention",
]

_OPERATIONS: dict[str, Any] = {  # what checks the arguments, and what may then run them
    "outlook_attention": (outlook.check, outlook.BACKENDS),
    "depthwise_conv2d": (depthwise.check_depthwise, depthwise.DEPTHWISE),
    "large_kernel_attention": (depthwise.check_lka, depthwise.LKA),
    "conv2d_then": (convolution.check, convolution.BACKENDS),
    "linear_then": (linear.check, linear.BACKENDS),
    "add_branch": (residual.check, residual.BACKENDS),
}


def backends(op: str | Callable[..., Tensor], *inputs: Any, **options: Any) -> dict[str, str]:
    """Every backend of an operation with "ok", or the reason why it cannot run (or "auto" would not take) these inputs.

    op       the operation or its name: "outlook_attention", "depthwise_conv2d", "large_kernel_attention",
             "conv2d_then", "linear_then", "add_branch"
    inputs   the arguments that the operation would get, options likewise; `backend` is ignored
    returns  {"reference": "ok", "cpu": "value is on cuda, ..."}
    raises   ValueError: unknown operation, or inputs that the operation itself would refuse
    """
    name = op if isinstance(op, str) else getattr(op, "__name__", str(op))
    if name not in _OPERATIONS:
        raise ValueError(f"backends: no operation {name!r}; there are {', '.join(_OPERATIONS)}")
    check, known = _OPERATIONS[name]
    options.pop("backend", None)
    args = check(*inputs, **options)
    return {b.name: b.refuse(*args) or b.decline(*args) or "ok" for b in known}
