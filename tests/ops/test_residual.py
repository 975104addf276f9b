"""Layer scale, drop path and shortcut in one pass, against the reference and against what blocks did before."""

import random

import pytest
import torch
from torch.testing import assert_close

from golden_operations import HALVES, SEEDS, errors
from golden_operations import KERNELS_ON as DEVICE
from volovan.models.layers import DropPath
from volovan.models.van import add_scaled
from volovan.ops import add_branch, backends

pytest.importorskip("triton")


def inputs(shape, dtype=torch.float32, seed=0):
    """x, branch, scale, keep and the gradient of the result."""
    generator = torch.Generator().manual_seed(seed)
    x, branch, grad = (torch.randn(shape, generator=generator).to(DEVICE, dtype) for _ in range(3))
    scale = torch.randn(shape[-1], generator=generator).to(DEVICE, dtype)
    keep = (torch.rand(shape[0], generator=generator) < 0.7).to(DEVICE, dtype) / 0.7
    return x, branch, scale, keep, grad


def run(backend, x, branch, scale, keep, grad):
    leaves = [tensor.detach().requires_grad_() for tensor in (x, branch, scale) if tensor is not None]
    out = add_branch(*leaves[:2], scale if scale is None else leaves[2], keep, backend=backend)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


@pytest.mark.parametrize("seed", SEEDS)
def test_any_shape(seed):
    draw = random.Random(seed)
    middle = [draw.randint(1, 9) for _ in range(draw.randint(0, 2))]
    x, branch, scale, keep, grad = inputs((draw.randint(1, 3), *middle, draw.choice([1, 3, 64, 70])), seed=seed)
    scale, keep = draw.choice([scale, None]), draw.choice([keep, None])
    found = run("triton", x, branch, scale, keep, grad)
    wide = [None if tensor is None else tensor.double() for tensor in (x, branch, scale, keep, grad)]
    for own, right in zip(found, run("reference", *wide), strict=True):
        assert_close(own.double(), right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_low_precision_error_is_at_most_twice_that_of_the_reference(dtype):
    tensors = inputs((2, 9, 70), dtype)
    exact = run("reference", *(tensor.double() for tensor in tensors))
    for own, theirs in zip(
        errors(run("triton", *tensors), exact), errors(run("reference", *tensors), exact), strict=True
    ):
        assert own <= 2 * theirs


def test_a_shortcut_in_float32_and_a_branch_in_bfloat16_as_under_autocast():
    x, branch, scale, keep, grad = inputs((2, 5, 6))
    mixed = x, branch.bfloat16(), scale, keep, grad
    found, expected = run("triton", *mixed), run("reference", *mixed)
    assert [own.dtype for own in found] == [own.dtype for own in expected]
    for own, right in zip(found, expected, strict=True):
        assert_close(own, right, atol=0.02, rtol=0.02)


def test_second_derivatives():
    x, branch, scale, keep, _ = inputs((2, 3, 4))
    found = []
    for backend in ("triton", "reference"):
        leaf = scale.detach().requires_grad_()
        out = add_branch(x, branch, leaf, keep, backend=backend).square().sum()
        (first,) = torch.autograd.grad(out, leaf, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), leaf)[0])
    assert_close(*found, atol=1e-3, rtol=1e-4)


def test_operations_hold_to_the_rules_of_torch():
    x, branch, scale, keep, grad = inputs((2, 3, 4))
    torch.library.opcheck(torch.ops.volovan.add_branch, (x, branch, scale, None))
    torch.library.opcheck(torch.ops.volovan.add_branch, (x, branch.bfloat16(), None, keep))
    torch.library.opcheck(torch.ops.volovan.add_branch_backward, (grad, branch, scale, keep))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("scaled", [True, False])
def test_a_block_ends_bit_by_bit_as_in_three_passes(layout, scaled):
    """Also in the random numbers that drop path draws."""
    x, branch = (torch.randn(4, 6, 5, 3).contiguous(memory_format=layout) for _ in range(2))
    scale = torch.rand(6) if scaled else None
    drop = DropPath(0.4).train()
    torch.manual_seed(0)
    found = add_scaled(x, branch, scale, drop)
    torch.manual_seed(0)
    expected = x + drop(branch if scale is None else branch * scale[:, None, None])
    assert torch.equal(found, expected)
    assert found.stride() == expected.stride()
    drop.register_forward_hook(lambda module, given, out: out * 0)
    assert torch.equal(add_scaled(x, branch, scale, drop), x)


def test_what_does_not_fit_is_said():
    x, branch, scale, keep, _ = inputs((2, 3, 4))
    with pytest.raises(ValueError, match=r"x has shape \(2, 3, 4\) and branch \(2, 3, 3\)"):
        add_branch(x, branch[..., :3])
    with pytest.raises(ValueError, match=r"scale has shape \(2,\), expected \(4,\)"):
        add_branch(x, branch, keep)
    with pytest.raises(ValueError, match=r"keep has shape \(4,\), expected \(2,\)"):
        add_branch(x, branch, None, scale)
    assert "channels do not lie last" in backends("add_branch", x.transpose(1, 2), branch.transpose(1, 2))["triton"]
