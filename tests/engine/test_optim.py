"""Parameter groups on the real networks, freezing, frozen statistics, and one step of each optimiser."""

import pytest
import torch
from torch import nn

from volovan import create_model, create_saliency_model, create_segmenter
from volovan.engine.optim import build_optimizer, freeze, keep_frozen_statistics, parameter_groups
from volovan.engine.settings import OptimSettings, SettingsError

SMALL = {
    "van": {"embed_dims": (8, 16, 32), "depths": (2, 1, 2), "mlp_ratios": (2, 2, 2), "patch_kernels": (3, 3, 3)}
    | {"strides": (2, 2, 2)},
    "volo": {"depths": (2, 2), "embed_dims": (24, 48), "num_heads": (2, 4), "mlp_ratios": (2, 2)}
    | {"mixers": ("outlook", "attention"), "downsamples": (True, False), "stem_width": 8, "class_blocks": 2},
    "lvvit": {"depth": 12, "embed_dim": 24, "num_heads": 2, "mlp_ratio": 2, "stem_width": 8},
}
DEPTH = {"van": 5, "volo": 2 + 2 + 2, "lvvit": 12}


def small(family: str) -> nn.Module:
    return create_model(family, num_classes=5, img_size=32, **SMALL[family])


def decays(model: nn.Module, weight_decay: float = 0.05) -> dict[str, float]:
    groups = parameter_groups(model, OptimSettings(weight_decay=weight_decay))
    return {name: group["weight_decay"] for group in groups for name in group["names"]}


@pytest.mark.parametrize("family", SMALL)
def test_groups_hold_every_parameter_once(family):
    model = small(family)
    for layer_decay in (1.0, 0.75):
        groups = parameter_groups(model, OptimSettings(layer_decay=layer_decay))
        names = [name for group in groups for name in group["names"]]
        assert sorted(names) == sorted(name for name, _ in model.named_parameters())
        held = [id(p) for group in groups for p in group["params"]]
        assert len(held) == len(set(held)) == len(list(model.parameters()))


@pytest.mark.parametrize("family", SMALL)
def test_no_decay_follows_the_papers_rule(family):
    """volo.md 5.1: none on 1-D tensors, `.bias`, pos_embed, cls_token; van.md 4.1: none on 1-D tensors and biases."""
    model = small(family)
    got = decays(model)
    for name, parameter in model.named_parameters():
        free = parameter.ndim == 1 or name.endswith(".bias") or (family != "van" and name in ("pos_embed", "cls_token"))
        assert got[name] == (0.0 if free else 0.05), name
    assert any(value == 0.05 for value in got.values())
    if family == "van":  # layer scales and both norms are 1-D
        assert all(got[n] == 0.0 for n in got if "layer_scale" in n or "norm" in n)
    else:
        assert got["pos_embed"] == got["cls_token"] == 0.0


def test_decay_of_the_segmentation_recipes():
    """van.md 4.4: UperNet spares names that hold "norm", so that biases and layer scales decay; FPN spares nothing."""
    model = small("van")

    def got(rule: str) -> dict[str, float]:
        groups = parameter_groups(model, OptimSettings(weight_decay=0.01, no_decay=rule))
        return {name: group["weight_decay"] for group in groups for name in group["names"]}

    for name, decay in got("norms").items():
        assert decay == (0.0 if "norm" in name else 0.01), name
    assert set(got("none").values()) == {0.01}


def expected_layer(family: str, name: str) -> int:
    """Number of the layer of a parameter, read from its name by hand; stem 0, head last."""
    parts = name.split(".")
    last = DEPTH[family] + 1
    if parts[0] in ("head", "aux_head", "norm"):
        return last
    if family == "lvvit":
        return 1 + int(parts[1]) if parts[0] == "blocks" else 0
    if family == "van":
        stage = int(parts[0][-1])
        first = {1: 1, 2: 3, 3: 4}[stage]
        if parts[0].startswith("block"):
            return first + int(parts[1])
        if parts[0].startswith("patch_embed"):
            return 0 if stage == 1 else first
        return {1: 2, 2: 3, 3: last}[stage]  # norms: with the last block of their stage, the final one with the head
    if parts[0] == "network":
        part = int(parts[1])  # outlookers, downsampling, transformers
        return {0: 1, 1: 3, 2: 3}[part] + (0 if part == 1 else int(parts[2]))
    return 5 + int(parts[1]) if parts[0] == "post_network" else 0


@pytest.mark.parametrize("family", SMALL)
def test_layer_decay_slows_each_layer_by_its_distance_from_the_head(family):
    model = small(family)
    groups = parameter_groups(model, OptimSettings(layer_decay=0.5))
    scales = {name: group["lr_scale"] for group in groups for name in group["names"]}
    last = DEPTH[family] + 1
    for name, scale in scales.items():
        assert scale == 0.5 ** (last - expected_layer(family, name)), name
    assert scales["head.weight"] == 1.0
    stem = "patch_embed1." if family == "van" else "patch_embed."
    assert {scales[name] for name in scales if name.startswith(stem)} == {0.5**last}


