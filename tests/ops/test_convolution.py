"""A convolution that ends in a gate, a shortcut or an activation: loops check the reference, that checks oneDNN."""

import math
from itertools import product

import pytest
import torch
from torch.testing import assert_close

from volovan.ops import backends, conv2d_then
from volovan.ops.convolution import ACTIVATIONS, COMBINES, FEW, ONEDNN, Kernel, as_product
from volovan.ops.onednn import AVX512, BFLOAT16, Laid

onednn = pytest.mark.skipif(not ONEDNN, reason="this torch has no oneDNN")


def inputs(dtype=torch.float32, size=(7, 6), groups=1, stride=(1, 1), dilation=(1, 1), kernel=(3, 3)):
    random = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=random, dtype=torch.float64).to(dtype)

    padding = tuple(d * (k // 2) for d, k in zip(dilation, kernel, strict=True))
    moves = (stride, padding, dilation, groups)
    x = draw(2, 4, *size).to(memory_format=torch.channels_last)
    of = Kernel(draw(8, 4 // groups, *kernel), draw(8), *moves)
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(size, padding, dilation, kernel, stride, strict=True)
    ]
    return x, of, draw(2, 8, *out).to(memory_format=torch.channels_last)


def loops(x, kernel, act, other, combine):
    """The sums of the definition, one output after another."""
    H, W = x.shape[2:]
    D, each, kh, kw = kernel.weight.shape
    out = torch.empty(other.shape, dtype=x.dtype)
    for b, o, r, c in product(*map(range, out.shape)):
        total = kernel.bias[o].item()
        for e, i, j in product(range(each), range(kh), range(kw)):
            row = r * kernel.stride[0] + i * kernel.dilation[0] - kernel.padding[0]
            column = c * kernel.stride[1] + j * kernel.dilation[1] - kernel.padding[1]
            if 0 <= row < H and 0 <= column < W:
                channel = o // (D // kernel.groups) * each + e
                total += kernel.weight[o, e, i, j].item() * x[b, channel, row, column].item()
        total = total * other[b, o, r, c].item() if combine == "mul" else total + other[b, o, r, c].item()
        gelu = 0.5 * total * (1 + math.erf(total / math.sqrt(2)))
        out[b, o, r, c] = {"none": total, "relu": max(total, 0), "gelu": gelu}[act]
    return out


MOVES = [
    {},
    {"kernel": (1, 1)},
    {"stride": (2, 1)},
    {"dilation": (2, 3)},
    {"groups": 2},
    {"groups": 4, "kernel": (5, 5)},
    {"size": (1, 1)},
]


@pytest.mark.parametrize("moves", MOVES, ids=str)
@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_reference_equals_written_out_loops(act, combine, moves):
    x, kernel, other = inputs(torch.float64, **moves)
    got = conv2d_then(x, kernel, act, other, combine, backend="reference")
    assert_close(got, loops(x, kernel, act, other, combine), atol=1e-12, rtol=1e-12)


@onednn
@pytest.mark.parametrize("moves", MOVES, ids=str)
@pytest.mark.parametrize("combine", [None, *COMBINES])
@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, *([torch.bfloat16] if BFLOAT16 else [])], ids=str)
def test_onednn_errs_at_most_twice_as_much_as_the_reference(dtype, act, combine, moves):
    """Both against float64; a bound of a few ulp where the reference happens to be exact."""
    x, kernel, other = inputs(dtype, **moves)
    other = other if combine else None
    args = (act, other, combine or "add")
    want = conv2d_then(x.double(), in_double(kernel), act, None if other is None else other.double(), args[2])
    plain = conv2d_then(x, kernel, *args, backend="reference")
    floor = 4 * torch.finfo(dtype).eps * want.abs().max()
    allowed = max(2 * (plain - want).abs().max().item(), floor.item())
    laid = Laid()
    for _ in range(2):  # the second time by the weights that were laid out the first time
        got = conv2d_then(x, kernel, *args, laid=laid, backend="onednn")
        assert got.dtype == dtype
        assert (got - want).abs().max() <= allowed
        assert got.is_contiguous(memory_format=torch.channels_last)
    again = conv2d_then(x, kernel, *args, backend="onednn")  # maybe as a product, which sums in another order
    assert (again - want).abs().max() <= allowed


def in_double(kernel):
    moves = (kernel.stride, kernel.padding, kernel.dilation, kernel.groups)
    return Kernel(kernel.weight.double(), kernel.bias.double(), *moves)


@onednn
def test_each_shape_has_a_layout_of_its_own_and_the_fourth_none():
    kernel, laid = inputs()[1], Laid()
    for size in ((7, 6), (3, 9), (1, 1), (7, 6), (8, 8), (9, 9)):
        image = torch.randn(1, 4, *size)
        got = conv2d_then(image, kernel, "gelu", laid=laid, backend="onednn")
        assert_close(got, conv2d_then(image, kernel, "gelu", backend="reference"), atol=1e-5, rtol=1e-5)
    assert [size[2:] for _, size in laid.kept] == [(7, 6), (3, 9), (1, 1)]


@pytest.mark.skipif(not BFLOAT16, reason="oneDNN has no bfloat16 here")
def test_under_autocast_it_computes_in_bfloat16_and_keeps_both_layouts():
    x, kernel, other = inputs()
    laid = Laid()
    with torch.autocast("cpu", torch.bfloat16):
        half = conv2d_then(x, kernel, "gelu", other, laid=laid)
    full = conv2d_then(x, kernel, "gelu", other, laid=laid)
    assert (half.dtype, full.dtype, sorted(str(kept) for kept, _ in laid.kept)) == (
        torch.bfloat16, torch.float32, ["torch.bfloat16", "torch.float32"],
    )  # fmt: skip
    assert_close(half.float(), full, atol=0.1, rtol=0.05)


@onednn
@pytest.mark.parametrize("combine", [None, *COMBINES])
@pytest.mark.parametrize("side", [3, 40])  # below and above FEW positions
@pytest.mark.parametrize("with_laid", [False, True])
def test_a_1_x_1_is_a_product_of_matrices_where_that_is_faster(with_laid, side, combine):
    x, kernel, other = inputs(size=(side, side), kernel=(1, 1))
    other = other if combine else None
    laid = Laid() if with_laid else None
    assert as_product(x, kernel, laid) == (AVX512 if with_laid else 2 * side * side <= FEW)
    assert not as_product(x.contiguous(), kernel, laid)
    for act in ACTIVATIONS:
        got = conv2d_then(x, kernel, act, other, combine or "add", laid, backend="onednn")
        assert got.is_contiguous(memory_format=torch.channels_last)
        expected = conv2d_then(x, kernel, act, other, combine or "add", backend="reference")
        assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_gradients_flow_and_equal_those_of_plain_torch():
    x, kernel, other = inputs(torch.float64)
    leaves = [tensor.clone().requires_grad_() for tensor in (x, kernel.weight, kernel.bias, other)]
    with_gradients = Kernel(leaves[1], leaves[2], kernel.stride, kernel.padding)
    assert torch.autograd.gradcheck(
        lambda x, weight, bias, other: conv2d_then(
            x, Kernel(weight, bias, with_gradients.stride, with_gradients.padding), "gelu", other, "mul"
        ),
        leaves,
    )


@onednn
def test_what_onednn_cannot_take_is_said_and_goes_to_the_reference():
    x, kernel, _ = inputs()
    said = backends("conv2d_then", x, kernel)
    assert (said["onednn"], said["reference"]) == ("ok", "ok")
    assert "float64" in backends("conv2d_then", x.double(), in_double(kernel))["onednn"]
    assert ("one dtype" if BFLOAT16 else "AVX-512") in backends("conv2d_then", x.bfloat16(), kernel)["onednn"]
    assert "gradients" in backends("conv2d_then", x.requires_grad_(), kernel)["onednn"]
    assert "meta" in backends("conv2d_then", x.detach().to("meta"), kernel)["onednn"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"act": "swish"}, "act is 'swish', expected one of none, relu, gelu"),
        ({"combine": "sub"}, "combine is 'sub', expected one of mul, add"),
        ({"other": torch.zeros(2, 7, 7, 6)}, r"other has shape \(2, 7, 7, 6\), expected that of the result: \(2, 8, "),
        ({"backend": "cuda"}, "no backend 'cuda'; there are auto, onednn, triton, reference"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_sentence(wrong, said):
    x, kernel, _ = inputs()
    with pytest.raises(ValueError, match=said):
        conv2d_then(x, kernel, **wrong)
