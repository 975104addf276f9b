"""Depth-wise convolution and large kernel attention: loops check the reference, the reference checks the rest."""

from itertools import product

import pytest
import torch
from torch.testing import assert_close

from golden_operations import lka_golden
from volovan.ops import backends, depthwise_conv2d, large_kernel_attention

BOTH = ["reference", "cpu"]


def lka_inputs(shape, dtype=torch.float64, kernels=(5, 7)):
    random = torch.Generator().manual_seed(0)
    C = shape[1]
    sizes = (shape, (C, 1, kernels[0], kernels[0]), (C,), (C, 1, kernels[1], kernels[1]), (C,), (C, C, 1, 1), (C,))
    return [torch.randn(s, generator=random, dtype=torch.float64).to(dtype).requires_grad_() for s in sizes]


def loops(x, weight, bias, dilation):
    B, C, H, W = x.shape
    kh, kw = weight.shape[2:]
    out = bias[None, :, None, None].expand(B, C, H, W).clone()
    for r, c, i, j in product(range(H), range(W), range(kh), range(kw)):
        row, column = r + dilation * i - dilation * (kh - 1) // 2, c + dilation * j - dilation * (kw - 1) // 2
        if 0 <= row < H and 0 <= column < W:
            out[:, :, r, c] = out[:, :, r, c] + weight[:, 0, i, j] * x[:, :, row, column]
    return out


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("backend", BOTH)
@pytest.mark.parametrize(
    ("size", "kernel", "dilation"), [((5, 7), 3, 1), ((4, 5), 5, 2), ((7, 4), 3, 3), ((1, 6), 7, 3)], ids=str
)
def test_depthwise_equals_written_out_loops(size, kernel, dilation, backend, memory_format):
    x, weight, bias, *_ = lka_inputs((2, 3, *size), kernels=(kernel, 1))
    x = x.detach().contiguous(memory_format=memory_format).requires_grad_()
    got = depthwise_conv2d(x, weight, bias, dilation, backend=backend)
    want = loops(x, weight, bias, dilation)
    assert_close(got, want, atol=1e-12, rtol=1e-12)
    assert got.is_contiguous(memory_format=memory_format)
    cotangent = torch.randn_like(want)
    for g, w in zip(
        torch.autograd.grad(got, (x, weight, bias), cotangent),
        torch.autograd.grad(want, (x, weight, bias), cotangent),
        strict=True,
    ):
        assert_close(g, w, atol=1e-11, rtol=1e-11)


def test_depthwise_even_kernel_of_even_dilation():
    x, weight, bias, *_ = lka_inputs((1, 2, 6, 5), kernels=(4, 1))
    assert_close(depthwise_conv2d(x, weight, bias, 2), loops(x, weight, bias, 2))
    assert "even size (4, 4)" in backends("depthwise_conv2d", x, weight, bias, 2)["cpu"]


@pytest.mark.parametrize("backend", BOTH)
def test_lka_golden(golden, backend):
    lka_golden(golden("van_tiny"), backend)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("size", [(14, 14), (9, 10), (2, 3)], ids=str)
def test_lka_cpu_equals_reference(size, memory_format):
    x, *weights = lka_inputs((2, 6, *size))
    x = x.detach().contiguous(memory_format=memory_format).requires_grad_()
    want = large_kernel_attention(x, *weights, backend="reference")
    got = large_kernel_attention(x, *weights, backend="cpu")
    assert_close(got, want)
    assert got.is_contiguous(memory_format=memory_format)
    cotangent = torch.randn_like(want)
    wants = torch.autograd.grad(want, [x, *weights], cotangent)
    assert_close(torch.autograd.grad(got, [x, *weights], cotangent), wants)


@pytest.mark.parametrize("backend", BOTH)
def test_lka_low_precision_error_is_at_most_twice_that_of_plain_torch(backend):
    x, *weights = lka_inputs((2, 16, 20, 20), torch.bfloat16)
    exact = large_kernel_attention(*(t.detach().double() for t in (x, *weights)), backend="reference")
    plain = large_kernel_attention(x, *weights, backend="reference")
    got = large_kernel_attention(x, *weights, backend=backend)
    assert got.dtype == torch.bfloat16
    assert (got.double() - exact).norm() <= 2 * (plain.double() - exact).norm()


def test_depthwise_backends_say_why():
    x, *weights = lka_inputs((1, 4, 6, 6), torch.float32)
    said = backends("large_kernel_attention", x, *weights)
    assert (list(said), said["cpu"], said["reference"]) == (["triton", "cpu", "reference"], "ok", "ok")
    said = backends("depthwise_conv2d", x, weights[0].detach())["cpu"]
    assert said == "without dilation, and without a gradient of wide weights, the reference is as fast"
    double = backends("large_kernel_attention", x.double(), *(w.double() for w in weights))
    assert double["cpu"] == "in torch.float64 the reference is faster"
    meta = backends(large_kernel_attention, x.to("meta"), *weights)
    assert meta["cpu"] == "x is on meta, not on a CPU"
    with pytest.raises(ValueError, match="backend 'cpu' cannot run this: x is on meta"):
        depthwise_conv2d(x.to("meta"), weights[0], backend="cpu")


def test_depthwise_named_backend_runs_what_auto_declines():
    x, *weights = lka_inputs((1, 4, 6, 6))
    got = large_kernel_attention(x, *weights, backend="cpu")
    assert_close(got, large_kernel_attention(x, *weights))


def test_lka_compiled_is_one_graph():
    inputs = lka_inputs((1, 4, 6, 6), torch.float32)
    run = torch.compile(large_kernel_attention, fullgraph=True, backend="aot_eager")
    assert_close(run(*inputs), large_kernel_attention(*inputs, backend="reference"))


def test_depthwise_refuses_with_found_and_expected():
    x, dw, dw_bias, dwd, dwd_bias, pw, pw_bias = lka_inputs((1, 4, 6, 6))
    with pytest.raises(ValueError, match=r"weight has shape \(4, 4, 1, 1\), expected \(4, 1, kh, kw\)"):
        depthwise_conv2d(x, pw)
    with pytest.raises(ValueError, match=r"bias of weight has shape \(1,\), expected \(4,\)"):
        depthwise_conv2d(x, dw, dw_bias[:1])
    with pytest.raises(ValueError, match="x has 3 axes"):
        depthwise_conv2d(x[0], dw)
    with pytest.raises(ValueError, match="dilation is 0"):
        depthwise_conv2d(x, dw, dilation=0)
    with pytest.raises(ValueError, match="size 4 with dilation 3 has no symmetric padding"):
        depthwise_conv2d(x, dw[:, :, :4, :4], dilation=3)
    with pytest.raises(ValueError, match=r"pw has shape \(4, 1, 5, 5\), expected \(4, 4, 1, 1\)"):
        large_kernel_attention(x, dw, dw_bias, dwd, dwd_bias, dw, pw_bias)
    with pytest.raises(ValueError, match=r"dwd has shape \(4, 4, 1, 1\)"):
        large_kernel_attention(x, dw, dw_bias, pw, dwd_bias, pw, pw_bias)