def test_layer_decay_needs_layers():
    with pytest.raises(SettingsError, match=r"optim.layer_decay 0.5: Linear has no layer_groups"):
        parameter_groups(nn.Linear(2, 2), OptimSettings(layer_decay=0.5))


def scales_of(model: nn.Module, **settings: float) -> dict[str, float]:
    groups = parameter_groups(model, OptimSettings(**settings))
    return {name: group["lr_scale"] for group in groups for name in group["names"]}


def small_segmenter() -> nn.Module:
    van = {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1), "mlp_ratios": (2, 2, 2, 2)}
    return create_segmenter("van", "upernet", 5, trunk_options=van, head_options={"channels": 8})


@pytest.mark.parametrize("family", SMALL)
def test_trunk_learns_at_its_part_of_the_rate_and_heads_at_the_whole(family):
    for name, scale in scales_of(small(family), trunk_lr=0.1).items():
        assert scale == (1 if name.split(".")[0] in ("head", "aux_head") else 0.1), name


def test_trunk_of_a_dense_network_is_what_carries_the_name():
    for model in (small_segmenter(), create_saliency_model("volo", "edn", trunk_options=SMALL["volo"], img_size=64)):
        scales = scales_of(model, trunk_lr=0.1)
        assert {name.split(".")[0] for name, scale in scales.items() if scale == 0.1} == {"trunk"}
        assert {name.split(".")[0] for name, scale in scales.items() if scale == 1} >= {"head"}
        assert set(scales.values()) == {0.1, 1}


@pytest.mark.parametrize("family", SMALL)
def test_trunk_rate_comes_on_top_of_layer_decay(family):
    """Also of what counts to the layer of the head but is none of it, such as the last norm."""
    layers = scales_of(small(family), layer_decay=0.5)
    both = scales_of(small(family), layer_decay=0.5, trunk_lr=0.1)
    assert both.keys() == layers.keys()
    for name, scale in both.items():
        of_trunk = name.split(".")[0] not in ("head", "aux_head")
        assert scale == pytest.approx(layers[name] * (0.1 if of_trunk else 1)), name
    beside_heads = {name for name, scale in layers.items() if scale == 1 and both[name] != 1}
    assert beside_heads
    assert all("norm" in name for name in beside_heads)


def test_trunk_rate_leaves_decay_and_the_one_group_of_each_parameter_as_they_were():
    model = small("van")
    groups = parameter_groups(model, OptimSettings(trunk_lr=0.1, layer_decay=0.5))
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert {name: group["weight_decay"] for group in groups for name in group["names"]} == decays(model)


def test_an_optimizer_steps_the_trunk_less():
    model = small("van")
    optimizer = build_optimizer(model, OptimSettings(name="sgd", trunk_lr=0.1, weight_decay=0, momentum=0))
    assert sorted({group["lr_scale"] for group in optimizer.param_groups}) == [0.1, 1]
    held = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    assert held[id(model.head.weight)] == 1
    assert held[id(model.patch_embed1.proj.weight)] == 0.1


def test_trunk_rate_needs_heads():
    with pytest.raises(SettingsError, match=r"optim.trunk_lr 0.1: Linear names no heads; leave it at 1"):
        parameter_groups(nn.Linear(2, 2), OptimSettings(trunk_lr=0.1))


def test_freeze_trunk_leaves_the_heads():
    model = small("van")
    frozen = freeze(model, ["trunk"])
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
    assert len(frozen) == len(list(model.parameters())) - 2
    assert {n for g in parameter_groups(model, OptimSettings()) for n in g["names"]} == {"head.weight", "head.bias"}


@pytest.mark.parametrize("family", SMALL)
def test_freeze_trunk_freezes_all_but_what_begins_with_a_head(family):
    model = small(family)
    wanted = [name for name, _ in model.named_parameters() if name.split(".")[0] not in ("head", "aux_head")]
    assert freeze(model, ["trunk"]) == wanted


def test_freeze_trunk_of_a_dense_network_freezes_its_trunk():
    segmenter = small_segmenter()
    assert segmenter.aux_head is not None
    for model in (segmenter, create_saliency_model("volo", "edn", trunk_options=SMALL["volo"], img_size=64)):
        assert freeze(model, ["trunk"]) == [f"trunk.{name}" for name, _ in model.trunk.named_parameters()]


def test_freeze_trunk_needs_heads():
    with pytest.raises(SettingsError, match=r"train.freeze trunk: Linear names no heads; name what to freeze"):
        freeze(nn.Linear(2, 2), ["trunk"])


def test_freeze_ends_a_number_where_it_ends():
    model = small("lvvit")
    assert {name.split(".")[1] for name in freeze(model, ["blocks.1"])} == {"1"}
    assert model.blocks[10].norm1.weight.requires_grad


