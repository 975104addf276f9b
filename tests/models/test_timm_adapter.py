"""timm's doors: names, features, heads, parameter groups, pretrained configs, files."""

import warnings
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import model_entrypoint
from timm.optim import param_groups_layer_decay
from torch.testing import assert_close

import volovan
import volovan.models.timm as adapter
from volovan.models import weights
from volovan.models.van import VAN

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = {  # published variants, cut down by the settings that timm hands through
    "van_b0": {"embed_dims": (8, 16, 32, 64), "depths": (1, 1, 2, 1)},
    "volo_d1": {
        "depths": (1, 1, 1, 1),
        "embed_dims": (24, 48, 48, 48),
        "num_heads": (2, 4, 4, 4),
        "stem_width": 8,
        "img_size": 64,
    },
    "lvvit_s": {"depth": 2, "embed_dim": 24, "num_heads": 3, "img_size": 48},
}
FILES = {"van_b0": "van", "volo_d1": "volo", "lvvit_s": "lvvit"}
VARIANTS = pytest.mark.parametrize("variant", list(SMALL))
WIDTH = {"van_b0": 64, "volo_d1": 48, "lvvit_s": 24}


def small(variant, **settings):
    return timm.create_model(f"{variant}.volovan", **(SMALL[variant] | {"num_classes": 10} | settings)).eval()


def golden(variant):
    return load_file(GOLDEN / f"{FILES[variant]}_tiny.safetensors")


def golden_state(variant):
    return {key.removeprefix("state."): t for key, t in golden(variant).items() if key.startswith("state.")}


def golden_model(variant, **settings):
    model = small(variant, **settings)
    model.load_state_dict(golden_state(variant))
    return model


# Names


def test_every_variant_is_registered_under_its_tag():
    assert set(volovan.list_models()) <= set(timm.list_models())
    for name in volovan.list_models():
        assert model_entrypoint(name).__module__ == "volovan.models.timm"
    pretrained = timm.list_pretrained(["volo_d*.volovan*", "van_b*.volovan*", "lvvit_*.volovan*"])
    assert len(pretrained) == len(weights.TABLE)
    assert {"volo_d1.volovan", "volo_d5.volovan_512", "van_b4.volovan_in22k"} <= set(pretrained)


def test_timm_keeps_its_own_volo():
    assert model_entrypoint("volo_d1_224").__module__ == "timm.models.volo"
    assert "volo_d1_224.sail_in1k" in timm.list_pretrained("volo_d1_224*")


def test_a_name_that_timm_has_itself_is_left_to_timm(monkeypatch):
    monkeypatch.setattr(adapter, "list_models", lambda: ["resnet18"])
    with pytest.warns(UserWarning, match="timm has a model resnet18 of its own"):
        adapter.register()
    assert model_entrypoint("resnet18").__module__ == "timm.models.resnet"


@pytest.mark.parametrize(("name", "parameters"), [("van_b0.volovan", 4_105_800), ("lvvit_t.volovan", 8_534_720)])
def test_published_variants_have_their_size(name, parameters):
    assert sum(p.numel() for p in timm.create_model(name).parameters()) == parameters


# Logits


@VARIANTS
def test_golden_weights_give_golden_logits(variant):
    model, tensors = golden_model(variant), golden(variant)
    with torch.no_grad():
        assert_close(model(tensors["input"]), tensors["output"], atol=1e-5, rtol=1e-4)
    assert list(model.state_dict()) == list(volovan.create_model(variant, **SMALL[variant]).state_dict())


@VARIANTS
def test_head_after_features_is_the_forward_pass(variant):
    model = golden_model(variant)
    x = torch.randn(2, 3, 70, 49)
    with torch.no_grad():
        features = model.forward_features(x)
        assert_close(model.forward_head(features), model(x))
        pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.num_features) == (2, WIDTH[variant])
    assert model.head_hidden_size == WIDTH[variant]


