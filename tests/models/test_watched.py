"""Whoever watches a module sees it called: hooks, adapters, pruning, counters. Else fused operations run."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from volovan import create_model
from volovan.models import van
from volovan.models.volo import Stage
from watched import CONVS, gating_unit, images, small

NETWORKS = [
    ("van", {}),
    ("van", {"use_dw": False}),
    ("van", {"use_dwd": False}),
    ("van", {"use_pw": False}),
    ("van", {"gate": "sum"}),
    ("van", {"gate": "none"}),
    ("van", {"sigmoid": True}),
    ("van", {"dense_kernel": True}),
    ("van", {"lka_kernel": 28, "lka_dilation": 4}),
    ("van", {"layer_scale": None}),
    ("volo", {}),
    ("volo", {"mixers": ("local", "attention")}),
    ("volo", {"mixers": ("conv", "attention")}),
    ("volo", {"depths": (0, 2)}),
    ("volo", {"depths": (2, 0)}),
    ("volo", {"class_blocks": 1, "dense_head": False}),
    ("volo", {"class_blocks": 0, "dense_head": False, "mean_head": True}),
    ("lvvit", {}),
    ("lvvit", {"conv_stem": False, "dense_head": False}),
]
IN_PLACE = "patch_embed.conv."  # of VOLO; torch forbids backward hooks before an operation in place, here a ReLU

# Hooks


@pytest.mark.parametrize(("family", "overrides"), NETWORKS)
def test_hooks_fire_on_every_module_with_parameters(family, overrides):
    model, x = small(family, **overrides).double(), images(dtype=torch.float64)
    watched = [n for n, m in model.named_modules() if list(m.parameters(recurse=False)) or isinstance(m, Stage)]
    want, want_grads = model(x), torch.autograd.grad(model(x).square().sum(), list(model.parameters()))

    calls = {kind: set() for kind in ("before", "after", "backward")}
    for name in watched:
        module = model.get_submodule(name)
        module.register_forward_pre_hook(lambda *_, name=name: calls["before"].add(name))
        module.register_forward_hook(lambda *_, name=name: calls["after"].add(name))
        if not name.startswith(IN_PLACE):
            module.register_full_backward_hook(lambda *_, name=name: calls["backward"].add(name))
    got = model(x)
    got_grads = torch.autograd.grad(got.square().sum(), list(model.parameters()))

    assert calls["before"] == calls["after"] == set(watched)
    assert calls["backward"] == {name for name in watched if not name.startswith(IN_PLACE)}
    assert_close(got, want, atol=1e-12, rtol=1e-12)
    assert_close(got_grads, want_grads, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_stage_gives_its_map_whatever_block_is_tapped(checkpointing):
    model, x = small("volo").eval(), images()
    model.set_grad_checkpointing(checkpointing)
    want = model.forward_features(x, taps=range(5))
    seen = {}
    for name in ("network.0", "network.2"):
        model.get_submodule(name).register_forward_hook(lambda *args, name=name: seen.update({name: args}))
    for taps in ([0], [1], [0, 2, 4], [3], range(5)):
        assert_close(model.forward_features(x, taps=taps), [want[tap] for tap in taps], atol=0, rtol=0)
        for name, last in (("network.0", 1), ("network.2", 4)):
            _, inputs, out = seen.pop(name)
            assert len(inputs) == 1
            assert_close(out.permute(0, 3, 1, 2), want[last], atol=0, rtol=0)


def test_what_a_hook_or_an_adapter_makes_of_a_stage_is_what_its_tap_gives():
    model, x = small("volo").eval(), images()
    want = model.forward_features(x, taps=[0, 1])
    handle = model.network[0].register_forward_hook(lambda module, inputs, out: out + 1)
    got = model.forward_features(x, taps=[0, 1])
    assert_close(got, [want[0], want[1] + 1])
    changed = model(x)
    handle.remove()

    class Adapter(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base = base

        def forward(self, x):
            return self.base(x) + 1

    model.network[0] = Adapter(model.network[0])
    assert_close(model.forward_features(x, taps=[1]), got[1:])
    assert_close(model(x), changed)


def test_state_dict_names_of_volo_stages_have_not_changed():
    names = small("volo").state_dict().keys()
    assert {name.split(".")[1] for name in names if name.startswith("network.")} == {"0", "1", "2"}
    assert {"network.0.1.attn.v.weight", "network.1.proj.weight", "network.2.2.mlp.fc2.bias"} <= set(names)


# When the fused operation is taken


def test_fused_where_nothing_watches(fused):
    small("van")(images())
    assert fused == ["large_kernel_attention", "depthwise_conv2d"] * 3


def patch_forward(conv):
    conv.forward = conv.forward
    return lambda: delattr(conv, "forward")


HOOKS = {
    "forward hook": lambda conv: conv.register_forward_hook(lambda *_: None).remove,
    "forward pre-hook": lambda conv: conv.register_forward_pre_hook(lambda *_: None).remove,
    "backward hook": lambda conv: conv.register_full_backward_hook(lambda *_: None).remove,
    "backward pre-hook": lambda conv: conv.register_full_backward_pre_hook(lambda *_: None).remove,
    "forward of the instance": patch_forward,
}


@pytest.mark.parametrize("watch", HOOKS.values(), ids=HOOKS)
@pytest.mark.parametrize("name", CONVS)
def test_one_watched_conv_is_called_until_it_is_left_alone(name, watch, fused):
    unit, x = gating_unit(small("van")), torch.randn(2, 16, 9, 9)
    want = unit(x)
    stop = watch(getattr(unit, name))
    fused.clear()
    assert_close(unit(x), want, atol=1e-6, rtol=1e-5)
    assert "large_kernel_attention" not in fused
    assert len(fused) == (2 if name == "conv1" else 1)  # the other depth-wise convolutions keep their fast form
    stop()
    fused.clear()
    assert torch.equal(unit(x), want)
    assert fused == ["large_kernel_attention"]


GLOBAL = {
    "forward": nn.modules.module.register_module_forward_hook,
    "forward pre": nn.modules.module.register_module_forward_pre_hook,
    "backward": nn.modules.module.register_module_full_backward_hook,
    "backward pre": nn.modules.module.register_module_full_backward_pre_hook,
}


@pytest.mark.parametrize("register", GLOBAL.values(), ids=GLOBAL)
def test_hooks_of_all_modules_see_every_module(register, fused):
    model = small("van")
    seen = set()
    handle = register(lambda module, *_: seen.add(module) and None)
    try:
        model(images()).sum().backward()
    finally:
        handle.remove()
    assert not fused
    assert {m for m in model.modules() if isinstance(m, nn.Conv2d)} <= seen


def wrap_around(conv):
    conv.padding_mode = "circular"
    conv._reversed_padding_repeated_twice = [2, 2, 2, 2]


CHANGES = {
    "no dilation": lambda unit: setattr(unit, "conv_spatial", nn.Conv2d(16, 16, 7, padding=3, groups=16)),
    "dilation": lambda unit: setattr(unit, "conv0", nn.Conv2d(16, 16, 5, padding=4, dilation=2, groups=16)),
    "groups": lambda unit: setattr(unit, "conv1", nn.Conv2d(16, 16, 1, groups=2)),
    "larger kernel": lambda unit: setattr(unit, "conv1", nn.Conv2d(16, 16, 3, padding=1)),
    "no conv at first": lambda unit: setattr(unit, "conv0", nn.Identity()),
    "no conv in the middle": lambda unit: setattr(unit, "conv_spatial", nn.Identity()),
    "no conv at last": lambda unit: setattr(unit, "conv1", nn.Identity()),
    "padding mode": lambda unit: wrap_around(unit.conv0),
    "dilation set": lambda unit: vars(unit.conv_spatial).update(dilation=(1, 1), padding=(3, 3)),
    "weight norm": lambda unit: parametrizations.weight_norm(unit.conv_spatial),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_convs_that_were_replaced_or_changed_compute_what_they_are(change):
    unit, x = gating_unit(small("van")), torch.randn(2, 16, 23, 23, dtype=torch.float64)
    change(unit)
    unit.double()
    want = unit.conv1(unit.conv_spatial(unit.conv0(x))) * x
    assert_close(unit(x), want, atol=1e-12, rtol=1e-12)


# Adapters, pruning, counters


class LowRank(nn.Module):
    """An adapter as peft makes it: no convolution by its class, and without `weight`."""

    def __init__(self, base, rank=2):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Conv2d(base.in_channels, rank, 1, bias=False)
        self.up = nn.Conv2d(rank, base.out_channels, 1, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


class LowRankConv(nn.Conv2d):
    """An adapter as loralib makes it: a subclass that keeps `weight`."""

    def __init__(self, base, rank=2):
        super().__init__(base.in_channels, base.out_channels, 1)
        self.load_state_dict(base.state_dict())
        self.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_channels, 1, 1) / 4)
        self.up = nn.Parameter(torch.zeros(base.out_channels, rank, 1, 1))

    def forward(self, x):
        return super().forward(x) + nn.functional.conv2d(nn.functional.conv2d(x, self.down), self.up)


@pytest.mark.parametrize("adapter", [LowRank, LowRankConv])
def test_low_rank_adapters_of_conv1_train(adapter):
    model, x = small("van").requires_grad_(False).eval(), images()
    before = model(x)
    for module in model.modules():
        if isinstance(module, van.LargeKernelAttention):
            module.conv1 = adapter(module.conv1)
    assert_close(model(x), before, atol=1e-6, rtol=1e-5)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == 6
    optimizer = torch.optim.SGD(trained, lr=0.1)
    losses = []
    for _ in range(4):
        loss = nn.functional.cross_entropy(model(x), torch.tensor([0, 3]))
        loss.backward()
        losses.append(loss.item())
        assert all(p.grad is not None for p in trained)
        optimizer.step()
    assert all(p.grad.abs().max() > 0 for p in trained)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("prune_one", [prune.l1_unstructured, prune.random_unstructured])
def test_pruned_convs_train(prune_one):
    model, x = small("van"), images()
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    for conv in convs:
        prune_one(conv, "weight", amount=0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    before = [conv.weight_orig.clone() for conv in convs]
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    assert all(not torch.equal(conv.weight_orig, old) for conv, old in zip(convs, before, strict=True))
    want = model.eval()(x)
    for conv in convs:
        prune.remove(conv, "weight")
        assert (conv.weight == 0).float().mean() >= 0.4
    assert_close(model(x), want, atol=1e-5, rtol=1e-5)


def test_a_counter_by_hooks_counts_what_torch_counts():
    """As thop and ptflops do it: by the exact class, from the shapes that a forward hook sees."""
    with torch.device("meta"):
        model, x = create_model("van_b0").eval(), torch.randn(1, 3, 224, 224)
    counted = {}

    def count(conv, inputs, out):
        counted[conv] = out.numel() * conv.weight[0].numel()

    handles = [m.register_forward_hook(count) for m in model.modules() if type(m) is nn.Conv2d]
    model(x)
    for handle in handles:
        handle.remove()
    with FlopCounterMode(display=False) as counter:
        model(x)
    by_torch = counter.get_flop_counts()
    assert 2 * sum(counted.values()) == by_torch["Global"][torch.ops.aten.convolution]
    unit = "VAN.block1.0.attn.spatial_gating_unit"
    macs = sum(counted[conv] for conv in model.block1[0].attn.spatial_gating_unit.children())
    assert 2 * macs == sum(sum(by_torch[f"{unit}.{name}"].values()) for name in CONVS)
