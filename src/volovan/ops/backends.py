"""Choice of the implementation ("backend") of an operation.

Each operation keeps a tuple of `Backend`, fastest first and the reference last. One function says why a backend
cannot run given inputs; "auto", a named backend and the listing of `backends()` all ask it, so they cannot disagree.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


@dataclass(frozen=True)
class Backend:
    """One implementation of an operation.

    run      takes the checked arguments of the operation and returns its result
    refuse   takes the same arguments; returns None, or the reason why `run` cannot take them (a reference runs all)
    decline  the same, for inputs that `run` could take but where another backend is faster: "auto" passes on,
             a user who names the backend still gets it
    """

    name: str
    run: Callable[..., Tensor]
    refuse: Callable[..., str | None] = lambda *args: None
    decline: Callable[..., str | None] = lambda *args: None


def choose(op: str, table: tuple[Backend, ...], backend: str, args: tuple[Any, ...]) -> Backend:
    """The backend to run: the named one, or for "auto" the first that neither refuses nor declines.

    Raises ValueError when the named backend does not exist or refuses; "auto" ends at the reference and never raises.
    """
    if backend == "auto":
        for known in table:  # a loop, and below, since small layers are called by the hundred
            if known.refuse(*args) is None and known.decline(*args) is None:
                return known
    found = next((b for b in table if b.name == backend), None)
    if found is None:
        raise ValueError(f"{op}: no backend {backend!r}; there are auto, {', '.join(b.name for b in table)}")
    reason = found.refuse(*args)
    if reason is not None:
        raise ValueError(f"{op}: backend {backend!r} cannot run this: {reason}; backend='auto' picks one that can")
    return found


TRITON = find_spec("triton") is not None
INTERPRETED = TRITON and os.environ.get("TRITON_INTERPRET") == "1"
"""whether kernels run in Triton's interpreter, on a CPU and slowly: how tests see them where there is no GPU"""


def refuse_kernel(first: str, *tensors: Tensor | None) -> str | None:
    """Why a kernel in Triton cannot take these tensors, of which the first is called so; None when it can."""
    lead = tensors[0]
    assert lead is not None
    if not TRITON:
        return "triton is not installed"
    if lead.device.type not in (("cuda", "cpu") if INTERPRETED else ("cuda",)):
        return f"{first} is on {lead.device}, not on a GPU"
    if lead.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"{first} is {lead.dtype}, which its sums in float32 would round"
    if compiles():
        return None  # torch.compile sees an operation of torch.library
    return needs_plain_eager(*tensors)


TRIED = os.environ.get("VOLOVAN_KERNELS") == "try"
"""whether "auto" takes kernels on a GPU that have not been measured there, as `make benchmark-gpu` does"""


def decline_kernel(tensor: Tensor) -> str | None:
    """Why "auto" passes on although a kernel could take it."""
    if tensor.device.type == "cuda":
        return None if TRIED else "the kernel has not been measured on a GPU yet; name it, or set VOLOVAN_KERNELS=try"
    return "Triton's interpreter is for tests"


def learns(*tensors: Tensor | None) -> bool:
    """Whether a gradient is wanted of what comes of these."""
    if not torch.is_grad_enabled():
        return False
    return any(t is not None and t.requires_grad for t in tensors)


def gradients_again(
    out: Tensor, inputs: Sequence[Tensor | None], needed: Sequence[bool], grad: Tensor
) -> list[Tensor | None]:
    """Gradients that can be differentiated again, of what the reference gives; None for what needs none."""
    wanted = [tensor for tensor, is_needed in zip(inputs, needed, strict=False) if is_needed and tensor is not None]
    found = iter(torch.autograd.grad(out, wanted, grad, create_graph=True))
    return [next(found) if is_needed else None for _, is_needed in zip(inputs, needed, strict=False)]


def convolution_gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    padding: tuple[int, int],
    wanted: tuple[bool, bool],
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> tuple[Tensor, Tensor]:
    """torch's gradients of the input and the weight of a convolution of stride 1, those that are wanted."""
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, (1, 1), padding, dilation, False, (0, 0), groups, (*wanted, False)
    )
    return of_x, of_weight


def compiles() -> bool:
    """Whether torch.compile looks on, and not torch.export, which goes through it too."""
    return torch.compiler.is_compiling() and not torch.compiler.is_exporting()


def needs_plain_eager(*tensors: Tensor | None) -> str | None:
    """Why hand-written autograd code cannot take these tensors; None when it can.

    Graph capture must see ordinary operations (what torch.jit.trace makes of others cannot be saved), and a
    torch.autograd.Function knows neither function transforms (torch.func), nor forward-mode derivatives, nor tensor
    subclasses such as DTensor or FakeTensor.
    """
    if torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return "torch.compile and torch.export take the reference"
    if torch.jit.is_tracing():
        return "torch.jit.trace takes the reference"
    if torch._C._len_torch_dispatch_stack():
        return "an active dispatch mode (a tracer, a FLOP counter) takes the reference"
    if torch._C._are_functorch_transforms_active():
        return "torch.func transforms take the reference"
    forward_mode = getattr(forward_ad, "_current_level", 0) >= 0  # without one no tensor need be looked at
    for tensor in tensors:
        if tensor is None:
            continue
        if type(tensor) is not Tensor and type(tensor) is not torch.nn.Parameter:
            return "tensor subclasses take the reference"
        if forward_mode and forward_ad.unpack_dual(tensor).tangent is not None:
            return "forward-mode derivatives take the reference"
    return None