@VARIANTS
def test_reset_classifier_makes_new_heads(variant):
    model = small(variant).train()
    model.reset_classifier(3)
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 3)
    assert model.num_classes == 3
    assert model.get_classifier() is model.head
    assert model.get_classifier().out_features == 3
    model.reset_classifier(0)
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, WIDTH[variant])
    model.reset_classifier(0, global_pool="")
    assert model(torch.randn(2, 3, 64, 64)).shape == model.forward_features(torch.randn(2, 3, 64, 64)).shape


def test_global_pool_is_checked_and_used():
    model = golden_model("volo_d1", global_pool="avg")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        tokens = model.forward_features(x)
        want = model.head(tokens[:, 1:].mean(1)) + 0.5 * model.aux_head(tokens[:, 1:]).amax(1)
        assert_close(model(x), want)
    with pytest.raises(ValueError, match="global_pool is 'max', expected one of"):
        small("volo_d1", global_pool="max")
    with pytest.raises(ValueError, match="set num_classes=0"):
        small("van_b0", global_pool="")
    assert small("van_b0", global_pool="", num_classes=0)(x).shape == (2, 64, 2, 2)


@VARIANTS
def test_channels_classes_sizes_and_rates_pass_through(variant):
    model = small(variant, in_chans=1, num_classes=5, drop_path_rate=0.3, img_size=(96, 64))
    assert model.config.img_size == (96, 64)
    assert model.config.drop_path_rate == 0.3
    assert model.in_chans == 1
    assert model(torch.randn(1, 1, 96, 64)).shape == (1, 5)


def test_volo_runs_at_any_size():
    model = timm.create_model("volo_d1.volovan", img_size=(256, 320), depths=(1, 1, 0, 0)).eval()
    assert model.pos_embed.shape == (1, 16, 20, 384)
    with torch.no_grad():
        for size in ((256, 320), (97, 131), (32, 32)):
            assert model(torch.randn(1, 3, *size)).shape == (1, 1000)


def test_pretrained_tags_build_for_their_size():
    assert timm.create_model("volo_d1.volovan_384", depths=(1, 1, 0, 0)).pos_embed.shape[1:3] == (24, 24)
    assert timm.create_model("volo_d1.volovan", depths=(1, 1, 0, 0)).pos_embed.shape[1:3] == (14, 14)


def test_mixtoken_box_reaches_the_backbone():
    tensors = golden("volo_d1")
    model = golden_model("volo_d1").train()
    out = model(tensors["train.input"], box=torch.tensor([1, 0, 3, 3]))
    assert_close(out.logits, tensors["train.x_cls"], atol=1e-5, rtol=1e-4)


# Features

FEATURES = {  # channels, strides, modules of the default taps
    "van_b0": ([8, 16, 32, 64], [4, 8, 16, 32], ["norm1", "norm2", "norm3", "norm4"]),
    "volo_d1": ([24, 48], [8, 16], ["network.0", "network.4"]),
    "lvvit_s": ([24], [16], ["blocks.1"]),
}


@VARIANTS
def test_features_only_gives_maps_as_feature_info_says(variant):
    net = small(variant, features_only=True)
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
    net, plain = small(variant, features_only=True), volovan.create_model(variant, **SMALL[variant]).eval()
    state = golden_state(variant)
    net.model.load_state_dict(state, strict=False)
    plain.load_state_dict({k: t for k, t in state.items() if not k.startswith(("head", "aux"))}, strict=False)
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        for got, want in zip(net(x), plain.forward_features(x), strict=True):
            assert torch.equal(got, want)


@VARIANTS
def test_features_only_leaves_no_parameter_without_gradient(variant):
    net = small(variant, features_only=True).train()
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
    net = small(variant, features_only=True, out_indices=out_indices)
    whole = small(variant)
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
    net = small("volo_d1", features_only=True)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        compiled = torch.compile(net, fullgraph=True, backend="eager")(x)
        for got, want in zip(compiled, net(x), strict=True):
            assert_close(got, want)


