"""What ends a block: the layer scale of its branch, drop path, and the shortcut.

    out = x + branch * scale * keep

scale is one number of each channel (CaiT, arXiv 2103.17239), keep one of each sample (stochastic depth, arXiv
1603.09382): 0, or 1 divided by the share of samples that are kept.
"""

from functools import reduce
from typing import Any

import torch
from torch import Tensor

from volovan.ops.backends import Backend, choose, compiles, decline_kernel, gradients_again, learns, refuse_kernel


def add_branch(
    x: Tensor, branch: Tensor, scale: Tensor | None = None, keep: Tensor | None = None, backend: str = "auto"
) -> Tensor:
    """x + branch * scale * keep, of maps with channels last.

    x, branch  (B, ..., C)
    scale      (C,) or None; keep (B,) or None
    backend    "auto", or a name that `volovan.ops.backends` lists
    returns    (B, ..., C)
    raises     ValueError: shapes disagree, or the named backend cannot run this
    """
    args = check(x, branch, scale, keep)
    return choose("add_branch", BACKENDS, backend, args).run(*args)


def check(
    x: Tensor, branch: Tensor, scale: Tensor | None = None, keep: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """The arguments of every implementation, or ValueError."""
    if x.dim() < 2 or x.shape != branch.shape:
        raise ValueError(
            f"add_branch: x has shape {tuple(x.shape)} and branch {tuple(branch.shape)}, expected the same (B, ..., C)"
        )
    for name, own, length in (("scale", scale, x.shape[-1]), ("keep", keep, x.shape[0])):
        if own is not None and tuple(own.shape) != (length,):
            raise ValueError(f"add_branch: {name} has shape {tuple(own.shape)}, expected ({length},)")
    return x, branch, scale, keep


def reference(x: Tensor, branch: Tensor, scale: Tensor | None, keep: Tensor | None) -> Tensor:
    if scale is not None:
        branch = branch * scale
    if keep is not None:
        branch = branch * keep.view(-1, *[1] * (x.dim() - 1))
    return x + branch


# On a GPU, in Triton (residual_triton.py, which is imported with the first use). torch.compile makes one pass of the
# reference by itself, and puts what stands around into it.

_library = torch.library.Library("volovan", "FRAGMENT")
_library.define("add_branch(Tensor x, Tensor branch, Tensor? scale, Tensor? keep) -> Tensor")
_library.define("add_branch_backward(Tensor grad, Tensor branch, Tensor? scale, Tensor? keep) -> (Tensor, Tensor)")


def _add(x: Tensor, branch: Tensor, scale: Tensor | None, keep: Tensor | None) -> Tensor:
    from volovan.ops import residual_triton

    shape = x.shape
    out = torch.empty(shape, dtype=widest(x, branch, scale, keep), device=x.device)
    residual_triton.add(_places(x), _places(branch), scale, keep, _places(out))
    return out


def _backward(grad: Tensor, branch: Tensor, scale: Tensor | None, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    from volovan.ops import residual_triton

    of_branch, of_scale = residual_triton.gradients(_places(grad), _places(branch), scale, keep)
    return of_branch.view(branch.shape), of_scale


def widest(*tensors: Tensor | None) -> torch.dtype:
    """The dtype of a sum of these."""
    return reduce(torch.promote_types, (t.dtype for t in tensors if t is not None))


def _places(x: Tensor) -> Tensor:
    """(B, ..., C) -> (B, N, C)"""
    return x.reshape(x.shape[0], x.shape[1:-1].numel(), x.shape[-1]).contiguous()


_library.impl("add_branch", _add, "CompositeExplicitAutograd")
_library.impl("add_branch_backward", _backward, "CompositeExplicitAutograd")


@torch.library.register_fake("volovan::add_branch", lib=_library)
def _(x: Tensor, branch: Tensor, scale: Tensor | None, keep: Tensor | None) -> Tensor:
    return x.new_empty(x.shape, dtype=widest(x, branch, scale, keep))


@torch.library.register_fake("volovan::add_branch_backward", lib=_library)
def _(grad: Tensor, branch: Tensor, scale: Tensor | None, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    return branch.new_empty(branch.shape), branch.new_empty(branch.shape[-1], dtype=torch.float32)


class _TritonAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, branch: Tensor, scale: Tensor | None, keep: Tensor | None) -> Tensor:
        ctx.save_for_backward(branch, scale, keep)
        ctx.dtype = x.dtype
        found: Tensor = torch.ops.volovan.add_branch(x, branch, scale, keep)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        branch, scale, keep = ctx.saved_tensors
        needed = ctx.needs_input_grad
        of_x = grad.to(ctx.dtype) if needed[0] else None
        if torch.is_grad_enabled():  # create_graph=True
            out = reference(torch.zeros_like(branch), branch, scale, keep)
            return of_x, *gradients_again(out, (branch, scale), needed[1:3], grad), None
        if not (needed[1] or needed[2]):
            return of_x, None, None, None
        of_branch, of_scale = torch.ops.volovan.add_branch_backward(grad, branch, scale, keep)
        return of_x, of_branch, None if scale is None else of_scale.to(scale.dtype), None


def by_kernel(x: Tensor, branch: Tensor, scale: Tensor | None, keep: Tensor | None) -> Tensor:
    if learns(x, branch, scale):
        out: Tensor = _TritonAdd.apply(x, branch, scale, keep)
        return out
    found: Tensor = torch.ops.volovan.add_branch(x, branch, scale, keep)
    return found


def refuse_triton(x: Tensor, branch: Tensor, scale: Tensor | None, keep: Tensor | None) -> str | None:
    if keep is not None and keep.requires_grad:
        return "keep needs a gradient"
    return refuse_kernel("x", x, branch, scale, keep)


def decline_triton(x: Tensor, branch: Tensor, scale: Tensor | None, keep: Tensor | None) -> str | None:
    if compiles():
        return "torch.compile makes one pass of the reference"
    if not (x.is_contiguous() and branch.is_contiguous()):
        return "channels do not lie last in memory"
    return decline_kernel(x)


BACKENDS = (Backend("triton", by_kernel, refuse_triton, decline_triton), Backend("reference", reference))
