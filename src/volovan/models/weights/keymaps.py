"""Parameter names: ours are the official ones; here are the names that others use, and the way there and back.

The VAN tables hold pairs (ours, theirs), the first that matches wins. {i} is a stage counted from 1, {s} the same
stage counted from 0, {j} a block, {rest} what follows. Sources: van.md of the references, checked there by loading
one set of weights into the three codes. VOLO has the same names in timm and in the original, LV-ViT has one code.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from volovan.models.weights.networks import SIGNATURES, State, unnested_state
from volovan.models.weights.reading import RawFile, WeightsError

Table = tuple[tuple[str, str], ...]

_LKA = "block{i}.{j}.attn.spatial_gating_unit"
VAN_MMPRETRAIN: Table = (
    ("patch_embed{i}.proj.{rest}", "backbone.patch_embed{i}.projection.{rest}"),
    ("patch_embed{i}.norm.{rest}", "backbone.patch_embed{i}.norm.{rest}"),
    (_LKA + ".conv0.{rest}", "backbone.blocks{i}.{j}.attn.spatial_gating_unit.DW_conv.{rest}"),
    (_LKA + ".conv_spatial.{rest}", "backbone.blocks{i}.{j}.attn.spatial_gating_unit.DW_D_conv.{rest}"),
    ("block{i}.{j}.mlp.dwconv.dwconv.{rest}", "backbone.blocks{i}.{j}.mlp.dwconv.{rest}"),
    ("block{i}.{j}.{rest}", "backbone.blocks{i}.{j}.{rest}"),
    ("norm{i}.{rest}", "backbone.norm{i}.{rest}"),
    ("head.{rest}", "head.fc.{rest}"),
)

_STAGE = "van.encoder.stages.{s}"
_LAYER = _STAGE + ".layers.{j}"
VAN_TRANSFORMERS: Table = (
    ("patch_embed{i}.proj.{rest}", _STAGE + ".embeddings.convolution.{rest}"),
    ("patch_embed{i}.norm.{rest}", _STAGE + ".embeddings.normalization.{rest}"),
    ("block{i}.{j}.norm1.{rest}", _LAYER + ".pre_normomalization.{rest}"),  # spelt so there
    ("block{i}.{j}.attn.proj_1.{rest}", _LAYER + ".attention.pre_projection.conv.{rest}"),
    (_LKA + ".conv0.{rest}", _LAYER + ".attention.attention_layer.attention.depth_wise.{rest}"),
    (_LKA + ".conv_spatial.{rest}", _LAYER + ".attention.attention_layer.attention.depth_wise_dilated.{rest}"),
    (_LKA + ".conv1.{rest}", _LAYER + ".attention.attention_layer.attention.point_wise.{rest}"),
    ("block{i}.{j}.attn.proj_2.{rest}", _LAYER + ".attention.post_projection.{rest}"),
    ("block{i}.{j}.layer_scale_1", _LAYER + ".attention_scaling.weight"),
    ("block{i}.{j}.norm2.{rest}", _LAYER + ".post_normalization.{rest}"),
    ("block{i}.{j}.mlp.fc1.{rest}", _LAYER + ".mlp.in_dense.{rest}"),
    ("block{i}.{j}.mlp.dwconv.dwconv.{rest}", _LAYER + ".mlp.depth_wise.{rest}"),
    ("block{i}.{j}.mlp.fc2.{rest}", _LAYER + ".mlp.out_dense.{rest}"),
    ("block{i}.{j}.layer_scale_2", _LAYER + ".mlp_scaling.weight"),
    ("norm{i}.{rest}", _STAGE + ".normalization.{rest}"),
    ("head.{rest}", "classifier.{rest}"),
)
BODY = "backbone.body."
"""before the names of a trunk in detectors of torchvision"""
ENCODER = "model.pixel_level_module.encoder."
"""the same in Mask2Former of transformers"""
UNUSED_NORM = "van.layernorm."  # exists in transformers, its forward never uses it


# From a file to our names


def to_ours(raw: RawFile, ema: bool = True, like: Mapping[str, Tensor] | None = None) -> tuple[State, str, list[str]]:
    """State dict in our names, the layout that it had, and what was decided on the way (sentences).

    ema   take averaged weights where the file has them beside the others
    like  tensors of the network that they are for: which network of the file is taken, where it holds several
    """
    return renamed_state(raw, ema, lambda state: in_our_names(raw, state), like)


def renamed_state(
    raw: RawFile, ema: bool, rename: Callable[[State], tuple[State, str]], like: Mapping[str, Tensor] | None
) -> tuple[State, str, list[str]]:
    """`to_ours` with another renaming, which gives the layout too."""

    def fits(state: State) -> int:
        renamed, _ = rename(state)
        return sum(like is None or (key in like and like[key].shape == t.shape) for key, t in renamed.items())

    state, notes = unnested_state(raw, ema, fits)
    return *rename(state), notes


def in_our_names(raw: RawFile, state: State) -> tuple[State, str]:
    """State dict of a backbone in our names, and the layout that it had."""
    layout = next((name for name, pattern in SIGNATURES if any(re.fullmatch(pattern, key) for key in state)), None)
    if layout is None and any(key.startswith("trunk.") for key in state):
        raise WeightsError(
            f"{raw.path} holds a network for a dense task, not a backbone",
            "volovan.load opens it, and create_segmenter and its like take its trunk",
            "recipes of its task take it, or its trunk",
            "name the file itself as the model, without --weights",
        )
    assert layout is not None  # by one of these names the network was found
    if layout == "transformers":
        state = {key if key.startswith(("van.", "classifier.")) else f"van.{key}": t for key, t in state.items()}
        state = {key: tensor for key, tensor in state.items() if not key.startswith(UNUSED_NORM)}
        return translate(state, VAN_TRANSFORMERS, back=True), layout
    if layout == "mmpretrain":
        bare = "patch_embed1.projection.weight" in state
        state = {f"backbone.{key}" if bare else key: tensor for key, tensor in state.items()}
        state = {key: tensor for key, tensor in state.items() if not key.startswith("data_preprocessor.")}
        return translate(state, VAN_MMPRETRAIN, back=True), layout
    of_mask2former = any(key.startswith("sem_seg_head.") for key in state)
    for before in (BODY, ENCODER, *(["backbone."] * of_mask2former)):
        if any(key.startswith(before) for key in state):  # all else is a head
            return {key.removeprefix(before): t for key, t in state.items() if key.startswith(before)}, layout
    return {key.removeprefix("backbone."): tensor for key, tensor in state.items()}, layout


# From a model to other names


def to_original(model: nn.Module) -> State:
    """State dict in the official names, which are ours; tensors are detached, on the CPU."""
    return {key: tensor.detach().cpu() for key, tensor in model.state_dict().items()}


def to_timm(model: nn.Module) -> State:
    """State dict in timm's names: VOLO only, where they are the official ones (timm has no VAN and no LV-ViT)."""
    state = to_original(model)
    if "patch_embed1.proj.weight" in state or "patch_embed.conv1.weight" in state:
        raise WeightsError("timm has VOLO but neither VAN nor LV-ViT; import volovan.models.timm brings ours into timm")
    return state


