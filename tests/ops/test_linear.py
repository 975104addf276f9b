"""A linear layer that ends in a shortcut or an activation: oneDNN against the reference, both against float64."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from volovan.ops import backends, linear_then
from volovan.ops.convolution import ACTIVATIONS
from volovan.ops.linear import ONEDNN
from volovan.ops.onednn import AVX512, BFLOAT16, Laid

onednn = pytest.mark.skipif(not ONEDNN, reason="this torch has no oneDNN")


HALF = [torch.bfloat16] if BFLOAT16 else []


def inputs(shape=(2, 5, 12), outputs=9, dtype=torch.float32):
    random = torch.Generator().manual_seed(0)
    sizes = shape, (outputs, shape[-1]), (outputs,), (*shape[:-1], outputs)
    return [torch.randn(size, generator=random, dtype=torch.float64).to(dtype) for size in sizes]


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_the_reference_is_what_it_says(act):
    x, weight, bias, other = inputs(dtype=torch.float64)
    functions = {"none": lambda v: v, "relu": F.relu, "gelu": F.gelu}
    found = linear_then(x, weight, bias, act, other, backend="reference")
    assert_close(found, functions[act](x @ weight.t() + bias + other), atol=1e-12, rtol=1e-12)


@onednn
@pytest.mark.parametrize("shape", [(12,), (3, 12), (2, 5, 12), (2, 3, 4, 12)], ids=str)
@pytest.mark.parametrize("with_other", [False, True])
@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
def test_onednn_errs_at_most_twice_as_much_as_the_reference(dtype, act, with_other, shape):
    x, weight, bias, other = inputs(shape, dtype=dtype)
    other = other if with_other else None
    wide = [None if tensor is None else tensor.double() for tensor in (x, weight, bias, other)]
    exact = linear_then(*wide[:3], act, wide[3], backend="reference")
    laid = Laid()
    found = linear_then(x, weight, bias, act, other, laid, backend="onednn")
    assert len(laid.kept) == 1
    assert (found.dtype, found.shape) == (dtype, exact.shape)
    plain = linear_then(x, weight, bias, act, other, backend="reference")
    floor = 4 * torch.finfo(dtype).eps * exact.abs().max().item()
    assert (found.double() - exact).abs().max() <= 2 * (plain.double() - exact).abs().max() + floor


@onednn
def test_layouts_are_kept_for_three_shapes_and_no_more():
    _, weight, bias, _ = inputs()
    laid = Laid()
    for rows in (4, 7, 4, 9, 2, 1, 7):
        x = torch.randn(rows, 12)
        assert_close(linear_then(x, weight, bias, laid=laid, backend="onednn"), F.linear(x, weight, bias))
    assert len(laid.kept) == Laid.MOST
    assert {rows for _, rows in laid.kept} == {4, 7, 9}
    assert linear_then(torch.randn(0, 12), weight, bias, laid=laid, backend="onednn").shape == (0, 9)


@pytest.mark.skipif(not (ONEDNN and HALF), reason="oneDNN has no bfloat16 here")
def test_under_autocast_it_computes_in_bfloat16():
    x, weight, bias, other = inputs()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        found = linear_then(x, weight, bias, "gelu", other, Laid(), backend="onednn")
        expected = linear_then(x, weight, bias, "gelu", other, backend="reference")
    assert found.dtype == torch.bfloat16
    assert_close(found.float(), expected.float(), atol=0.03, rtol=0.03)


@onednn
def test_compiled_it_is_one_operation_and_exported_a_plain_one():
    x, weight, bias, other = inputs()
    torch.library.opcheck(torch.ops.volovan.linear_then, (x, weight, bias, "gelu", None))
    torch.library.opcheck(torch.ops.volovan.linear_then, (x, weight, None, "none", other))

    def layer(*tensors):
        return linear_then(*tensors[:3], "gelu", tensors[3])

    with torch.no_grad():
        found = torch.compile(layer, fullgraph=True, backend="aot_eager")(x, weight, bias, other)
    assert_close(found, layer(x, weight, bias, other), atol=1e-5, rtol=1e-5)

    class Layer(torch.nn.Module):
        def forward(self, x):
            return linear_then(x, weight, bias)

    with torch.no_grad():
        nodes = torch.export.export(Layer(), (x,)).graph.nodes
    assert not any("volovan" in str(node.target) for node in nodes)


def test_gradients_flow_through_the_reference():
    x, weight, bias, other = inputs()
    x.requires_grad_()
    laid = Laid()
    linear_then(x, weight, bias, "gelu", other, laid).sum().backward()
    assert x.grad is not None
    assert not laid.kept


def test_what_it_does_not_take_is_said():
    x, weight, bias, other = inputs()
    if ONEDNN:
        said = backends("linear_then", x, weight, bias)["onednn"]
        slower = "without AVX-512 torch's own product of weights that are not laid out is as fast"
        assert said == ("ok" if AVX512 else slower)
        assert backends("linear_then", x, weight, bias, laid=Laid())["onednn"] == "ok"
        assert "float64" in backends("linear_then", x.double(), weight.double(), laid=Laid())["onednn"]
        if AVX512:
            half = backends("linear_then", x.bfloat16(), weight.bfloat16())["onednn"]
            assert half == "of torch.bfloat16 torch takes oneDNN by itself"
    with pytest.raises(ValueError, match="act is 'tanh', expected one of none, relu, gelu"):
        linear_then(x, weight, bias, "tanh")
    with pytest.raises(ValueError, match=r"other has shape \(2, 5, 8\), expected that of the result: \(2, 5, 9\)"):
        linear_then(x, weight, bias, "none", other[..., :8])
