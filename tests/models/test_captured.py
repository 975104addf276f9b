"""Graphs that are captured: fused operations in them, what is watched in them, the names of modules; shards."""

import copy
import os

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from volovan.models.volo import Stage
from watched import CONVS, SMALL, gating_unit, images, small

# Capture


def test_compiled_takes_the_fused_operation(fused):
    torch._dynamo.reset()
    model, x = small("van").eval(), images()
    want = model(x)
    eager = fused.copy()
    fused.clear()
    assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(x), want, atol=1e-5, rtol=1e-4)
    assert fused == eager


def test_compiled_calls_what_is_watched():
    torch._dynamo.reset()
    model, x = small("van").eval(), images()
    want = model(x)
    seen = []
    gating_unit(model).conv1.register_forward_hook(lambda *_: seen.append(1))
    run = torch.compile(model, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        assert_close(run(x), want, atol=1e-5, rtol=1e-4)
    assert len(seen) == 2


@pytest.mark.parametrize("family", SMALL)
def test_compiled_once_for_every_step(family):
    torch._dynamo.reset()
    model = small(family)
    run = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(3):
            run(images()).sum().backward()


def test_compiled_stages_of_volo_keep_their_taps():
    torch._dynamo.reset()
    model, x = small("volo").eval(), images()
    want = model.forward_features(x, taps=[0, 2, 4])
    for part in model.network:
        part.compile(fullgraph=True, backend="aot_eager")
    assert_close(model.forward_features(x, taps=[0, 2, 4]), want, atol=1e-5, rtol=1e-4)
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert_close(model.forward_features(x, taps=[0, 2, 4]), want, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("strict", [False, True])
def test_exported_operations_bear_the_names_of_their_modules(strict):
    model = small("van").eval()
    graph = torch.export.export(model, (images(),), strict=strict).graph
    convs = [node for node in graph.nodes if node.target == torch.ops.aten.conv2d.default]
    homes = {list(node.meta["nn_module_stack"].values())[-1][0] for node in convs}
    assert homes == {name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}


def test_fx_traces_the_gating_unit_module_by_module():
    unit, x = gating_unit(small("van")), torch.randn(2, 16, 9, 9)
    traced = torch.fx.symbolic_trace(unit)
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == CONVS
    assert_close(traced(x), unit(x), atol=1e-6, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated, and names each shape that a trace freezes
@pytest.mark.parametrize("family", SMALL)
def test_a_jit_trace_can_be_saved(family, tmp_path):
    model, x = small(family).eval(), images()
    traced = torch.jit.trace(model, x)
    traced.save(tmp_path / "traced.pt")
    assert_close(torch.jit.load(tmp_path / "traced.pt")(x), model(x), atol=1e-6, rtol=1e-5)


# Sharding


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A process group of this process."""
    if torch.distributed.is_initialized() or "RANK" in os.environ:
        pytest.skip("a process group is there already")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("family", ["van", "volo"])
def test_sharded_parts_train_as_before(family, alone):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    plain, x = small(family), images()
    model, mesh = copy.deepcopy(plain), init_device_mesh("cpu", (1,))
    for name, module in model.named_modules():
        if isinstance(module, Stage) or name.rpartition(".")[2] in CONVS:
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "forward_features")
    taps = range(3 if family == "van" else 5)
    losses = [sum(m.square().mean() for m in net.forward_features(x, taps=taps)) for net in (plain, model)]
    for loss in losses:
        loss.backward()
    assert_close(losses[1], losses[0])
    for ours, theirs in zip(plain.parameters(), model.parameters(), strict=True):
        if ours.grad is not None:
            assert_close(theirs.grad.full_tensor(), ours.grad, atol=1e-5, rtol=1e-4)