def test_freeze_takes_beginnings_of_names():
    model = small("van")
    frozen = freeze(model, ["patch_embed", "block1."])
    assert {name.split(".")[0] for name in frozen} == {"patch_embed1", "patch_embed2", "patch_embed3", "block1"}


def test_freeze_refuses_what_fits_nothing():
    with pytest.raises(SettingsError, match=r"train.freeze 'stem' fits no parameter; names begin with block1, block2"):
        freeze(small("van"), ["stem"])


def test_freezing_everything_is_refused():
    model = small("van")
    freeze(model, ["trunk", "head"])
    with pytest.raises(SettingsError, match="leaves no parameter"):
        parameter_groups(model, OptimSettings())


def test_frozen_batch_norms_keep_their_statistics():
    model = small("van")
    freeze(model, ["block1", "patch_embed1"])
    model.train()
    keep_frozen_statistics(model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(torch.randn(4, 3, 32, 32) + 3)
    for name, buffer in model.named_buffers():
        still = name.startswith(("block1", "patch_embed1"))
        assert torch.equal(buffer, before[name]) == still, name


def one_step(name: str, **settings) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weight before, its gradient, weight after one step of rate 0.1."""
    model = nn.Linear(4, 3, bias=False)
    optimizer = build_optimizer(model, OptimSettings(name=name, lr=0.1, **settings))
    before = model.weight.detach().clone()
    gradient = torch.randn(3, 4)
    model.weight.grad = gradient.clone()
    optimizer.step()
    return before, gradient, model.weight.detach()


def test_adamw_step_by_its_formula():
    w, g, got = one_step("adamw", weight_decay=0.05)
    assert torch.allclose(got, w * (1 - 0.1 * 0.05) - 0.1 * g / (g.abs() + 1e-8), atol=1e-6)


def test_adam_step_adds_the_decay_to_the_gradient():
    w, g, got = one_step("adam", weight_decay=0.05)
    g = g + 0.05 * w
    assert torch.allclose(got, w - 0.1 * g / (g.abs() + 1e-8), atol=1e-6)


def test_sgd_step_is_nesterov():
    w, g, got = one_step("sgd", weight_decay=0.05, momentum=0.9)
    g = g + 0.05 * w
    assert torch.allclose(got, w - 0.1 * (g + 0.9 * g), atol=1e-6)
    w, g, got = one_step("sgd", weight_decay=0.0, momentum=0.0)
    assert torch.allclose(got, w - 0.1 * g, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_lamb_step_trusts_by_norms_and_does_not_clip_in_secret(scale):
    model = nn.Linear(4, 3, bias=False)
    optimizer = build_optimizer(model, OptimSettings(name="lamb", lr=0.1, weight_decay=0.05, eps=1.0))
    w, g = model.weight.detach().clone(), scale * torch.randn(3, 4)
    model.weight.grad = g.clone()
    optimizer.step()
    update = g / (g.abs() + 1.0) + 0.05 * w  # an eps this large shows a clipped gradient
    want = w - 0.1 * w.norm() / update.norm() * update
    assert torch.allclose(model.weight.detach(), want, atol=1e-6)


def test_unknown_optimizer_is_named():
    with pytest.raises(SettingsError, match=r"optim.name is 'lion'; known: adamw, adam, sgd, lamb"):
        build_optimizer(nn.Linear(2, 2), OptimSettings(name="lion"))


PUBLISHED = {  # name -> blocks from the stem to the head
    "van_b0": 3 + 3 + 5 + 2,
    "volo_d1": 4 + 4 + 8 + 2 + 2,
    "lvvit_s": 16,
}
ANCHORS = {  # parameter -> blocks above it, counted by hand
    "van_b0": {"patch_embed1.proj.weight": 13, "block1.0.attn.proj_1.weight": 12, "block4.1.mlp.fc1.weight": 0},
    "volo_d1": {"pos_embed": 20, "network.0.0.norm1.weight": 19, "post_network.1.norm1.weight": 0},
    "lvvit_s": {"cls_token": 16, "blocks.0.norm1.weight": 15, "blocks.15.norm1.weight": 0},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_layer_decay_of_published_networks_counts_blocks_from_the_top(name):
    with torch.device("meta"):
        model = create_model(name)
    groups = parameter_groups(model, OptimSettings(layer_decay=0.65))
    scales = {parameter: group["lr_scale"] for group in groups for parameter in group["names"]}
    assert set(scales) == {parameter for parameter, _ in model.named_parameters()}
    assert len(set(scales.values())) == PUBLISHED[name] + 2  # stem and head beside the blocks
    for parameter, above in ANCHORS[name].items():
        assert scales[parameter] == pytest.approx(0.65 ** (above + 1)), parameter
    assert scales["head.weight"] == 1
    if name != "van_b0":
        assert scales["aux_head.weight"] == 1
