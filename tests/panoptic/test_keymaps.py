"""Names of the original repository and of transformers: there and back, and what transformers computes with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation
from transformers.models.mask2former.modeling_mask2former import Mask2FormerTransformerModule

from networks import TINY
from volovan.models.weights import WeightsError
from volovan.panoptic.network import PanopticModel, create_panoptic, to_mask2former, to_transformers
from volovan.segment.network import create_segmenter

SMALL = {"width": 64, "queries": 7, "encoder_layers": 2, "encoder_ffn": 32, "decoder_layers": 3, "decoder_ffn": 48}


def build(seed: int, weights: Path | None = None, classes: int = 5) -> PanopticModel:
    torch.manual_seed(seed)
    return create_panoptic(
        "van", "mask2former", classes, weights=weights, trunk_options=TINY["van"], head_options=SMALL
    ).eval()


def same(one: PanopticModel, other: PanopticModel) -> None:
    for key, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[key]), key


def test_the_original_there_and_back(tmp_path: Path) -> None:
    first = build(0)
    theirs = to_mask2former(first)
    assert all(key.startswith(("backbone.", "sem_seg_head.")) for key in theirs)
    theirs["criterion.empty_weight"] = torch.ones(6)
    torch.save({"model": theirs, "iteration": 3}, tmp_path / "model_final.pth")
    same(first, build(1, tmp_path / "model_final.pth"))


def test_names_of_the_first_release(tmp_path: Path) -> None:
    first = build(0)
    theirs = {key.replace(".query_feat.", ".static_query."): t for key, t in to_mask2former(first).items()}
    torch.save({"model": theirs}, tmp_path / "old.pth")
    same(first, build(1, tmp_path / "old.pth"))


def test_transformers_there_and_back(tmp_path: Path) -> None:
    first = build(0)
    theirs = to_transformers(first)
    theirs["criterion.empty_weight"] = torch.ones(6)
    torch.save(theirs, tmp_path / "pytorch_model.bin")
    same(first, build(1, tmp_path / "pytorch_model.bin"))


def test_the_classifier_of_other_classes_is_new(tmp_path: Path) -> None:
    first = build(0)
    torch.save(to_mask2former(first), tmp_path / "theirs.pth")
    second = build(1, tmp_path / "theirs.pth", classes=3)
    assert second.head.class_predictor.weight.shape == (4, 64)
    assert torch.equal(first.head.pixel_decoder.level_embed, second.head.pixel_decoder.level_embed)


@pytest.mark.parametrize("names", [to_mask2former, to_transformers])
def test_the_trunk_of_such_a_file_is_a_trunk(
    names: Callable[[PanopticModel], dict[str, Tensor]], tmp_path: Path
) -> None:
    first = build(0)
    torch.save({"model": names(first)}, tmp_path / "theirs.pth")
    options: dict[str, Any] = {"weights": tmp_path / "theirs.pth", "trunk_options": TINY["van"]}
    other = create_segmenter("van", "fpn", 4, head_options={"pyramid_channels": 8, "channels": 8}, **options)
    for key, tensor in first.trunk.state_dict().items():
        assert torch.equal(tensor, other.trunk.state_dict()[key]), key


def test_another_head_does_not_fit(tmp_path: Path) -> None:
    theirs = to_mask2former(build(0))
    gone = "sem_seg_head.predictor.query_embed.weight"
    torch.save({key: tensor for key, tensor in theirs.items() if key != gone}, tmp_path / "theirs.pth")
    with pytest.raises(WeightsError, match="does not fit"):
        build(1, tmp_path / "theirs.pth")


# Some names of the published checkpoints, with their shapes at this width
ORIGINAL = {
    "backbone.patch_embed1.proj.weight": (8, 3, 7, 7),
    "sem_seg_head.pixel_decoder.input_proj.0.0.weight": (64, 64, 1, 1),  # the coarsest map first
    "sem_seg_head.pixel_decoder.input_proj.2.0.weight": (64, 16, 1, 1),
    "sem_seg_head.pixel_decoder.input_proj.2.1.bias": (64,),
    "sem_seg_head.pixel_decoder.transformer.level_embed": (3, 64),
    "sem_seg_head.pixel_decoder.transformer.encoder.layers.1.self_attn.sampling_offsets.weight": (192, 64),
    "sem_seg_head.pixel_decoder.transformer.encoder.layers.1.self_attn.attention_weights.bias": (96,),
    "sem_seg_head.pixel_decoder.transformer.encoder.layers.0.self_attn.value_proj.weight": (64, 64),
    "sem_seg_head.pixel_decoder.transformer.encoder.layers.0.self_attn.output_proj.bias": (64,),
    "sem_seg_head.pixel_decoder.transformer.encoder.layers.0.norm1.weight": (64,),
    "sem_seg_head.pixel_decoder.transformer.encoder.layers.0.linear1.weight": (32, 64),
    "sem_seg_head.pixel_decoder.transformer.encoder.layers.0.linear2.weight": (64, 32),
    "sem_seg_head.pixel_decoder.transformer.encoder.layers.0.norm2.bias": (64,),
    "sem_seg_head.pixel_decoder.mask_features.weight": (64, 64, 1, 1),
    "sem_seg_head.pixel_decoder.adapter_1.weight": (64, 8, 1, 1),
    "sem_seg_head.pixel_decoder.adapter_1.norm.weight": (64,),
    "sem_seg_head.pixel_decoder.layer_1.weight": (64, 64, 3, 3),
    "sem_seg_head.pixel_decoder.layer_1.norm.bias": (64,),
    "sem_seg_head.predictor.transformer_self_attention_layers.2.self_attn.in_proj_weight": (192, 64),
    "sem_seg_head.predictor.transformer_self_attention_layers.2.self_attn.in_proj_bias": (192,),
    "sem_seg_head.predictor.transformer_self_attention_layers.2.self_attn.out_proj.weight": (64, 64),
    "sem_seg_head.predictor.transformer_self_attention_layers.0.norm.weight": (64,),
    "sem_seg_head.predictor.transformer_cross_attention_layers.0.multihead_attn.in_proj_weight": (192, 64),
    "sem_seg_head.predictor.transformer_cross_attention_layers.0.multihead_attn.out_proj.bias": (64,),
    "sem_seg_head.predictor.transformer_cross_attention_layers.0.norm.bias": (64,),
    "sem_seg_head.predictor.transformer_ffn_layers.0.linear1.weight": (48, 64),
    "sem_seg_head.predictor.transformer_ffn_layers.0.linear2.bias": (64,),
    "sem_seg_head.predictor.transformer_ffn_layers.0.norm.weight": (64,),
    "sem_seg_head.predictor.decoder_norm.weight": (64,),
    "sem_seg_head.predictor.query_feat.weight": (7, 64),
    "sem_seg_head.predictor.query_embed.weight": (7, 64),
    "sem_seg_head.predictor.level_embed.weight": (3, 64),
    "sem_seg_head.predictor.class_embed.weight": (6, 64),
    "sem_seg_head.predictor.mask_embed.layers.2.weight": (64, 64),
}


def test_names_are_those_of_the_original() -> None:
    theirs = {key: tuple(tensor.shape) for key, tensor in to_mask2former(build(0)).items()}
    assert {key: theirs.get(key) for key in ORIGINAL} == ORIGINAL


def test_query_key_and_value_are_one_tensor_in_the_original() -> None:
    model = build(0)
    own = model.head.transformer_module.decoder.layers[1].self_attn
    whole = to_mask2former(model)["sem_seg_head.predictor.transformer_self_attention_layers.1.self_attn.in_proj_weight"]
    for part, layer in zip(whole.chunk(3), (own.q_proj, own.k_proj, own.v_proj), strict=True):
        assert torch.equal(part, layer.weight)


def theirs_of(queries: int) -> Mask2FormerForUniversalSegmentation:
    """A network of transformers with a small Swin, whose maps have the channels of our small VAN."""
    config = Mask2FormerConfig(
        backbone_config={
            "model_type": "swin",
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2],
            "window_size": 2,
            "image_size": 64,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        },
        feature_size=64,
        mask_feature_size=64,
        hidden_dim=64,
        encoder_feedforward_dim=32,
        encoder_layers=2,
        decoder_layers=4,
        dim_feedforward=48,
        num_queries=queries,
        num_labels=5,
    )
    return Mask2FormerForUniversalSegmentation(config).eval()


def test_transformers_computes_the_same() -> None:
    """All names but those of the trunk are its own, and of the same maps its head says the same."""
    model = build(0)
    theirs = theirs_of(7)
    named = to_transformers(model)
    head = {key: t for key, t in named.items() if not key.startswith("model.pixel_level_module.encoder.")}
    missing, unexpected = theirs.load_state_dict(head, strict=False)
    assert not unexpected
    assert all(key.startswith(("model.pixel_level_module.encoder.", "criterion.")) for key in missing)
    images = torch.randn(2, 3, 64, 96)
    maps: list[Tensor] = model.maps(images)
    pixels = theirs.model.pixel_level_module.decoder(maps)
    module = theirs.model.transformer_module
    assert isinstance(module, Mask2FormerTransformerModule)
    found = module(pixels.multi_scale_features, pixels.mask_features)
    for own, queries, masks in zip(
        model.head(maps), found.intermediate_hidden_states, found.masks_queries_logits, strict=True
    ):
        torch.testing.assert_close(own.masks, masks, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(own.classes, theirs.class_predictor(queries.transpose(0, 1)), atol=1e-4, rtol=1e-4)
