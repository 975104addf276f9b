"""Names of parameters in the original repository of Mask2Former (detectron2) and in transformers.

Pairs (ours, theirs); the placeholders are those of models/weights/keymaps.py. Within the decoders ours are those of
transformers, so that only what stands before differs there. The original has query, key and value of the attention
among queries in one tensor, transformers and ours have three; those of the attention to maps are one in all.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from volovan.models.weights.keymaps import ENCODER, State, Table, translate

ORIGINAL = "Mask2Former"

_PIXEL, _THEIR_PIXEL = "head.pixel_decoder.", "sem_seg_head.pixel_decoder."
_LAYER, _THEIR_LAYER = _PIXEL + "encoder.layers.{j}.", _THEIR_PIXEL + "transformer.encoder.layers.{j}."
_QUERIES, _THEIR_QUERIES = "head.transformer_module.", "sem_seg_head.predictor."
_DECODER = _QUERIES + "decoder.layers.{j}."
_SELF = _THEIR_QUERIES + "transformer_self_attention_layers.{j}."
_CROSS = _THEIR_QUERIES + "transformer_cross_attention_layers.{j}."
_FFN = _THEIR_QUERIES + "transformer_ffn_layers.{j}."

MASK2FORMER: Table = (
    (_PIXEL + "level_embed", _THEIR_PIXEL + "transformer.level_embed"),
    (_PIXEL + "input_projections.{j}.{rest}", _THEIR_PIXEL + "input_proj.{j}.{rest}"),
    (_LAYER + "self_attn.{rest}", _THEIR_LAYER + "self_attn.{rest}"),
    (_LAYER + "self_attn_layer_norm.{rest}", _THEIR_LAYER + "norm1.{rest}"),
    (_LAYER + "fc1.{rest}", _THEIR_LAYER + "linear1.{rest}"),
    (_LAYER + "fc2.{rest}", _THEIR_LAYER + "linear2.{rest}"),
    (_LAYER + "final_layer_norm.{rest}", _THEIR_LAYER + "norm2.{rest}"),
    *(  # there the norm is a part of its convolution
        pair
        for part in ("adapter_1", "layer_1")
        for pair in (
            (_PIXEL + part + ".1.{rest}", _THEIR_PIXEL + part + ".norm.{rest}"),
            (_PIXEL + part + ".0.{rest}", _THEIR_PIXEL + part + ".{rest}"),
        )
    ),
    (_PIXEL + "mask_projection.{rest}", _THEIR_PIXEL + "mask_features.{rest}"),
    (_QUERIES + "queries_features.{rest}", _THEIR_QUERIES + "query_feat.{rest}"),
    (_QUERIES + "queries_embedder.{rest}", _THEIR_QUERIES + "query_embed.{rest}"),
    (_QUERIES + "level_embed.{rest}", _THEIR_QUERIES + "level_embed.{rest}"),
    (_DECODER + "self_attn.{rest}", _SELF + "self_attn.{rest}"),
    (_DECODER + "self_attn_layer_norm.{rest}", _SELF + "norm.{rest}"),
    (_DECODER + "cross_attn.{rest}", _CROSS + "multihead_attn.{rest}"),
    (_DECODER + "cross_attn_layer_norm.{rest}", _CROSS + "norm.{rest}"),
    (_DECODER + "fc1.{rest}", _FFN + "linear1.{rest}"),
    (_DECODER + "fc2.{rest}", _FFN + "linear2.{rest}"),
    (_DECODER + "final_layer_norm.{rest}", _FFN + "norm.{rest}"),
    (_QUERIES + "decoder.layernorm.{rest}", _THEIR_QUERIES + "decoder_norm.{rest}"),
    (_QUERIES + "decoder.mask_predictor.mask_embedder.{j}.0.{rest}", _THEIR_QUERIES + "mask_embed.layers.{j}.{rest}"),
    ("head.class_predictor.{rest}", _THEIR_QUERIES + "class_embed.{rest}"),
    ("trunk.{rest}", "backbone.{rest}"),
)
TRANSFORMERS: Table = (
    (_PIXEL + "{rest}", "model.pixel_level_module.decoder.{rest}"),
    ("trunk.{rest}", ENCODER + "{rest}"),
    (_QUERIES + "{rest}", "model.transformer_module.{rest}"),
    ("head.class_predictor.{rest}", "class_predictor.{rest}"),
)
_NO_WEIGHTS = ("criterion.", "pixel_mean", "pixel_std")
"""what their files hold besides: the weight of no object in the loss, mean and std of pictures"""
_PARTS = ("q_proj", "k_proj", "v_proj")
_WHOLE = ".self_attn.in_proj_"


def in_our_names(state: Mapping[str, Tensor]) -> tuple[State, str] | None:
    """A state dict of theirs in our names, and whose it was; None for another."""
    state = {key: tensor for key, tensor in state.items() if not key.startswith(_NO_WEIGHTS)}
    if any(key.startswith("sem_seg_head.predictor.") for key in state):
        state = {_renamed_since(key): tensor for key, tensor in state.items()}
        return _apart(translate(state, MASK2FORMER, back=True)), ORIGINAL
    if any(key.startswith("model.transformer_module.") for key in state):
        return translate(state, TRANSFORMERS, back=True), "transformers"
    return None


def to_original_names(state: Mapping[str, Tensor]) -> State:
    return translate(_together(state), MASK2FORMER, back=False, strict=ORIGINAL)


def to_transformers_names(state: Mapping[str, Tensor]) -> State:
    return translate(dict(state), TRANSFORMERS, back=False, strict="transformers")


def _renamed_since(key: str) -> str:
    """A name of the first release in those of the second."""
    return key.replace(".static_query.", ".query_feat.")


def _apart(state: State) -> State:
    """Query, key and value of the attention among queries each by itself."""
    found: State = {}
    for key, tensor in state.items():
        before, whole, kind = key.partition(_WHOLE)
        if whole and key.startswith(_QUERIES):
            names = (f"{before}.self_attn.{part}.{kind}" for part in _PARTS)
            found |= dict(zip(names, tensor.chunk(len(_PARTS)), strict=True))
        else:
            found[key] = tensor
    return found


def _together(state: Mapping[str, Tensor]) -> State:
    """The way back."""
    found: State = {}
    for key, tensor in state.items():
        before, part, kind = key.partition(".self_attn.q_proj.")
        if part and key.startswith(_QUERIES):
            own = [state[f"{before}.self_attn.{name}.{kind}"] for name in _PARTS]
            found[f"{before}{_WHOLE}{kind}"] = torch.cat(own)
        elif not (key.startswith(_QUERIES) and any(f".self_attn.{name}." in key for name in _PARTS)):
            found[key] = tensor
    return found
