"""Graph capture and gradient checkpointing change nothing: outputs, gradients and buffers equal eager."""

import copy

import pytest
import torch
from torch.testing import assert_close

from networks import SMALL, small


def loss_of(out):
    if isinstance(out, torch.Tensor):
        return out.square().sum()
    return out.logits.square().sum() + out.patch_logits.square().sum()


def trained(model, run, *inputs, **options):
    """Output, gradients and buffers of one training step."""
    torch.manual_seed(1)
    out = run(*inputs, **options)
    loss_of(out).backward()
    return [loss_of(out).detach(), [p.grad for p in model.parameters()], [b.clone() for b in model.buffers()]]


def assert_same_training(family, wrap, **options):
    eager, other = small(family), small(family)
    other.load_state_dict(eager.state_dict())
    x = torch.randn(2, 3, 64, 64)
    want = trained(eager, eager, x, **options)
    got = trained(other, wrap(other), x, **options)
    assert_close(got, want, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", SMALL)
def test_compiled_training_equals_eager_without_graph_break(family):
    assert_same_training(family, lambda m: torch.compile(m, fullgraph=True, backend="aot_eager"))


@pytest.mark.parametrize("family", ["volo", "lvvit"])
def test_compiled_training_with_box_takes_every_box_without_recompiling(family):
    torch._dynamo.reset()
    eager = small(family)
    compiled = torch.compile(copy.deepcopy(eager), fullgraph=True, backend="aot_eager")
    x = torch.randn(3, 3, 64, 64)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for box in ([0, 1, 2, 3], [1, 1, 1, 1], [0, 0, 4, 4]):
            want, got = eager(x, box=torch.tensor(box)), compiled(x, box=torch.tensor(box))
            assert_close(got.logits, want.logits, atol=1e-5, rtol=1e-4)
            assert_close(got.patch_logits, want.patch_logits, atol=1e-5, rtol=1e-4)
            assert torch.equal(got.box, want.box)


@pytest.mark.slow
@pytest.mark.parametrize("family", SMALL)
def test_compiled_features_at_another_size(family):
    model = small(family).eval()
    run = torch.compile(model.forward_features, fullgraph=True, backend="aot_eager", dynamic=True)
    for size in ((64, 64), (53, 80)):
        x = torch.randn(1, 3, *size)
        assert_close(run(x), model.forward_features(x), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", SMALL)
def test_compiled_training_equals_eager_with_inductor(family):
    assert_same_training(family, lambda m: torch.compile(m, fullgraph=True))


@pytest.mark.parametrize("family", SMALL)
def test_checkpointing_equals_eager(family):
    """Drop path draws again what it drew, and BatchNorm does not count a batch twice."""

    def wrap(model):
        model.set_grad_checkpointing()
        return model

    eager, other = small(family, drop_path_rate=0.4), small(family, drop_path_rate=0.4)
    x = torch.randn(4, 3, 64, 64)
    want = trained(eager, eager, x)
    assert_close(trained(other, wrap(other), x), want, atol=1e-6, rtol=1e-5)
    other.set_grad_checkpointing(False)
    assert not other.grad_checkpointing


@pytest.mark.parametrize("family", SMALL)
def test_checkpointing_keeps_fewer_activations(family):
    def saved(model):
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            model(torch.randn(2, 3, 64, 64))
        return total

    model = small(family)
    before = saved(model)
    model.set_grad_checkpointing()
    assert saved(model) < before


@pytest.mark.slow
@pytest.mark.parametrize("family", SMALL)
def test_compiled_checkpointing_equals_eager(family):
    def wrap(model):
        model.set_grad_checkpointing()
        return torch.compile(model, fullgraph=True, backend="aot_eager")

    assert_same_training(family, wrap)


@pytest.mark.parametrize("size", [(64, 64), (96, 80)], ids=["built-size", "another-size"])
@pytest.mark.parametrize("family", SMALL)
def test_export_with_dynamic_batch_and_size(family, size):
    model = small(family).eval()
    batch, height, width = (torch.export.Dim(name, min=low, max=512) for name, low in (("b", 2), ("h", 32), ("w", 32)))
    with torch.no_grad():
        program = torch.export.export(
            model, (torch.randn(2, 3, *size),), dynamic_shapes=({0: batch, 2: height, 3: width},)
        )
        for shape in ((2, 3, 64, 64), (3, 3, 96, 80), (5, 3, 53, 47), (2, 3, 33, 128)):
            x = torch.randn(shape)
            assert_close(program.module()(x), model(x), atol=1e-5, rtol=1e-4)


def test_export_of_volo_holds_neither_unfold_nor_fold():
    model = small("volo").eval()
    graph = str(torch.export.export(model, (torch.randn(1, 3, 64, 64),)).graph)
    assert "im2col" not in graph
    assert "col2im" not in graph


@pytest.mark.parametrize("family", SMALL)
def test_model_runs_in_bfloat16(family):
    model = small(family).eval()
    x = torch.randn(2, 3, 64, 64)
    want = model(x)
    got = model.bfloat16()(x.bfloat16())
    assert got.dtype == torch.bfloat16
    assert_close(got.float(), want, atol=0.1, rtol=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(model.float()(x).float(), want, atol=0.1, rtol=0.1)
