"""The product of matrices that ends in a gate, a shortcut or an activation, against the reference: on a GPU, and
without one in Triton's interpreter."""

import random

import pytest
import torch
from torch.testing import assert_close

from golden_operations import HALVES, SEEDS, errors
from golden_operations import KERNELS_ON as DEVICE
from volovan.ops import backends, conv2d_then
from volovan.ops.convolution import ACTIVATIONS, Kernel
from volovan.ops.depthwise import gated
from volovan.ops.pointwise import gated_by_kernel

pytest.importorskip("triton")


def draw(seed):
    """(B, C, D, H, W), with fewer and more channels than a program takes."""
    draw = random.Random(seed)
    channels, outputs = (draw.choice([1, 3, 32, 40, 70]) for _ in range(2))
    return draw.randint(1, 2), channels, outputs, draw.randint(1, 6), draw.randint(1, 14)


def inputs(case, dtype=torch.float32, seed=0):
    """x, weight, bias, other and the gradient of the result."""
    B, C, D, H, W = case
    generator = torch.Generator().manual_seed(seed)
    shapes = (B, C, H, W), (D, C, 1, 1), (D,), (B, D, H, W), (B, D, H, W)
    x, weight, bias, other, grad = (torch.randn(shape, generator=generator).to(DEVICE, dtype) for shape in shapes)
    return [x.contiguous(memory_format=torch.channels_last), weight, bias, other, grad]


@pytest.mark.parametrize("seed", SEEDS)
def test_any_shape_and_whatever_follows(seed):
    choose = random.Random(seed)
    x, weight, bias, other, _ = inputs(draw(seed))
    act, combine = choose.choice(list(ACTIVATIONS)), choose.choice(["mul", "add"])
    other, bias = choose.choice([None, other]), choose.choice([None, bias])
    found = conv2d_then(x, Kernel(weight, bias), act, other, combine, backend="triton")
    wide = [None if tensor is None else tensor.double() for tensor in (x, weight, bias, other)]
    exact = conv2d_then(wide[0], Kernel(wide[1], wide[2]), act, wide[3], combine, backend="reference")
    assert_close(found.double(), exact, atol=2e-6 * max(1.0, exact.abs().max().item()), rtol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("act", list(ACTIVATIONS))
def test_a_depthwise_convolution_and_what_follows(act):
    generator = torch.Generator().manual_seed(1)
    x, weight, bias = (torch.randn(s, generator=generator).to(DEVICE) for s in ((2, 5, 6, 7), (5, 1, 3, 3), (5,)))
    kernel = Kernel(weight, bias, padding=(1, 1), groups=5)
    planes = conv2d_then(x, kernel, act, backend="triton")
    assert planes.is_contiguous()
    assert_close(planes, conv2d_then(x, kernel, act, backend="reference"), atol=1e-5, rtol=1e-5)


def run_gate(gate, attention, weight, bias, x, grad):
    leaves = [tensor.detach().requires_grad_() for tensor in (attention, weight, bias, x)]
    out = gate(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


@pytest.mark.parametrize("seed", SEEDS)
def test_gate_and_its_gradients(seed):
    B, C, _, H, W = draw(seed)
    attention, weight, bias, x, grad = inputs((B, C, C, H, W))
    found = run_gate(gated_by_kernel, attention, weight, bias, x, grad)
    exact = run_gate(gated, *(tensor.double() for tensor in (attention, weight, bias, x, grad)))
    for own, right in zip(found, exact, strict=True):
        assert_close(own.double(), right, atol=3e-6 * max(1.0, right.abs().max().item()), rtol=1e-5)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_low_precision_error_of_the_gate_is_at_most_twice_that_of_the_reference(dtype):
    tensors = inputs((2, 64, 64, 6, 9), dtype)
    exact = run_gate(gated, *(tensor.double() for tensor in tensors))
    ours = errors(run_gate(gated_by_kernel, *tensors), exact)
    plain = errors(run_gate(gated, *tensors), exact)
    for own, theirs in zip(ours, plain, strict=True):
        assert own <= 2 * theirs


def test_second_derivatives_and_one_gradient_alone():
    tensors = inputs((1, 3, 3, 4, 5))
    every = run_gate(gated_by_kernel, *tensors)
    for number in range(4):
        leaves = [tensor.detach().requires_grad_(number == at) for at, tensor in enumerate(tensors[:4])]
        (alone,) = torch.autograd.grad(gated_by_kernel(*leaves), leaves[number], tensors[4])
        assert_close(alone, every[number + 1], atol=0, rtol=0)
    second = []
    for gate in (gated_by_kernel, gated):
        leaf = tensors[1].detach().requires_grad_()
        out = gate(tensors[0], leaf, tensors[2], tensors[3]).square().sum()
        (first,) = torch.autograd.grad(out, leaf, create_graph=True)
        second.append(torch.autograd.grad(first.square().sum(), leaf)[0])
    assert_close(*second, atol=1e-3, rtol=1e-4)


def test_operation_holds_to_the_rules_of_torch():
    x, weight, bias, other, _ = inputs((1, 3, 2, 3, 4))
    torch.library.opcheck(torch.ops.volovan.pointwise, (x, weight, bias, other, "mul", "none"))
    torch.library.opcheck(torch.ops.volovan.pointwise, (x.contiguous(), weight, None, None, "add", "gelu"))


def test_what_it_does_not_take_is_said():
    x, weight, bias, other, _ = inputs((1, 4, 4, 3, 5))
    assert "stride 1" in backends("conv2d_then", x, Kernel(weight, bias, stride=(2, 2)))["triton"]
    assert "1 x 1" in backends("conv2d_then", x, Kernel(torch.randn(4, 4, 3, 3), bias, padding=(1, 1)))["triton"]
    assert "one dtype" in backends("conv2d_then", x, Kernel(weight.half(), bias), "gelu")["triton"]
    assert "nothing follows" in backends("conv2d_then", x, Kernel(weight, bias))["triton"]
    assert "channels-last" in backends("conv2d_then", x.contiguous(), Kernel(weight, bias), "none", other)["triton"]
    assert "gradients" in backends("conv2d_then", x.clone().requires_grad_(), Kernel(weight, bias), "relu")["triton"]