@VARIANTS
def test_intermediates_come_with_the_final_features(variant):
    model = golden_model(variant)
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
    tensors = golden("volo_d1")
    with torch.no_grad():
        maps = golden_model("volo_d1").forward_intermediates(tensors["input"], intermediates_only=True)
    for got, name in zip(maps, ("0", "2", "3", "4"), strict=True):
        assert_close(got.permute(0, 2, 3, 1), tensors[f"feat.network.{name}"], atol=1e-6, rtol=1e-4)
    tensors = golden("van_b0")
    with torch.no_grad():
        maps = golden_model("van_b0").forward_intermediates(tensors["input"], intermediates_only=True)
    for i, got in enumerate(maps):
        assert_close(got, tensors[f"feat.{i}"], atol=3e-5, rtol=1e-4)


def test_norm_of_intermediates_skips_the_narrow_map():
    model = golden_model("volo_d1")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        plain = model.forward_intermediates(x, intermediates_only=True)
        normed = model.forward_intermediates(x, norm=True, intermediates_only=True)
    assert torch.equal(plain[0], normed[0])
    assert_close(normed[1], model.norm(plain[1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
    with torch.no_grad():  # the norm of VAN and LV-ViT
        lvvit = golden_model("lvvit_s")
        normed = lvvit.forward_intermediates(x, norm=True, intermediates_only=True)
        assert_close(normed[-1].flatten(2).transpose(1, 2), lvvit.forward_features(x)[:, 1:])


# Training


@VARIANTS
def test_layer_decay_rises_from_stem_to_head(variant):
    model = small(variant)
    groups = param_groups_layer_decay(
        model, weight_decay=0.05, layer_decay=0.5, no_weight_decay_list=model.no_weight_decay()
    )
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    by_name = {name: scale[id(p)] for name, p in model.named_parameters()}
    expected = {"van_b0": 6, "volo_d1": 7, "lvvit_s": 3}[variant]  # groups below the head: stem and blocks
    assert by_name["head.weight"] == 1.0
    assert min(by_name.values()) == 0.5**expected
    assert by_name[next(iter(by_name)) if variant == "van_b0" else "patch_embed.proj.weight"] == 0.5**expected
    undecayed = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    for name, p in model.named_parameters():
        assert (id(p) in undecayed) == (p.ndim <= 1 or name in ("pos_embed", "cls_token")), name


def test_coarse_groups_are_stages():
    assert len(small("van_b0").group_matcher(coarse=True)) == 1 + 4 + 1
    assert len(small("volo_d1").group_matcher(coarse=True)) == 1 + 4 + 1 + 1
    assert len(small("lvvit_s").group_matcher(coarse=True)) == 3


@VARIANTS
def test_gradient_checkpointing_changes_nothing(variant):
    model = golden_model(variant)
    x = torch.randn(1, 3, 64, 64)
    model(x).sum().backward()
    plain = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model.set_grad_checkpointing()
    model(x).sum().backward()
    for name, p in model.named_parameters():
        assert_close(p.grad, plain[name], atol=1e-5, rtol=1e-4)


# Pretrained configs and files


def test_data_config_is_that_of_the_weights():
    config = timm.data.resolve_model_data_config(small("van_b0"))
    assert config["mean"] == config["std"] == (0.5, 0.5, 0.5)
    assert config["crop_pct"] == 0.9
    assert config["interpolation"] == "bicubic"
    cfg = timm.get_pretrained_cfg("volo_d5.volovan_512")
    assert cfg.input_size == (3, 512, 512)
    assert cfg.crop_pct == 1.15
    assert cfg.hf_hub_id == "timm/volo_d5_512.sail_in1k"
    assert cfg.license == "apache-2.0"
    assert timm.get_pretrained_cfg("van_b6.volovan_in22k").num_classes == 21841


@pytest.mark.parametrize("layout", ["original", "mmpretrain", "transformers"])
def test_pretrained_files_of_every_layout_are_read(tmp_path, layout):
    writers = {
        "original": weights.to_original,
        "mmpretrain": weights.to_mmpretrain,
        "transformers": weights.to_huggingface,
    }
    source = golden_model("van_b0")
    path = tmp_path / "van.pth"
    torch.save({"state_dict": writers[layout](source)}, path)
    model = small("van_b0", pretrained=True, pretrained_cfg_overlay={"file": str(path), "num_classes": 10})
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), source.state_dict().values(), strict=True)
    )


