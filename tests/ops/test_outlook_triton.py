"""The kernels of outlook attention against the reference: on a GPU, and without one in Triton's interpreter."""

import random

import pytest
import torch
from torch.testing import assert_close

from golden_operations import HALVES, SEEDS, errors, outlook_golden
from golden_operations import KERNELS_ON as DEVICE
from volovan.ops import backends, outlook_attention

pytest.importorskip("triton")


def draw(seed):
    """(B, H, W, heads, d, kernel, stride) of any kind; few windows and heads, since the interpreter is slow."""
    draw = random.Random(seed)
    kernel, stride = draw.choice([1, 3, 3, 3, 3, 3, 3, 5]), draw.choice([1, 2, 2, 2, 3, 5])
    few = kernel == 5
    heads, batch = (1, 1) if few else draw.choice([(1, 1), (1, 2), (2, 1), (3, 1)])
    return (
        batch,
        draw.randint(1, 7),
        draw.randint(1, 7),
        heads,
        draw.choice([1, 2, 5, 8, 16, 24, 32, 40]),
        kernel,
        stride,
    )


def inputs(case, dtype=torch.float32, seed=0):
    B, H, W, heads, d, k, s = case
    generator = torch.Generator().manual_seed(seed)
    value = torch.randn(B, H, W, heads * d, generator=generator)
    logits = 3 * d**0.5 * torch.randn(B, -(-H // s), -(-W // s), heads * k**4, generator=generator)
    grad = torch.randn(value.shape, generator=generator)
    return [tensor.to(DEVICE, dtype) for tensor in (value, logits, grad)]


def run(backend, case, value, logits, grad):
    heads, kernel, stride = case[3], case[5], case[6]
    value, logits = value.detach().requires_grad_(), logits.detach().requires_grad_()
    out = outlook_attention(value, logits, heads, kernel, stride, kernel // 2, backend=backend)
    out.backward(grad)
    return out.detach(), value.grad, logits.grad


@pytest.mark.parametrize("seed", SEEDS)
def test_any_shape(seed):
    case = draw(seed)
    tensors = inputs(case)
    found, exact = run("triton", case, *tensors), run("reference", case, *(tensor.double() for tensor in tensors))
    for own, right in zip(found, exact, strict=True):
        assert_close(own.double(), right, atol=2e-6 * max(1.0, right.abs().max().item()), rtol=1e-5)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_low_precision_error_is_at_most_twice_that_of_the_reference(dtype):
    case = (2, 7, 8, 2, 32, 3, 2)
    tensors = inputs(case, dtype)
    exact = run("reference", case, *(tensor.double() for tensor in tensors))
    ours, plain = errors(run("triton", case, *tensors), exact), errors(run("reference", case, *tensors), exact)
    for own, theirs in zip(ours, plain, strict=True):
        assert own <= 2 * theirs


def test_the_same_bits_every_time_and_whatever_lies_beside():
    """Partial tiles, and inputs that are dense but permuted, or parts of larger tensors."""
    case = (1, 9, 7, 2, 8, 3, 2)
    tensors = inputs(case)
    found = run("triton", case, *tensors)
    permuted = [tensor.permute(0, 2, 1, 3).contiguous().permute(0, 2, 1, 3) for tensor in tensors]
    parts = [
        torch.full((1, *(side + 3 for side in tensor.shape[1:])), float("nan"), device=DEVICE) for tensor in tensors
    ]
    for whole, tensor in zip(parts, tensors, strict=True):
        whole[:, 1:-2, 1:-2, 1:-2] = tensor
    for others in (tensors, permuted, [whole[:, 1:-2, 1:-2, 1:-2] for whole in parts]):
        for own, again in zip(found, run("triton", case, *others), strict=True):
            assert_close(own, again, atol=0, rtol=0)


def test_golden(golden, few_programs):
    outlook_golden(golden("volo_tiny"), "triton", DEVICE)


def test_large_logits_give_no_nan():
    case = (1, 3, 3, 1, 2, 3, 1)
    value, logits, grad = inputs(case)
    for own in run("triton", case, value, 1e30 * logits, grad):
        assert own.isfinite().all()


def test_second_derivatives_and_no_gradient():
    value, logits, _ = inputs((1, 3, 4, 1, 2, 3, 2))
    value.requires_grad_()
    out = outlook_attention(value, logits, 1, 3, 2, backend="triton")
    (first,) = torch.autograd.grad(out.square().sum(), value, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), value)
    right = outlook_attention(value, logits, 1, 3, 2, backend="reference")
    (first,) = torch.autograd.grad(right.square().sum(), value, create_graph=True)
    assert_close(second, torch.autograd.grad(first.sum(), value)[0], atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert_close(outlook_attention(value, logits, 1, 3, 2, backend="triton"), out, atol=0, rtol=0)


def test_operations_hold_to_the_rules_of_torch():
    value, logits, grad = inputs((1, 3, 2, 1, 2, 3, 2))
    torch.library.opcheck(torch.ops.volovan.outlook_attention, (value, logits, 1, 3, 2, True))
    lse = torch.ops.volovan.outlook_attention(value, logits, 1, 3, 2, True)[1]
    torch.library.opcheck(torch.ops.volovan.outlook_attention_backward, (grad, value, logits, lse, 1, 3, 2))


def test_compiled_in_one_graph():
    case = (1, 3, 4, 1, 2, 3, 2)
    value, logits, grad = inputs(case)
    value.requires_grad_()
    logits.requires_grad_()

    def mixed(value, logits):
        return outlook_attention(value * 2, logits, 1, 3, 2, backend="triton") + 1

    torch.compile(mixed, fullgraph=True, backend="aot_eager")(value, logits).backward(grad)
    found = value.grad, logits.grad
    value.grad = logits.grad = None
    mixed(value, logits).backward(grad)
    assert_close(found, (value.grad, logits.grad), atol=0, rtol=0)


def test_listing_says_why_not():
    value, logits, _ = inputs((1, 4, 4, 1, 2, 3, 2))
    assert backends("outlook_attention", value, logits, 1, 3, 2)["triton"] == (
        "the kernel has not been measured on a GPU yet; name it, or set VOLOVAN_KERNELS=try"
        if DEVICE == "cuda"
        else "Triton's interpreter is for tests"
    )
    assert "sums in float32" in backends("outlook_attention", value.double(), logits.double(), 1, 3, 2)["triton"]
    assert "one dtype" in backends("outlook_attention", value, logits.half(), 1, 3, 2)["triton"]
    assert "dropout" in backends("outlook_attention", value, logits, 1, 3, 2, dropout=0.5)["triton"]
