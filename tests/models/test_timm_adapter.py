"""timm's doors: names, heads, logits, parameter groups."""

import warnings

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import model_entrypoint
from timm.optim import param_groups_layer_decay
from torch.testing import assert_close

import volovan
import volovan.models.timm as adapter
from networks import TINY, VARIANTS, family_of, golden, golden_in_timm, golden_state, tiny_in_timm
from volovan.models import weights
from volovan.models.van import VAN

WIDTH = {"van_b0": 64, "volo_d1": 48, "lvvit_s": 24}


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
    model, tensors = golden_in_timm(variant), golden(family_of(variant))
    with torch.no_grad():
        assert_close(model(tensors["input"]), tensors["output"], atol=1e-5, rtol=1e-4)
    assert list(model.state_dict()) == list(volovan.create_model(variant, **TINY[family_of(variant)]).state_dict())


@VARIANTS
def test_head_after_features_is_the_forward_pass(variant):
    model = golden_in_timm(variant)
    x = torch.randn(2, 3, 70, 49)
    with torch.no_grad():
        features = model.forward_features(x)
        assert_close(model.forward_head(features), model(x))
        pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.num_features) == (2, WIDTH[variant])
    assert model.head_hidden_size == WIDTH[variant]


@VARIANTS
def test_reset_classifier_makes_new_heads(variant):
    model = tiny_in_timm(variant).train()
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
    model = golden_in_timm("volo_d1", global_pool="avg")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        tokens = model.forward_features(x)
        want = model.head(tokens[:, 1:].mean(1)) + 0.5 * model.aux_head(tokens[:, 1:]).amax(1)
        assert_close(model(x), want)
    with pytest.raises(ValueError, match="global_pool is 'max', expected one of"):
        tiny_in_timm("volo_d1", global_pool="max")
    with pytest.raises(ValueError, match="set num_classes=0"):
        tiny_in_timm("van_b0", global_pool="")
    assert tiny_in_timm("van_b0", global_pool="", num_classes=0)(x).shape == (2, 64, 2, 2)


@VARIANTS
def test_channels_classes_sizes_and_rates_pass_through(variant):
    model = tiny_in_timm(variant, in_chans=1, num_classes=5, drop_path_rate=0.3, img_size=(96, 64))
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
    tensors = golden("volo")
    model = golden_in_timm("volo_d1").train()
    out = model(tensors["train.input"], box=torch.tensor([1, 0, 3, 3]))
    assert_close(out.logits, tensors["train.x_cls"], atol=1e-5, rtol=1e-4)


# Training


@VARIANTS
def test_layer_decay_rises_from_stem_to_head(variant):
    model = tiny_in_timm(variant)
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
    assert len(tiny_in_timm("van_b0").group_matcher(coarse=True)) == 1 + 4 + 1
    assert len(tiny_in_timm("volo_d1").group_matcher(coarse=True)) == 1 + 4 + 1 + 1
    assert len(tiny_in_timm("lvvit_s").group_matcher(coarse=True)) == 3


@VARIANTS
def test_gradient_checkpointing_changes_nothing(variant):
    model = golden_in_timm(variant)
    x = torch.randn(1, 3, 64, 64)
    model(x).sum().backward()
    plain = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model.set_grad_checkpointing()
    model(x).sum().backward()
    for name, p in model.named_parameters():
        assert_close(p.grad, plain[name], atol=1e-5, rtol=1e-4)


# Other tools


def test_adapter_models_are_backbones_of_volovan(tmp_path):
    model = tiny_in_timm("van_b0")
    assert isinstance(model, VAN)
    save_file(golden_state("van"), tmp_path / "a.safetensors")
    weights.load_weights(model, tmp_path / "a.safetensors")
    assert torch.equal(model.head.bias, golden_state("van")["head.bias"])


def test_other_tools_of_timm_take_the_models():
    from timm.utils import ModelEmaV3, freeze

    model = tiny_in_timm("van_b0")
    assert ModelEmaV3(model).module.head.weight.shape == (10, 64)
    freeze(model, ["patch_embed1", "block1"])
    assert not model.patch_embed1.proj.weight.requires_grad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        timm.create_model("van_b0.volovan", **TINY["van"])
