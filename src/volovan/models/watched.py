"""When a fused operation may stand in for the modules whose weights it reads.

A fused operation reads weights and calls no module. All that hangs on the call would be passed over without a word:
hooks (of cost counters, pruning, quantization, FSDP2), an adapter in the place of the module, a tracer that writes down
which module an operation came from. So every fused path asks here first, and calls its modules where the answer is no.
"""

from typing import TypeGuard

import torch
from torch import nn
from torch.nn.modules import module as hooks_of_all

_CALL = nn.Module.__call__  # torch.fx and some graph viewers put their own in its place while they look


def watched(module: nn.Module) -> bool:
    """Whether something hangs on its call: a hook on it, or a `forward` put into the instance."""
    return "forward" in module.__dict__ or bool(
        module._forward_pre_hooks or module._forward_hooks or module._backward_pre_hooks or module._backward_hooks
    )


def nobody_looks() -> bool:
    """Whether no hook is set on all modules, and nothing traces their calls.

    torch.compile is no tracer here: it looks at the same hooks, and may take the fused operation.
    """
    return (
        not (
            hooks_of_all._global_forward_pre_hooks
            or hooks_of_all._global_forward_hooks
            or hooks_of_all._global_backward_pre_hooks
            or hooks_of_all._global_backward_hooks
        )
        and nn.Module.__call__ is _CALL
        and not torch.compiler.is_exporting()
        and not torch.jit.is_tracing()
    )


def plain_conv(module: nn.Module, groups: int) -> TypeGuard[nn.Conv2d]:
    """Whether `module` is an nn.Conv2d that keeps the shape by stride 1 and zero padding (any dilation), and nobody can
    tell if it is called or computed from its weights.

    It is no subclass, has no `forward` put into the instance, and nothing watches it. Its settings are asked too, since
    a conv may be replaced, or get another stride, dilation or padding later.
    """
    return (
        type(module) is nn.Conv2d
        and not watched(module)
        and nobody_looks()
        and (groups == 1 or module.in_channels == module.out_channels)
        and module.groups == groups
        and module.stride == (1, 1)
        and module.dilation[0] == module.dilation[1]
        and module.padding == tuple(module.dilation[0] * (size - 1) // 2 for size in module.kernel_size)
        and module.padding_mode == "zeros"
    )
