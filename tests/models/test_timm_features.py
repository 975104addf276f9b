"""Maps of our networks as timm gives them: features_only, forward_intermediates."""

import pytest
import torch
from torch.testing import assert_close

import volovan
from networks import TINY, VARIANTS, family_of, golden, golden_in_timm, golden_state, tiny_in_timm

FEATURES = {  # channels, strides, modules of the default taps
    "van_b0": ([8, 16, 32, 64], [4, 8, 16, 32], ["norm1", "norm2", "norm3", "norm4"]),
    "volo_d1": ([24, 48], [8, 16], ["network.0", "network.4"]),
    "lvvit_s": ([24], [16], ["blocks.1"]),
}


@VARIANTS
def test_features_only_gives_maps_as_feature_info_says(variant):
    net = tiny_in_timm(variant, features_only=True)
    assert net.feature_info.channels() == FEATURES[variant][0]
    assert net.feature_info.reduction() == FEATURES[variant][1]
    assert net.feature_info.module_name() == FEATURES[variant][2]
    modules = dict(net.model.named_modules())
    assert all(name in modules for name in FEATURES[variant][2])
    for height, width in ((96, 64), (64, 128)):
        maps = net(torch.randn(1, 3, height, width))
        for tensor, channels, stride in zip(maps, *FEATURES[variant][:2], strict=True):
            assert tensor.shape == (1, channels, height // stride, width // stride)


@VARIANTS
def test_features_equal_those_of_the_backbone(variant):
    net = tiny_in_timm(variant, features_only=True)
    plain = volovan.create_model(variant, **TINY[family_of(variant)]).eval()
    state = golden_state(family_of(variant))
    net.model.load_state_dict(state, strict=False)
    plain.load_state_dict({k: t for k, t in state.items() if not k.startswith(("head", "aux"))}, strict=False)
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        for got, want in zip(net(x), plain.forward_features(x), strict=True):
            assert torch.equal(got, want)


@VARIANTS
def test_features_only_leaves_no_parameter_without_gradient(variant):
    net = tiny_in_timm(variant, features_only=True).train()
    sum(tensor.square().sum() for tensor in net(torch.randn(2, 3, 64, 64))).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None]


@pytest.mark.parametrize(
    ("variant", "out_indices", "channels"),
    [
        ("van_b0", (0,), [8]),
        ("van_b0", (1, 2), [16, 32]),
        ("volo_d1", (0,), [24]),
        ("volo_d1", (0, 1, 2, -1), [24, 48, 48, 48]),
        ("volo_d1", 2, [48, 48]),
        ("lvvit_s", (0,), [24]),
        ("lvvit_s", (-1, 0), [24, 24]),
    ],
)
def test_features_only_prunes_to_out_indices(variant, out_indices, channels):
    net = tiny_in_timm(variant, features_only=True, out_indices=out_indices)
    whole = tiny_in_timm(variant)
    whole.load_state_dict(net.model.state_dict(), strict=False)
    assert net.feature_info.channels() == channels
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for got, want in zip(net(x), whole.forward_intermediates(x, out_indices, intermediates_only=True), strict=True):
            assert_close(got, want)
    if out_indices == (0,):
        unused = ("head", "aux_head", "norm.", "post_network", "block2", "network.2", "blocks.1")
        assert not [name for name, _ in net.model.named_parameters() if name.startswith(unused)]


def test_features_only_compiles_without_graph_break():
    net = tiny_in_timm("volo_d1", features_only=True)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        compiled = torch.compile(net, fullgraph=True, backend="eager")(x)
        for got, want in zip(compiled, net(x), strict=True):
            assert_close(got, want)


@VARIANTS
def test_intermediates_come_with_the_final_features(variant):
    model = golden_in_timm(variant)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        final, maps = model.forward_intermediates(x)
        assert_close(final, model.forward_features(x))
        assert len(maps) == len(model.feature_info)
        last = model.forward_intermediates(x, indices=1, intermediates_only=True)
        assert_close(last[0], maps[-1])
        early, first = model.forward_intermediates(x, indices=[0], stop_early=True)
        assert_close(first[0], maps[0])
        assert torch.equal(early, first[0])
        assert_close(model(x), model.forward_head(final))  # stopping early has not shortened the model itself
    with pytest.raises(ValueError, match="output_fmt is 'NLC', expected 'NCHW'"):
        model.forward_intermediates(x, output_fmt="NLC")
    with pytest.raises(ValueError, match=r"indices are \[9\], expected some of the \d taps"):
        model.forward_intermediates(x, indices=[9])


def test_intermediates_are_those_of_the_golden_model():
    tensors = golden("volo")
    with torch.no_grad():
        maps = golden_in_timm("volo_d1").forward_intermediates(tensors["input"], intermediates_only=True)
    for got, name in zip(maps, ("0", "2", "3", "4"), strict=True):
        assert_close(got.permute(0, 2, 3, 1), tensors[f"feat.network.{name}"], atol=1e-6, rtol=1e-4)
    tensors = golden("van")
    with torch.no_grad():
        maps = golden_in_timm("van_b0").forward_intermediates(tensors["input"], intermediates_only=True)
    for i, got in enumerate(maps):
        assert_close(got, tensors[f"feat.{i}"], atol=3e-5, rtol=1e-4)


def test_norm_of_intermediates_skips_the_narrow_map():
    model = golden_in_timm("volo_d1")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        plain = model.forward_intermediates(x, intermediates_only=True)
        normed = model.forward_intermediates(x, norm=True, intermediates_only=True)
    assert torch.equal(plain[0], normed[0])
    assert_close(normed[1], model.norm(plain[1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
    with torch.no_grad():  # the norm of VAN and LV-ViT
        lvvit = golden_in_timm("lvvit_s")
        normed = lvvit.forward_intermediates(x, norm=True, intermediates_only=True)
        assert_close(normed[-1].flatten(2).transpose(1, 2), lvvit.forward_features(x)[:, 1:])
