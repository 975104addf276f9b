"""Every variant inside timm: after `import volovan.models.timm`, timm.create_model("van_b2.volovan") and its like work.

The classes are the backbones themselves with timm's doors, so state-dict keys stay the official ones. What differs from
timm's own VOLO: any size runs, and features_only gives strides 8 and 16. Names do not collide: timm's own models carry
a size (volo_d1_224), ours a tag (volo_d1.volovan, volo_d1.volovan_384, van_b4.volovan_in22k).
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import torch
from timm.models import (
    build_model_with_cfg,
    generate_default_cfgs,
    is_model,
    model_entrypoint,
    register_model,
    resolve_pretrained_cfg,
)
from torch import Tensor, nn

from volovan.models.backbone import Backbone
from volovan.models.layers import to_nchw
from volovan.models.lvvit import LVViT
from volovan.models.preprocessing import default_preprocessing
from volovan.models.van import VAN
from volovan.models.variants import find_config, list_models
from volovan.models.volo import VOLO, describe_stages
from volovan.models.weights import Entry, WeightsError, default_entry, load_weights
from volovan.models.weights.fit import fit, refuse_not_finite
from volovan.models.weights.keymaps import to_ours
from volovan.models.weights.reading import RawFile
from volovan.models.weights.table import TABLE

__all__: list[str] = []  # register_model adds the names of the variants


class TimmInterface(nn.Module):
    """timm's doors for a backbone; a family adds describe_taps, run, finish and truncate.

    feature_info  one entry per tap: num_chs, reduction, module
    global_pool   "token" (VOLO, LV-ViT), "avg", or "" for features as forward_features gives them
    """

    num_prefix_tokens = 0  # class tokens in front of what forward_features returns

    # Members of the backbones, and what each family adds
    config: Any
    channels: Any
    head: Any
    norm: Any
    layer_groups: Callable[[], list[list[str]]]
    drop_class_token: Callable[[], None]
    describe_taps: Callable[[], list[dict[str, Any]]]
    run: Callable[[Tensor, list[int], bool], tuple[Tensor, list[Tensor]]]  # end of the trunk, NCHW maps at the taps
    finish: Callable[[Tensor], Tensor]  # from the end of the trunk to what forward_features returns
    truncate: Callable[[int], None]  # keep the trunk up to a tap

    def __init__(
        self,
        cfg: Any,
        global_pool: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **settings: Any,
    ):
        super().__init__(replace(cfg, **settings))
        config = self.config
        self.num_classes, self.in_chans = config.num_classes, config.in_chans
        self.num_features = self.head_hidden_size = self.channels[-1]
        self.feature_info = self.describe_taps()
        self.set_pool(("token" if self.num_prefix_tokens else "avg") if global_pool is None else global_pool)
        self.to(device=device, dtype=dtype)

    # Classification

    def forward(self, x: Tensor, box: Tensor | None = None) -> Any:
        """Logits (B, num_classes); with a MixToken box what the backbone itself returns."""
        return self.forward_head(self.forward_features(x)) if box is None else super().forward(x, box)

    def forward_features(self, x: Tensor) -> Any:
        """What the head reads: NCHW map of VAN, else tokens (B, 1 + N, C), class token first, after the final norm."""
        return self.finish(self.run(x, [], False)[0])

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits, or pooled features, of what forward_features returns; the dense head adds half its maximum."""
        drop = getattr(self, "head_drop", None)
        x = x if drop is None else drop(x)
        pooled = x
        if self.global_pool == "token":
            pooled = x[:, 0]
        elif self.global_pool == "avg":
            pooled = x.mean(dim=(2, 3)) if x.dim() == 4 else x[:, self.num_prefix_tokens :].mean(dim=1)
        if pre_logits:
            return pooled
        logits = self.head(pooled)
        aux_head = getattr(self, "aux_head", None)
        if aux_head is not None and self.global_pool:
            logits = logits + 0.5 * aux_head(x[:, self.num_prefix_tokens :]).amax(dim=1)
        return logits

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes)  # type: ignore[misc]
        self.num_classes = num_classes
        for head in (self.head, getattr(self, "aux_head", None)):
            if head is not None:
                head.train(self.training)
        if global_pool is not None:
            self.set_pool(global_pool)

    def set_pool(self, global_pool: str) -> None:
        allowed = ("token", "avg", "") if self.num_prefix_tokens else ("avg", "")
        if global_pool not in allowed:
            raise ValueError(f"global_pool is {global_pool!r}, expected one of {allowed}")
        if not global_pool and not self.num_prefix_tokens and self.num_classes:
            raise ValueError("global_pool='' leaves maps, on which this head cannot work; set num_classes=0")
        self.global_pool = global_pool

    # Features

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """NCHW maps at the taps of feature_info, and what forward_features returns unless intermediates_only.

        indices     which taps, the last n, or None for all
        norm        apply the final norm to taps of its width (maps of VAN always carry the norm of their stage)
        stop_early  leave out what comes after the last tap; the first result is then the last map
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt is {output_fmt!r}, expected 'NCHW'")
        taps, last = self.take(indices)
        trunk = self
        if stop_early and last < len(self.feature_info) - 1:
            trunk = copy.copy(self)  # shares its tensors; only its lists of parts are its own
            trunk._modules, trunk._parameters = dict(self._modules), dict(self._parameters)
            trunk.truncate(last)
        out, maps = trunk.run(x, taps, norm)
        if intermediates_only:
            return maps
        return (self.finish(out) if trunk is self else maps[-1]), maps

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what the taps do not need; returns the taps as indices from the front."""
        taps, last = self.take(indices)
        if prune_head or last < len(self.feature_info) - 1:  # the head was made for the end of the trunk
            self.drop_class_token()
            self.reset_classifier(0, "")
        self.truncate(last)
        self.num_features = self.head_hidden_size = self.feature_info[last]["num_chs"]
        if prune_norm and hasattr(self, "norm"):
            self.norm = nn.Identity()
        return taps

    def take(self, indices: int | Sequence[int] | None) -> tuple[list[int], int]:
        """Taps counted from the front, and the deepest of them."""
        count = len(self.feature_info)
        if indices is None or isinstance(indices, int):
            indices = range(count - (count if indices is None else indices), count)
        if not indices or not all(-count <= i < count for i in indices):
            raise ValueError(f"indices are {list(indices)}, expected some of the {count} taps, or how many of the last")
        taps = [i % count for i in indices]
        return taps, max(taps)

    # Training

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Patterns of parameter names from stem to head, one per block or, if coarse, per stage."""
        groups = self.layer_groups()
        if coarse:
            groups = [list(chain(*same)) for _, same in groupby(groups, key=_stage_of)]
        return {f"group_{i}": f"^(?:{'|'.join(map(re.escape, group))})" for i, group in enumerate(groups)}

    def load_pretrained(self, checkpoint_path: str | Path, prefix: str = "") -> None:
        """timm calls it with the file of a pretrained_cfg; every layout of names that we know is read."""
        load_weights(self, checkpoint_path)


def _stage_of(group: list[str]) -> str:
    """What the deepest name of a group shares with its stage: "block2.0." gives "block2."."""
    deepest = max(group, key=lambda name: name.count("."))
    return re.sub(r"\d+\.$", "", deepest) if deepest.count(".") > 1 else deepest


# timm's forward_features returns one tensor, that of the backbones a list of maps: hence the ignores


class TimmVAN(TimmInterface, VAN):  # type: ignore[misc]
    """Taps: the stage ends after their LayerNorm."""

    def describe_taps(self) -> list[dict[str, Any]]:
        maps = enumerate(zip(self.channels, self.strides, strict=True), start=1)
        return [{"num_chs": width, "reduction": stride, "module": f"norm{i}"} for i, (width, stride) in maps]

    def run(self, x: Tensor, taps: list[int], norm: bool) -> tuple[Tensor, list[Tensor]]:
        maps = VAN.forward_features(self, x)
        return maps[-1], [maps[tap] for tap in taps]

    def finish(self, x: Tensor) -> Tensor:
        return x

    def truncate(self, last: int) -> None:
        keep = last + 1
        for i in range(keep + 1, len(self.config.dims) + 1):
            for part in ("patch_embed", "block", "norm"):
                del self._modules[f"{part}{i}"]
        names = ("dims", "depths", "mlp_ratios", "strides", "patch_kernels")
        self.config = replace(self.config, **{name: getattr(self.config, name)[:keep] for name in names})
        self.channels, self.strides = self.channels[:keep], self.strides[:keep]


class TimmVOLO(TimmInterface, VOLO):  # type: ignore[misc]
    """Taps: the stages, before any norm."""

    @property
    def num_prefix_tokens(self) -> int:  # type: ignore[override]
        return 0 if self.post_network is None else 1

    def describe_taps(self) -> list[dict[str, Any]]:
        return [
            {"num_chs": width, "reduction": stride, "module": f"network.{part}", "part": part, "block": block}
            for width, stride, block, part in describe_stages(self.config)
        ]

    def run(self, x: Tensor, taps: list[int], norm: bool) -> tuple[Tensor, list[Tensor]]:
        blocks = [self.feature_info[tap]["block"] for tap in taps]
        out, found = self.trunk(x, blocks)
        wide = self.config.embed_dims[-1]  # the final norm has no entries for narrower maps
        maps = [found[block] for block in blocks]
        return out, [to_nchw(self.norm(tap) if norm and tap.shape[-1] == wide else tap) for tap in maps]

    def truncate(self, last: int) -> None:
        self.network = self.network[: self.feature_info[last]["part"] + 1]
        if len(self.network) <= self.pos_index:  # nothing is left that the position embedding is added to
            self.pos_embed = None  # type: ignore[assignment]


class TimmLVViT(TimmInterface, LVViT):  # type: ignore[misc]
    """Taps: every block, without norm and class token."""

    num_prefix_tokens = 1

    def describe_taps(self) -> list[dict[str, Any]]:
        width, stride = self.config.embed_dim, self.config.patch_size
        return [{"num_chs": width, "reduction": stride, "module": f"blocks.{i}"} for i in range(self.config.depth)]

    def run(self, x: Tensor, taps: list[int], norm: bool) -> tuple[Tensor, list[Tensor]]:
        out, size, found = self.trunk(x, taps)
        ordered = [self.norm(found[tap]) if norm else found[tap] for tap in taps]
        return out, [to_nchw(tokens[:, 1:].unflatten(1, size)) for tokens in ordered]

    def finish(self, x: Tensor) -> Tensor:
        return self.norm(x)

    def truncate(self, last: int) -> None:
        self.blocks = self.blocks[: last + 1]


# Registration: what differs between families, then one entry per variant

FAMILIES: dict[str, tuple[type[TimmInterface], Any, str, str]] = {  # class, default taps, first convolution, paper
    "van": (TimmVAN, (0, 1, 2, 3), "patch_embed1.proj", "arXiv:2202.09741"),
    "volo": (TimmVOLO, (0, 3), "patch_embed.conv.0", "arXiv:2106.13112"),
    "lvvit": (TimmLVViT, 1, "patch_embed.conv1", "arXiv:2104.10858"),
}


FROM_TIMM = Path("pretrained_cfg")
"""what errors call a file that timm has read"""


def translate(state: dict[str, Any], model: Backbone) -> dict[str, Tensor]:
    """State dict of any known layout, as timm hands it over, in the names and shapes of the model."""
    result = fit(model, to_ours(RawFile(FROM_TIMM, state), like=model.state_dict())[0])
    if not result.fits(strict=False):
        raise WeightsError(f"the weights do not fit {model.config.name}:\n{result.misfits()}")
    refuse_not_finite(FROM_TIMM, result.tensors)
    return result.tensors


def describe(variant: str, entry: Entry | None) -> dict[str, Any]:
    """pretrained_cfg of a variant with the weights of a row of our table, or without weights."""
    family = variant.split("_")[0]
    _, _, first_conv, paper = FAMILIES[family]
    seen = default_preprocessing(variant, (224, 224)) if entry is None else entry.preprocessing
    cfg = {
        "num_classes": 1000 if entry is None else entry.num_classes,
        "input_size": (3, *seen.input_size),
        "interpolation": seen.interpolation,
        "crop_pct": seen.crop_pct,
        "mean": seen.mean,
        "std": seen.std,
        "first_conv": first_conv,
        "classifier": "head" if family == "van" else ("head", "aux_head"),
        "paper_ids": paper,
    }
    if entry is None:
        return cfg
    source = entry.sources[0]
    cfg["license"] = entry.licence.split(";")[0].lower()
    # custom_load: timm fetches the file and hands it to load_pretrained, which reads every layout of names
    if source.url:
        return {**cfg, "url": source.url, "custom_load": True}
    return {**cfg, "hf_hub_id": source.repo, "hf_hub_filename": source.file, "custom_load": "hf"}


def tags(variant: str) -> dict[str, Entry | None]:
    """ "volovan" with the default weights if they have 1000 classes, and one tag more per other set of weights."""
    rows = [entry for entry in TABLE.values() if entry.model == variant]
    first = default_entry(variant)
    default = first if first is not None and first.num_classes == 1000 else None
    others = {f"volovan_{row.name.removeprefix(variant + '_')}": row for row in rows if row is not default}
    return {"volovan": default, **others}


def register() -> None:
    """Make every variant known to timm; a name that timm should come to use itself is left to it, with a warning."""
    for variant in list_models():
        if is_model(variant) and model_entrypoint(variant).__module__ != __name__:
            warnings.warn(f"timm has a model {variant} of its own; that of volovan is not registered", stacklevel=2)
            continue
        globals()[variant] = register_model(entry_point(variant))  # register_model names it in __all__


def entry_point(variant: str) -> Callable[..., nn.Module]:
    """What timm.create_model calls, under the name of the variant.

    A network is built for the size of its pretrained_cfg unless img_size is given.
    """
    model_class, taps, *_ = FAMILIES[variant.split("_")[0]]

    def build(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        known = resolve_pretrained_cfg(variant, kwargs.get("pretrained_cfg"), kwargs.get("pretrained_cfg_overlay"))
        kwargs.setdefault("img_size", tuple(known.input_size[-2:]))
        return build_model_with_cfg(
            model_class,
            variant,
            pretrained,
            model_cfg=find_config(variant),
            feature_cfg={"out_indices": kwargs.pop("out_indices", taps), "feature_cls": "getter"},
            pretrained_filter_fn=translate,
            **kwargs,
        )

    build.__name__ = variant
    return build


default_cfgs = generate_default_cfgs(
    {f"{variant}.{tag}": describe(variant, row) for variant in list_models() for tag, row in tags(variant).items()}
)
register()