def test_pretrained_weights_are_adapted(tmp_path):
    path = tmp_path / "volo.safetensors"
    save_file(golden_state("volo_d1"), path)
    overlay = {"file": str(path), "num_classes": 10}
    model = small(
        "volo_d1", pretrained=True, pretrained_cfg_overlay=overlay, img_size=(48, 96), num_classes=4, in_chans=1
    )
    state = golden_state("volo_d1")
    assert torch.equal(model.norm.weight, state["norm.weight"])
    assert_close(model.patch_embed.conv[0].weight.detach(), state["patch_embed.conv.0.weight"].sum(1, keepdim=True))
    assert model.pos_embed.shape[1:3] == (3, 6)
    net = small("volo_d1", features_only=True, pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(net.model.network[0][0].attn.v.weight, state["network.0.0.attn.v.weight"])


@pytest.mark.parametrize(("variant", "fetcher"), [("van_b0", "hub"), ("lvvit_s", "url")])
def test_pretrained_goes_through_the_row_of_the_table(monkeypatch, tmp_path, variant, fetcher):
    """timm fetches what its pretrained_cfg names; the file is read by us."""
    path = tmp_path / "weights.pth.tar"
    torch.save({"state_dict": golden_state(variant)}, path)
    asked = []

    def hub(model_id, filename, **_kwargs):
        asked.append(f"{model_id}/{filename}")
        return str(path)

    def cached(url, **_kwargs):
        asked.append(url)
        return str(path)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", hub)
    monkeypatch.setattr("timm.models._builder.download_cached_file", cached)
    model = small(variant, pretrained=True)
    assert torch.equal(model.head.weight, golden_state(variant)["head.weight"])
    want = {
        "hub": "Visual-Attention-Network/VAN-Tiny-original/van_tiny_754.pth.tar",
        "url": "lvvit_s-26M-224-83.3.pth.tar",
    }
    assert asked[0].endswith(want[fetcher])


def test_misfitting_files_are_refused(tmp_path):
    torch.save(golden_state("van_b0"), tmp_path / "a.pth")
    with pytest.raises(weights.WeightsError, match="do not fit volo_d1"):
        small("volo_d1", pretrained=True, pretrained_cfg_overlay={"file": str(tmp_path / "a.pth")})


def test_checkpoint_path_of_timm_loads(tmp_path):
    torch.save({"state_dict": golden_state("van_b0")}, tmp_path / "a.pth")
    model = small("van_b0", checkpoint_path=str(tmp_path / "a.pth"))
    assert torch.equal(model.head.weight, golden_state("van_b0")["head.weight"])


@VARIANTS
def test_models_saved_by_timm_open_again(tmp_path, variant):
    model = golden_model(variant)
    timm.models.save_for_hf(model, tmp_path, model_args=SMALL[variant], safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert_close(again(x), model(x))


def test_adapter_models_are_backbones_of_volovan(tmp_path):
    model = small("van_b0")
    assert isinstance(model, VAN)
    save_file(golden_state("van_b0"), tmp_path / "a.safetensors")
    weights.load_weights(model, tmp_path / "a.safetensors")
    assert torch.equal(model.head.bias, golden_state("van_b0")["head.bias"])


def test_other_tools_of_timm_take_the_models():
    from timm.utils import ModelEmaV3, freeze

    model = small("van_b0")
    assert ModelEmaV3(model).module.head.weight.shape == (10, 64)
    freeze(model, ["patch_embed1", "block1"])
    assert not model.patch_embed1.proj.weight.requires_grad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        timm.create_model("van_b0.volovan", **SMALL["van_b0"])
