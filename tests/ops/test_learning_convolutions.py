"""Convolutions that learn on a CPU: the gradients of their weights, made otherwise than by torch, are the same."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from volovan.models.layers import convolve
from volovan.ops import backends, convolution_planes, depthwise, depthwise_conv2d
from volovan.ops.depthwise_columns import tiles

LAYOUTS = pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels-last"]
)


def gradients(run, *inputs, dtype=None):
    """The result and the gradients of all inputs, which are leaves again."""
    leaves = [one.detach().to(dtype or one.dtype).requires_grad_() for one in inputs]
    out = run(*leaves)
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [out, *torch.autograd.grad(out, leaves, cotangent.to(out.dtype))]


def inputs(shape, kernel, dtype=torch.float32, layout=torch.channels_last, out=None):
    draw = torch.Generator().manual_seed(0)
    weight = (shape[1], 1, *kernel) if out is None else (out, shape[1], *kernel)
    found = [torch.randn(one, generator=draw, dtype=torch.float64).to(dtype) for one in (shape, weight, weight[:1])]
    return [found[0].contiguous(memory_format=layout), *found[1:]]


@pytest.mark.parametrize("width", range(5, 33, 2))
def test_tiles_are_all_columns_once(width):
    found = tiles(width)
    assert [column for first, count in found for column in range(first, first + count)] == list(range(width))
    assert max(count for _, count in found) == 3
    assert (width // 2 - 1, 3) in found


@LAYOUTS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("size", "kernel", "dilation"),
    [((20, 23), (5, 5), 1), ((20, 23), (7, 7), 3), ((5, 6), (7, 7), 1), ((9, 11), (9, 9), 2), ((4, 4), (7, 7), 3),
     ((8, 3), (3, 7), 1), ((1, 1), (5, 5), 1), ((30, 40), (1, 11), 1)],
    ids=str,
)  # fmt: skip
def test_depthwise_gradients_by_columns(size, kernel, dilation, dtype, layout):
    given = inputs((2, 16, *size), kernel, dtype, layout)
    exact = gradients(lambda *t: depthwise.depthwise_reference(*t, dilation), *given, dtype=torch.float64)
    plain = gradients(lambda *t: depthwise.depthwise_reference(*t, dilation), *given)
    own = gradients(lambda *t: depthwise_conv2d(*t, dilation, backend="cpu"), *given)
    usual = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-3}[dtype]
    for found, theirs, right in zip(own, plain, exact, strict=True):
        assert found.dtype == theirs.dtype
        error, bound = ((one.double() - right).abs().max() / right.abs().max() for one in (found, theirs))
        assert error <= max(2 * bound, usual)


def test_fifty_random_shapes_by_columns():
    draw = random.Random(0)
    for _ in range(50):
        kernel = (draw.choice((1, 3, 5, 7)), draw.choice((5, 7, 9)))
        shape = (draw.randint(1, 3), draw.randint(1, 40), draw.randint(1, 24), draw.randint(1, 24))
        given = inputs(shape, kernel, torch.float64, draw.choice((torch.contiguous_format, torch.channels_last)))
        own = gradients(lambda *t: depthwise.by_phases(*t, 1), *given)
        assert_close(own, gradients(lambda *t: depthwise.depthwise_reference(*t, 1), *given))


def test_they_are_taken_where_they_are_faster():
    x, weight, bias = inputs((1, 16, 8, 8), (5, 5))
    assert "without dilation" in backends("depthwise_conv2d", x, weight, bias)["cpu"]
    assert backends("depthwise_conv2d", x, weight.requires_grad_(), bias)["cpu"] == "ok"
    assert "without dilation" in backends("depthwise_conv2d", x, weight[..., 1:4], bias)["cpu"]
    assert depthwise_conv2d(x, weight, bias).grad_fn.name() == "_ByColumnsBackward"
    assert depthwise_conv2d(x, weight.detach(), bias.requires_grad_()).grad_fn.name() != "_ByColumnsBackward"


def test_the_same_twice_and_again_differentiable():
    given = inputs((3, 16, 20, 20), (5, 5))
    first, second = (gradients(lambda *t: depthwise_conv2d(*t, backend="cpu"), *given) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    small = [one.requires_grad_() for one in inputs((1, 2, 4, 5), (5, 5), torch.float64)]
    assert torch.autograd.gradgradcheck(lambda *t: depthwise.by_phases(*t, 1), small)


def test_autocast_gives_what_it_gives_elsewhere():
    given = inputs((2, 16, 12, 12), (5, 5))
    with torch.autocast("cpu", torch.bfloat16):
        own = gradients(lambda *t: depthwise_conv2d(*t, backend="cpu"), *given)
        plain = gradients(lambda *t: depthwise_conv2d(*t, backend="reference"), *given)
    assert [one.dtype for one in own] == [one.dtype for one in plain] == [torch.bfloat16, *[torch.float32] * 3]
    assert_close(own, plain, atol=0.3, rtol=0.05)


def test_bfloat16_is_computed_in_float32_where_the_processor_has_none(monkeypatch):
    monkeypatch.setattr(depthwise, "BFLOAT16", False)
    given = inputs((2, 16, 12, 12), (5, 5), torch.bfloat16)
    assert backends("depthwise_conv2d", *given)["cpu"] == "ok"
    own = gradients(depthwise_conv2d, *given)
    exact = gradients(lambda *t: depthwise.depthwise_reference(*t, 1), *given, dtype=torch.float32)
    assert own[0].dtype == torch.bfloat16
    for found, right in zip(own, exact, strict=True):
        assert (found.float() - right).abs().max() <= 0.005 * right.abs().max()


def test_compiled_gradients_by_columns():
    given = inputs((2, 8, 12, 12), (5, 5))
    run = torch.compile(depthwise_conv2d, fullgraph=True, backend="aot_eager")
    assert_close(gradients(run, *given), gradients(depthwise_conv2d, *given))


@pytest.mark.parametrize("kernel", [(3, 3), (1, 5)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_dense_gradients_in_planes(kernel, dtype):
    given = inputs((2, 8, 9, 11), kernel, dtype, out=12)
    moves = (kernel[0] // 2, kernel[1] // 2), (1, 1)
    own = gradients(lambda *t: convolution_planes.convolve(*t, *moves), *given)
    assert_close(own, gradients(lambda *t: F.conv2d(*t, 1, *moves), *given))
    assert own[0].is_contiguous(memory_format=torch.channels_last)
    small = [one.requires_grad_() for one in inputs((1, 2, 3, 4), kernel, torch.float64, out=2)]
    assert torch.autograd.gradgradcheck(lambda *t: convolution_planes.convolve(*t, *moves), small)


def test_modules_take_planes_where_nobody_looks(monkeypatch):
    monkeypatch.setattr(convolution_planes, "AVX512", False)
    conv = nn.Conv2d(4, 6, 3, padding=1)
    x = inputs((2, 4, 5, 5), (3, 3))[0]
    assert convolve(conv, x).grad_fn.name() == "_InPlanesBackward"
    assert_close(convolve(conv, x), conv(x))
    assert convolve(conv, x.contiguous()).grad_fn.name() != "_InPlanesBackward"
    with torch.no_grad():
        assert_close(convolve(conv, x), conv(x))
    seen = []
    conv.register_forward_hook(lambda *args: seen.append(1))
    assert convolve(conv, x).grad_fn.name() != "_InPlanesBackward"
    assert seen
    monkeypatch.setattr(convolution_planes, "AVX512", True)
    assert convolve(nn.Conv2d(4, 6, 3), x).grad_fn.name() != "_InPlanesBackward"
