"""The kernels of depth-wise convolution against the reference: on a GPU, and without one in Triton's interpreter."""

import random

import pytest
import torch
from torch.testing import assert_close

from golden_operations import HALVES, SEEDS, errors, lka_golden
from golden_operations import KERNELS_ON as DEVICE
from volovan.ops import backends, depthwise_conv2d, large_kernel_attention

pytest.importorskip("triton")


def draw(seed):
    """(B, C, H, W, kh, kw, dilation) of any kind that keeps the size."""
    draw = random.Random(seed)
    dilation = draw.randint(1, 4)
    sides = [side for side in range(1, 6) if dilation * (side - 1) % 2 == 0]
    kernel = draw.choice(sides), draw.choice(sides)
    return draw.randint(1, 2), draw.choice([1, 3, 64, 70]), draw.randint(1, 7), draw.randint(1, 14), *kernel, dilation


def inputs(case, dtype=torch.float32, seed=0):
    B, C, H, W, kh, kw, _ = case
    generator = torch.Generator().manual_seed(seed)
    shapes = (B, C, H, W), (C, 1, kh, kw), (C,), (B, C, H, W)
    x, *rest = (torch.randn(shape, generator=generator).to(DEVICE, dtype) for shape in shapes)
    return [x.contiguous(memory_format=torch.channels_last), *rest]


def run(backend, dilation, x, weight, bias, grad, act="none"):
    leaves = [tensor.detach().requires_grad_() for tensor in (x, weight, bias)]
    out = depthwise_conv2d(*leaves, dilation, backend=backend, act=act)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["channels last", "planes"])
@pytest.mark.parametrize("seed", SEEDS)
def test_any_shape(seed, layout):
    case = draw(seed)
    if layout == torch.contiguous_format:  # a program for each plane
        case = (case[0], case[1] % 7 or 2, *case[2:])
    x, *rest = inputs(case)
    tensors = [x.contiguous(memory_format=layout), *rest]
    act = ("none", "relu", "gelu")[seed % 3]
    found = run("triton", case[-1], *tensors, act)
    exact = run("reference", case[-1], *(tensor.double() for tensor in tensors), act)
    for own, right in zip(found, exact, strict=True):
        assert_close(own.double(), right, atol=2e-6 * max(1.0, right.abs().max().item()), rtol=1e-5)
    assert found[0].is_contiguous(memory_format=layout)


@pytest.mark.parametrize(("kernel", "dilation", "act"), [(5, 1, "none"), (7, 3, "none"), (3, 1, "gelu")])
@pytest.mark.parametrize("channels", [64, 2], ids=["channels last", "planes"])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_low_precision_error_is_at_most_twice_that_of_the_reference(dtype, channels, kernel, dilation, act):
    case = (2, channels, 8, 9, kernel, kernel, dilation)
    tensors = inputs(case, dtype)
    if channels == 2:
        tensors[0] = tensors[0].contiguous()
    exact = run("reference", dilation, *(tensor.double() for tensor in tensors), act)
    ours = errors(run("triton", dilation, *tensors, act), exact)
    plain = errors(run("reference", dilation, *tensors, act), exact)
    for own, theirs in zip(ours, plain, strict=True):
        assert own <= 2 * theirs


def test_the_same_bits_every_time_and_in_any_layout():
    tensors = inputs((2, 5, 4, 9, 3, 3, 2))
    found = run("triton", 2, *tensors)
    planes = run("triton", 2, *(tensor.contiguous() for tensor in tensors))
    assert planes[0].is_contiguous()
    for number, (own, again, other) in enumerate(zip(found, run("triton", 2, *tensors), planes, strict=True)):
        assert_close(own, again, atol=0, rtol=0)
        exact = 0 if number < 2 else 1e-5  # what is summed over all positions comes in another order
        assert_close(own, other, atol=exact, rtol=exact)
    for own, again in zip(planes, run("triton", 2, *(tensor.contiguous() for tensor in tensors)), strict=True):
        assert_close(own, again, atol=0, rtol=0)


def test_golden(golden, few_programs):
    lka_golden(golden("van_tiny"), "triton", DEVICE)


def test_weights_keep_their_precision_under_autocast():
    x, weight, bias, grad = inputs((1, 4, 3, 5, 3, 3, 1))
    with torch.autocast(DEVICE, torch.bfloat16):
        found = run("triton", 1, x, weight, bias, grad.bfloat16())
    assert [own.dtype for own in found] == [torch.bfloat16, torch.float32, torch.float32, torch.float32]
    exact = run("reference", 1, *(tensor.double() for tensor in (x.bfloat16(), weight, bias, grad.bfloat16())))
    assert_close(found[2].double(), exact[2], atol=1e-5, rtol=1e-5)


def test_one_gradient_alone_and_second_derivatives():
    x, weight, bias, grad = inputs((1, 2, 3, 4, 3, 3, 1))
    every = run("triton", 1, x, weight, bias, grad)
    for number in range(3):
        leaves = [tensor.detach().requires_grad_(number == at) for at, tensor in enumerate((x, weight, bias))]
        out = depthwise_conv2d(*leaves, backend="triton")
        assert_close(torch.autograd.grad(out, leaves[number], grad)[0], every[number + 1], atol=0, rtol=0)
    second = []
    for backend in ("triton", "reference"):
        leaf = weight.detach().requires_grad_()
        out = depthwise_conv2d(x, leaf, bias, backend=backend).square().sum()
        (first,) = torch.autograd.grad(out, leaf, create_graph=True)
        second.append(torch.autograd.grad(first.sum(), leaf)[0])
    assert_close(*second, atol=1e-4, rtol=1e-4)


def test_operations_hold_to_the_rules_of_torch():
    x, weight, bias, grad = inputs((1, 3, 3, 4, 3, 3, 1))
    torch.library.opcheck(torch.ops.volovan.depthwise_conv2d, (x, weight, bias, 1, False, "none", None))
    torch.library.opcheck(torch.ops.volovan.depthwise_conv2d, (x.contiguous(), weight, None, 1, True, "none", None))
    torch.library.opcheck(torch.ops.volovan.depthwise_conv2d, (x, weight, bias, 1, False, "gelu", grad))
    torch.library.opcheck(torch.ops.volovan.depthwise_conv2d_weight, (x, grad, [3, 3], 1))


def test_compiled_in_one_graph():
    x, dw, dw_bias, _ = inputs((1, 3, 4, 5, 3, 3, 1))
    pw = torch.randn(3, 3, 1, 1, device=DEVICE)
    leaves = [
        tensor.requires_grad_() for tensor in (x, dw, dw_bias, dw.detach() + 1, dw_bias.detach() + 1, pw, dw_bias + 2)
    ]

    def attend(*tensors):
        return large_kernel_attention(*tensors, dilation=2, backend="triton").square().sum()

    found = torch.autograd.grad(torch.compile(attend, fullgraph=True, backend="aot_eager")(*leaves), leaves)
    assert_close(found, torch.autograd.grad(attend(*leaves), leaves), atol=0, rtol=0)


def test_listing_says_why_not():
    x, weight, *_ = inputs((1, 4, 3, 5, 3, 3, 1))
    said = backends("depthwise_conv2d", x, weight)["triton"]
    assert said == (
        "the kernel has not been measured on a GPU yet; name it, or set VOLOVAN_KERNELS=try"
        if DEVICE == "cuda"
        else "Triton's interpreter is for tests"
    )
    assert "outside of autocast" in backends("depthwise_conv2d", x, weight.half())["triton"]