def to_mmpretrain(model: nn.Module) -> State:
    """State dict of a VAN in the names of mmpretrain (0.x and 1.x are alike)."""
    return _translate_van(model, VAN_MMPRETRAIN, "mmpretrain")


def to_huggingface(model: nn.Module) -> State:
    """State dict of a VAN in the names of transformers 4.x (VanForImageClassification).

    The last norm exists there and is never used: it is written as ones and zeros."""
    state = _translate_van(model, VAN_TRANSFORMERS, "transformers")
    width: int = model.config.embed_dims[-1]  # type: ignore[union-attr, index, assignment]
    state[f"{UNUSED_NORM}weight"] = torch.ones(width)
    state[f"{UNUSED_NORM}bias"] = torch.zeros(width)
    return state


def _translate_van(model: nn.Module, table: Table, target: str) -> State:
    state = to_original(model)
    if "patch_embed1.proj.weight" not in state:
        raise WeightsError(f"{target} has VAN only, found {type(model).__name__}")
    return translate(state, table, back=False, strict=target)


# Names


def translate(state: State, table: Table, back: bool, strict: str = "") -> State:
    """Rename every key by the table; `back` from theirs to ours. A key without a row keeps its name, or raises."""
    rows = [(_pattern(theirs if back else ours), ours if back else theirs) for ours, theirs in table]
    renamed: State = {}
    for key, tensor in state.items():
        new = _rename(key, rows)
        if new is None and strict:
            raise WeightsError(f"{key} has no name in {strict}: it belongs to an ablation that exists only here")
        renamed[new or key] = tensor
    return renamed


def _rename(key: str, rows: Iterable[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, target in rows:
        if found := pattern.fullmatch(key):
            fields: dict[str, Any] = found.groupdict()
            if "s" in fields:
                fields["i"] = int(fields["s"]) + 1
            elif "i" in fields:
                fields["s"] = int(fields["i"]) - 1
            return target.format(**fields)
    return None


def _pattern(template: str) -> re.Pattern[str]:
    escaped = re.escape(template)
    for name, expression in (("i", r"\d+"), ("s", r"\d+"), ("j", r"\d+"), ("rest", r".+")):
        escaped = escaped.replace(re.escape("{" + name + "}"), f"(?P<{name}>{expression})")
    return re.compile(escaped)
