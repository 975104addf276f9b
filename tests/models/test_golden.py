"""All three families against the golden tensors of the official code; tolerances of tests/golden."""

import pytest
import torch
from torch.testing import assert_close

from networks import TINY, tiny
from volovan.models.layers import resize_position

CLOSE = {"atol": 1e-5, "rtol": 1e-4}
MAPS = {"atol": 3e-5, "rtol": 1e-5}
NAMES = [f"{family}_tiny" for family in TINY]


@pytest.fixture
def load(golden):
    """load("van_tiny") -> (network in eval mode with the golden weights, golden tensors)."""

    def load(name, **overrides):
        tensors = golden(name)
        model = tiny(name.removesuffix("_tiny"), **overrides)
        state = {key.removeprefix("state."): t for key, t in tensors.items() if key.startswith("state.")}
        model.load_state_dict(state, strict=True)
        return model, tensors

    return load


@pytest.mark.parametrize("name", NAMES)
def test_golden_logits(load, name):
    model, g = load(name)
    assert_close(model(g["input"]), g["output"], **CLOSE)


@pytest.mark.parametrize("name", NAMES)
def test_golden_logits_in_float64(load, name):
    model, g = load(name)
    assert_close(model.double()(g["input"].double()).float(), g["output"], **CLOSE)


@pytest.mark.parametrize("name", NAMES)
def test_golden_logits_channels_last(load, name):
    model, g = load(name)
    model = model.to(memory_format=torch.channels_last)
    assert_close(model(g["input"].to(memory_format=torch.channels_last)), g["output"], **CLOSE)


@pytest.mark.parametrize("name", ["van_tiny", "volo_tiny"])
def test_golden_gradients(load, name):
    model, g = load(name)
    x = g["input"].requires_grad_()
    (model(x) * g["cotangent"]).sum().backward()
    assert_close(x.grad, g["grad_input" if name == "van_tiny" else "grad.input"], **MAPS)
    grads = {key.removeprefix("grad."): t for key, t in g.items() if key.startswith("grad.") and key != "grad.input"}
    parameters = dict(model.named_parameters())
    assert len(grads) == (25 if name == "van_tiny" else len(parameters))
    for key, want in grads.items():
        assert_close(parameters[key].grad, want, atol=3e-5 * want.abs().max().item() + 1e-7, rtol=1e-4)


def test_golden_van_maps(load):
    model, g = load("van_tiny")
    for i, got in enumerate(model.forward_features(g["input"])):
        assert_close(got, g[f"feat.{i}"], **MAPS)
    assert_close(model(g["input_rect"]), g["output_rect"], **CLOSE)


def test_golden_van_training_mode(load):
    model, g = load("van_tiny")
    assert_close(model.train()(g["input"]), g["output_train"], **CLOSE)
    after = {key.removeprefix("train_state."): t for key, t in g.items() if key.startswith("train_state.")}
    assert len(after) == 42
    for key, want in after.items():
        assert_close(model.state_dict()[key], want, **CLOSE)


def test_golden_volo_maps(load):
    model, g = load("volo_tiny")
    small = {"atol": 1e-6, "rtol": 1e-4}
    for got, i in zip(model.forward_features(g["input"], taps=range(4)), (0, 2, 3, 4), strict=True):
        assert_close(got.permute(0, 2, 3, 1), g[f"feat.network.{i}"], **small)
    default = model.forward_features(g["input"])
    assert_close(default[0].permute(0, 2, 3, 1), g["feat.network.0"], **small)
    assert_close(default[1].permute(0, 2, 3, 1), g["feat.network.4"], **small)
    patches = model.patch_embed(g["input"])
    assert_close(patches, g["feat.patch_embed"], **small)
    assert_close(model.network[1](g["feat.network.0"]), g["feat.network.1"], **small)
    tokens = torch.cat([model.cls_token.expand(2, -1, -1), g["feat.network.4"].flatten(1, 2)], dim=1)
    for i, block in enumerate(model.post_network):
        tokens = block(tokens)
        assert_close(tokens, g[f"feat.post_network.{i}"], **small)
    assert_close(model.norm(tokens), g["feat.norm"], **CLOSE)


def test_golden_volo_heads(load):
    model, g = load("volo_tiny")
    out = model(g["input"], box=torch.zeros(4, dtype=torch.long))
    assert_close(out.logits, g["out.cls"], **CLOSE)
    assert_close(out.patch_logits, g["out.aux"], **CLOSE)


def test_golden_volo_odd_grid(load):
    model, g = load("volo_tiny")
    assert_close(model(g["odd.input"]), g["odd.output"], **CLOSE)
    first = model.forward_features(g["odd.input"])[0].permute(0, 2, 3, 1)
    assert_close(first, g["odd.feat.network.0"], atol=1e-6, rtol=1e-4)
    assert_close(model.network[1](first), g["odd.feat.network.1"], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["volo_tiny", "lvvit_tiny"])
def test_golden_training_mode_with_box(load, name):
    model, g = load(name)
    out = model.train()(g["train.input"], box=g["train.bbox"].long())
    assert_close(out.logits, g["train.x_cls"], **CLOSE)
    assert_close(out.patch_logits, g["train.x_aux"], **CLOSE)
    for key, want in g.items():
        if key.startswith("train.after."):
            assert_close(model.state_dict()[key.removeprefix("train.after.")], want, **CLOSE)


def test_golden_lvvit_tokens(load):
    model, g = load("lvvit_tiny")
    tokens, size, _ = model.trunk(g["input"])
    assert size == (3, 3)
    assert_close(model.norm(tokens), g["tokens"], **CLOSE)


@pytest.mark.parametrize("side", [3, 6, 7])
def test_golden_position_resize(golden, side):
    g = golden("volo_tiny")
    assert_close(resize_position(g["pe.in"], (side, side)), g[f"pe.out{side}"], **CLOSE)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("van_tiny", {"norm_eps": 1e-5}),
        ("volo_tiny", {"norm_eps": 1e-6}),
        ("lvvit_tiny", {"norm_eps": 1e-6}),
        ("lvvit_tiny", {"residual_divisor": 1}),
    ],
    ids=str,
)
def test_golden_logits_notice_a_wrong_constant(load, name, change):
    """The golden tensors are made to be sensitive; if this fails the tests above prove nothing."""
    model, g = load(name, **change)
    assert (model(g["input"]) - g["output"]).abs().max() > 1e-3
