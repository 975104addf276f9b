"""Names of others: written out for one block, and every round trip bit-equal."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import volovan
from networks import golden_state, tiny
from volovan.models import weights
from volovan.models.weights.keymaps import to_ours
from volovan.models.weights.reading import RawFile

# ours, mmpretrain, transformers: the second block of stage 3, its embedding and norm, and the head
NAMES = """
patch_embed3.proj.weight | backbone.patch_embed3.projection.weight | van.encoder.stages.2.embeddings.convolution.weight
patch_embed3.norm.running_var | backbone.patch_embed3.norm.running_var | van.encoder.stages.2.embeddings.normalization.running_var
block3.1.norm1.weight | backbone.blocks3.1.norm1.weight | van.encoder.stages.2.layers.1.pre_normomalization.weight
block3.1.attn.proj_1.bias | backbone.blocks3.1.attn.proj_1.bias | van.encoder.stages.2.layers.1.attention.pre_projection.conv.bias
block3.1.attn.spatial_gating_unit.conv0.weight | backbone.blocks3.1.attn.spatial_gating_unit.DW_conv.weight | van.encoder.stages.2.layers.1.attention.attention_layer.attention.depth_wise.weight
block3.1.attn.spatial_gating_unit.conv_spatial.bias | backbone.blocks3.1.attn.spatial_gating_unit.DW_D_conv.bias | van.encoder.stages.2.layers.1.attention.attention_layer.attention.depth_wise_dilated.bias
block3.1.attn.spatial_gating_unit.conv1.weight | backbone.blocks3.1.attn.spatial_gating_unit.conv1.weight | van.encoder.stages.2.layers.1.attention.attention_layer.attention.point_wise.weight
block3.1.attn.proj_2.weight | backbone.blocks3.1.attn.proj_2.weight | van.encoder.stages.2.layers.1.attention.post_projection.weight
block3.1.layer_scale_1 | backbone.blocks3.1.layer_scale_1 | van.encoder.stages.2.layers.1.attention_scaling.weight
block3.1.norm2.num_batches_tracked | backbone.blocks3.1.norm2.num_batches_tracked | van.encoder.stages.2.layers.1.post_normalization.num_batches_tracked
block3.1.mlp.fc1.weight | backbone.blocks3.1.mlp.fc1.weight | van.encoder.stages.2.layers.1.mlp.in_dense.weight
block3.1.mlp.dwconv.dwconv.weight | backbone.blocks3.1.mlp.dwconv.weight | van.encoder.stages.2.layers.1.mlp.depth_wise.weight
block3.1.mlp.fc2.bias | backbone.blocks3.1.mlp.fc2.bias | van.encoder.stages.2.layers.1.mlp.out_dense.bias
block3.1.layer_scale_2 | backbone.blocks3.1.layer_scale_2 | van.encoder.stages.2.layers.1.mlp_scaling.weight
norm3.weight | backbone.norm3.weight | van.encoder.stages.2.normalization.weight
head.weight | head.fc.weight | classifier.weight
head.bias | head.fc.bias | classifier.bias
"""  # noqa: E501
ROWS = [tuple(name.strip() for name in line.split("|")) for line in NAMES.strip().splitlines()]


def loaded(family):
    model = tiny(family)
    model.load_state_dict(golden_state(family))
    return model


def same(ours, state):
    assert set(ours) == set(state)
    assert all(torch.equal(ours[key], state[key]) for key in ours)


WRITERS = {
    "original": weights.to_original,
    "mmpretrain": weights.to_mmpretrain,
    "transformers": weights.to_huggingface,
}


@pytest.mark.parametrize("layout", WRITERS)
def test_van_round_trip_is_bit_equal(tmp_path, layout):
    model = loaded("van")
    save_file(WRITERS[layout](model), tmp_path / "a.safetensors")
    fresh = tiny("van")
    report = weights.load_weights(fresh, tmp_path / "a.safetensors")
    assert layout in report.layout
    assert report.loaded == 178
    same(fresh.state_dict(), model.state_dict())


@pytest.mark.parametrize("family", ["volo", "lvvit"])
def test_token_models_round_trip_is_bit_equal(tmp_path, family):
    model = loaded(family)
    save_file(weights.to_original(model), tmp_path / "a.safetensors")
    fresh = tiny(family)
    weights.load_weights(fresh, tmp_path / "a.safetensors")
    same(fresh.state_dict(), golden_state(family))
    if family == "volo":
        same(weights.to_timm(model), golden_state(family))


@pytest.mark.parametrize(("layout", "column"), [("mmpretrain", 1), ("transformers", 2)])
def test_van_names_are_those_of_the_reference(layout, column):
    model = loaded("van")
    written, ours = WRITERS[layout](model), model.state_dict()
    for row in ROWS:
        assert torch.equal(written[row[column]], ours[row[0]]), row
    prefixes = {"mmpretrain": ("backbone.", "head.fc."), "transformers": ("van.", "classifier.")}[layout]
    assert all(key.startswith(prefixes) for key in written)
    # every name of ours is of a kind that the rows cover: nothing is written under our own name by oversight
    assert not [key for key in written if key in ours]


def test_transformers_unused_norm_is_written_and_dropped():
    model = loaded("van")
    written = weights.to_huggingface(model)
    assert torch.equal(written["van.layernorm.weight"], torch.ones(64))
    assert torch.equal(written["van.layernorm.bias"], torch.zeros(64))
    assert len(written) == 180
    state, layout, _ = to_ours(RawFile(Path("a"), written))
    assert layout == "transformers"
    same(state, model.state_dict())


def test_transformers_bare_model_has_no_prefix_and_no_head():
    model = loaded("van")
    bare = {key.removeprefix("van."): t for key, t in weights.to_huggingface(model).items() if key.startswith("van.")}
    state, layout, _ = to_ours(RawFile(Path("a"), bare))
    assert layout == "transformers"
    same(state, {key: t for key, t in model.state_dict().items() if not key.startswith("head.")})


def test_mmpretrain_trunk_needs_no_prefix():
    model = loaded("van")
    trunk = {
        key.removeprefix("backbone."): t
        for key, t in weights.to_mmpretrain(model).items()
        if key.startswith("backbone.")
    }
    state, layout, _ = to_ours(RawFile(Path("a"), trunk))
    assert layout == "mmpretrain"
    same(state, {key: t for key, t in model.state_dict().items() if not key.startswith("head.")})


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s},
        lambda s: {"module": s},
        lambda s: {"state_dict_ema": s, "state_dict": {k: torch.zeros_like(t) for k, t in s.items()}},
        lambda s: {"model": {"state_dict": s}},
        lambda s: {f"module.{k}": t for k, t in s.items()},
        lambda s: {"state_dict": {f"module._orig_mod.{k}": t for k, t in s.items()}},
        lambda s: {"meta": {"mmcls_version": "0.23.0"}, "state_dict": {f"backbone.{k}": t for k, t in s.items()}},
    ],
    ids=["plain", "state_dict", "model", "module", "ema", "nested", "ddp", "ddp compiled", "backbone"],
)
@pytest.mark.parametrize("family", ["van", "volo", "lvvit"])
def test_wrappers_are_taken_off(family, wrap):
    state = golden_state(family)
    ours, layout, _ = to_ours(RawFile(Path("a"), wrap(state)))
    assert {"van": "VAN", "volo": "VOLO", "lvvit": "LV-ViT"}[family] in layout
    same(ours, state)


def test_averaged_weights_are_taken_unless_told_otherwise():
    state = golden_state("volo")
    other = {key: t + 1 for key, t in state.items()}
    file = RawFile(Path("a"), {"state_dict": state, "state_dict_ema": other})
    averaged, _, notes = to_ours(file)
    same(averaged, other)
    assert notes == ["the file holds state_dict_ema, state_dict; state_dict_ema was taken, the averaged weights"]
    same(to_ours(file, ema=False)[0], state)


def test_own_checkpoints_keep_network_and_average_apart():
    state = golden_state("van")
    average = {key: t * 0 for key, t in state.items() if t.is_floating_point()}
    flat = {f"model.{k}": t for k, t in state.items()} | {f"ema.{k}": t for k, t in average.items()}
    file = RawFile(Path("a"), {**flat, "optimizer.state.0.exp_avg": torch.ones(3)}, {"volovan": "{}"})
    taken, _, notes = to_ours(file)
    same(taken, state | average)
    assert "EMA" in notes[0]
    same(to_ours(file, ema=False)[0], state)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "empty dictionary"),
        ({"epoch": 3, "args": "x"}, "holds no state dict: found the entries epoch, args"),
        (torch.ones(2), "found a Tensor"),
        ({"conv1.weight": torch.ones(2), "fc.bias": torch.ones(2)}, r"holds no VOLO, VAN or LV-ViT.*conv1\.weight"),
    ],
)
def test_content_without_our_networks_is_named(content, words):
    with pytest.raises(weights.WeightsError, match=words):
        to_ours(RawFile(Path("a"), content))


def test_writers_refuse_what_the_other_side_does_not_have():
    van, volo = loaded("van"), loaded("volo")
    with pytest.raises(weights.WeightsError, match="timm has VOLO but neither VAN nor LV-ViT"):
        weights.to_timm(van)
    with pytest.raises(weights.WeightsError, match="transformers has VAN only, found VOLO"):
        weights.to_huggingface(volo)
    dense = tiny("van", dense_kernel=True, lka_kernel=5)
    with pytest.raises(weights.WeightsError, match=r"dense\.\w+ has no name in transformers"):
        weights.to_huggingface(dense)


@pytest.mark.parametrize(("name", "keys"), [("van_b0", 402), ("van_b1", 318), ("van_b6", 3062)])
def test_number_of_official_keys(name, keys):
    with torch.device("meta"):
        model = volovan.create_model(name)
    assert len(model.state_dict()) == keys
