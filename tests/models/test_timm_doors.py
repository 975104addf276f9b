"""What other tools call on our networks: hooks, graphs of torch.fx, dilated maps, test-time pooling, DPT."""

import copy
import importlib.util
import logging
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers.test_time_pool import apply_test_time_pool
from torch import Tensor, fx, nn
from torch.testing import assert_close
from torchvision.models.feature_extraction import create_feature_extractor

import volovan
import volovan.models.timm
from networks import FAMILIES, family_of, tiny, tiny_in_timm
from volovan.models import weights
from volovan.models.config import ConfigError
from volovan.models.layers import MixTokenOutput

INSIDE = {"van": ["norm1", "norm4"], "volo": ["network.0", "network.2"], "lvvit": ["blocks.0", "blocks.1"]}
IN_TIMM = pytest.mark.parametrize("variant", ["van_b0", "volo_d1", "lvvit_t"])


def lively(model: nn.Module) -> nn.Module:
    """With statistics, norms and layer scales of many sizes, so that no part of it is without effect."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.dim() == 1 and tensor.is_floating_point():
                tensor.uniform_(0.05, 0.3) if "running_mean" not in name else tensor.normal_(0, 0.3)
    return model.eval()


def lively_tiny(family: str, **changes: Any) -> nn.Module:
    return lively(tiny(family, **changes))


# torch.fx


@FAMILIES
@pytest.mark.parametrize("size", [(64, 64), (49, 83)])
def test_a_graph_of_fx_answers_as_the_network(family, size):
    model = lively_tiny(family, drop_path_rate=0.2)
    images = torch.randn(2, 3, *size)
    assert_close(fx.symbolic_trace(model)(images), model(images))


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("van", {}),
        ("van", {"dense_kernel": True, "lka_kernel": 5}),
        ("van", {"output_stride": 8}),
        ("volo", {}),
        ("volo", {"mixers": ("local", "attention", "attention", "attention")}),
        ("lvvit", {}),
    ],
)
def test_graphs_train_and_are_for_any_size(family, changes):
    model = lively_tiny(family, drop_path_rate=0.5, **changes).train()
    graph = fx.symbolic_trace(model)
    for size in (64, 80):
        images = torch.randn(4, 3, size, size)
        torch.manual_seed(1)
        expected = model(images)
        torch.manual_seed(1)
        assert_close(graph(images), expected)
    expected.sum().backward()


@FAMILIES
def test_the_feature_extractor_of_torchvision_finds_every_module(family):
    model = lively_tiny(family)
    extractor = create_feature_extractor(copy.deepcopy(model), [*INSIDE[family], "head"]).eval()
    caught: dict[str, Tensor] = {}
    modules = dict(model.named_modules())
    for name in (*INSIDE[family], "head"):
        modules[name].register_forward_hook(lambda _m, _i, out, name=name: caught.__setitem__(name, out))
    images = torch.randn(2, 3, 64, 96)
    model(images)
    found = extractor(images)
    assert list(found) == list(caught)
    for name, expected in caught.items():
        assert_close(found[name], expected)


def test_a_graph_mixes_no_tokens_and_the_network_still_does():
    model = lively_tiny("volo").train()
    fx.symbolic_trace(model)
    assert isinstance(model(torch.randn(2, 3, 64, 64), torch.tensor([0, 0, 1, 1])), MixTokenOutput)


@IN_TIMM
def test_the_adapters_are_traced_too(variant):
    model = lively(tiny_in_timm(variant))
    images = torch.randn(1, 3, 64, 96)
    assert_close(fx.symbolic_trace(model)(images), model(images))


# Hooks


@IN_TIMM
@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_features_caught_by_hooks_are_those_of_the_getter(variant, size):
    """The same shapes, too: (B, C, H, W), whatever the hooked module returns."""
    hooked = tiny_in_timm(variant, features_only=True, feature_cls="hook")
    getter = tiny_in_timm(variant, features_only=True)
    getter.model.load_state_dict(lively(hooked).body.state_dict(), strict=False)
    images = torch.randn(1, 3, *size)
    maps = hooked(images)
    assert [m.shape[1] for m in maps] == hooked.feature_info.channels() == getter.feature_info.channels()
    for caught, expected in zip(maps, getter(images), strict=True):
        assert_close(caught, expected)


def test_norms_of_van_return_maps_under_their_published_names():
    model = lively_tiny("van")
    assert isinstance(model.norm1, nn.LayerNorm)
    caught = []
    model.norm1.register_forward_hook(lambda _m, _i, out: caught.append(out))
    maps = model.forward_features(torch.randn(2, 3, 64, 32))
    assert caught[0].shape == (2, 8, 16, 8)
    assert_close(caught[0], maps[0])


# Class tokens beside maps


def test_prefix_tokens_come_as_timm_gives_them():
    images = torch.randn(2, 3, 64, 64)
    lvvit = tiny_in_timm("lvvit_t")
    taps = [0, 1]
    pairs = lvvit.forward_intermediates(images, indices=taps, return_prefix_tokens=True, intermediates_only=True)
    maps = lvvit.forward_intermediates(images, indices=taps, intermediates_only=True)
    caught: list[Tensor] = []
    for block in lvvit.blocks:
        block.register_forward_hook(lambda _m, _i, out: caught.append(out))
    lvvit(images)
    for (one, token), expected, tokens in zip(pairs, maps, caught, strict=True):
        assert_close(one, expected)
        assert_close(token, tokens[:, :1])
    volo = tiny_in_timm("volo_d1")
    final, pairs = volo.forward_intermediates(images, return_prefix_tokens=True)
    assert_close(final, volo.forward_features(images))
    for one, token in pairs:
        assert_close(token[:, 0], one.mean(dim=(2, 3)))
    van = tiny_in_timm("van_b0")
    plain = van.forward_intermediates(images, return_prefix_tokens=True, intermediates_only=True)
    assert all(isinstance(one, Tensor) for one in plain)


# Output stride


@pytest.mark.parametrize("size", [(64, 64), (131, 75)])
@pytest.mark.parametrize("changes", [{}, {"dense_kernel": True, "lka_kernel": 7}, {"use_dwd": False}])
@pytest.mark.parametrize(("stride", "reductions"), [(8, [4, 8, 8, 8]), (16, [4, 8, 16, 16]), (32, [4, 8, 16, 32])])
def test_dilated_maps_hold_the_plain_ones(stride, reductions, changes, size):
    """Every n-th position is what it was, borders included: nothing has moved, and every position sees as far."""
    plain, dilated = lively_tiny("van", **changes), lively_tiny("van", output_stride=stride, **changes)
    dilated.load_state_dict(plain.state_dict())
    assert list(dilated.strides) == reductions
    images = torch.randn(1, 3, *size)
    for found, expected, have, want in zip(
        dilated.forward_features(images), plain.forward_features(images), reductions, plain.strides, strict=True
    ):
        assert found.shape[2:] == tuple(-(-side // have) for side in size)
        step = want // have
        assert_close(found[:, :, ::step, ::step], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("stride", "reductions"), [(8, [4, 8, 8, 8]), (16, [4, 8, 16, 16])])
def test_timm_takes_output_stride(stride, reductions):
    net = tiny_in_timm("van_b0", features_only=True, output_stride=stride)
    assert net.feature_info.reduction() == reductions
    assert [m.shape[2] for m in net(torch.randn(1, 3, 64, 64))] == [64 // r for r in reductions]
    short = tiny_in_timm("van_b0", features_only=True, output_stride=stride, out_indices=(0, 1))
    assert [m.shape[2] for m in short(torch.randn(1, 3, 64, 64))] == [16, 8]
    model = tiny_in_timm("van_b0", output_stride=stride)
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 10)


def test_an_output_stride_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="output_stride is 12, expected one of the strides of its maps: 4, 8, 16, 32"):
        volovan.create_model("van_b0", output_stride=12)
    with pytest.raises(ConfigError, match=r"maps have strides \(4, 8, 16, 16\), dense tasks need"):
        volovan.create_segmenter("van_b0", num_classes=3, trunk_options={"output_stride": 16})


def test_a_dilated_network_is_built_again_from_its_config(tmp_path):
    model = lively_tiny("van", output_stride=8)
    again = volovan.create_model(**model.config.__dict__).eval()
    again.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 64, 64)
    assert_close(again(images), model(images))


# Test-time pooling, channels


def test_test_time_pooling_is_the_network_at_its_own_size():
    model = lively(tiny_in_timm("van_b0"))
    assert model.default_cfg["pool_size"] == (7, 7)
    assert timm.get_pretrained_cfg("volo_d1.volovan").pool_size is None  # its head reads tokens
    images = torch.randn(1, 3, 224, 224)
    expected = model(images)
    pooled, applied = apply_test_time_pool(model, {"input_size": (3, 288, 288)})
    assert applied
    assert_close(pooled.eval()(images), expected, atol=1e-5, rtol=1e-4)
    assert pooled(torch.randn(1, 3, 288, 288)).shape == (1, 10)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("variant", ["van_b0", "volo_d1", "lvvit_t"])
def test_adapted_channels_warn_of_nothing(tmp_path, caplog, variant, channels):
    source = tiny_in_timm(variant)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    overlay = {"file": str(tmp_path / "w.safetensors"), "num_classes": 10}
    with caplog.at_level(logging.WARNING):
        model = tiny_in_timm(variant, pretrained=True, pretrained_cfg_overlay=overlay, in_chans=channels)
    assert not caplog.records
    ours = tiny(family_of(variant), in_chans=channels)
    weights.load_weights(ours, tmp_path / "w.safetensors")
    for name, tensor in ours.state_dict().items():
        assert_close(model.state_dict()[name], tensor)


# segmentation_models_pytorch, where it is installed

SMP = pytest.mark.skipif(
    importlib.util.find_spec("segmentation_models_pytorch") is None,
    reason="segmentation_models_pytorch is not installed",
)


@SMP
@pytest.mark.parametrize(("name", "stride"), [("DeepLabV3Plus", 8), ("DeepLabV3Plus", 16), ("PAN", 16), ("Unet", 32)])
def test_decoders_of_smp_take_van(name, stride):
    import segmentation_models_pytorch as smp

    how = {} if stride == 32 else {"encoder_output_stride": stride}
    net = getattr(smp, name)("tu-van_b0.volovan", encoder_weights=None, classes=2, **how).eval()
    assert net(torch.randn(1, 3, 128, 160)).shape == (1, 2, 128, 160)


@SMP
@pytest.mark.parametrize("variant", ["lvvit_t", "volo_d1"])
def test_dpt_of_smp_takes_the_token_networks(variant):
    import segmentation_models_pytorch as smp

    net = smp.DPT(f"tu-{variant}.volovan", encoder_weights=None, classes=2).eval()
    assert net(torch.randn(1, 3, 224, 224)).shape == (1, 2, 224, 224)
