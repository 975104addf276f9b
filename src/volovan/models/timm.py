"""Every variant inside timm: after `import volovan.models.timm`, timm.create_model("van_b2.volovan") and its like work.

The classes are the backbones themselves with timm's doors, so state-dict keys stay the official ones. What differs from
timm's own VOLO: any size runs, and features_only gives strides 8 and 16. Names do not collide: timm's own models carry
a size (volo_d1_224), ours a tag (volo_d1.volovan, volo_d1.volovan_384, van_b4.volovan_in22k).
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from math import ceil, prod
from pathlib import Path
from typing import Any

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
from volovan.models.timm_doors import MapHooks, TimmInterface
from volovan.models.van import VAN, VANConfig
from volovan.models.variants import find_config, list_models
from volovan.models.volo import VOLO, describe_stages
from volovan.models.weights import Entry, WeightsError, default_entry
from volovan.models.weights.fit import fit, refuse_not_finite
from volovan.models.weights.keymaps import to_ours
from volovan.models.weights.reading import RawFile
from volovan.models.weights.table import TABLE

__all__: list[str] = []  # register_model adds the names of the variants


# timm's forward_features returns one tensor, that of the backbones a list of maps: hence the ignores


class TimmVAN(TimmInterface, VAN):  # type: ignore[misc]
    """Taps: the stage ends after their LayerNorm."""

    def describe_taps(self) -> list[dict[str, Any]]:
        maps = enumerate(zip(self.channels, self.strides, strict=True), start=1)
        return [{"num_chs": width, "reduction": stride, "module": f"norm{i}"} for i, (width, stride) in maps]

    def run(self, x: Tensor, taps: list[int], norm: bool) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        maps = VAN.forward_features(self, x)
        return maps[-1], [maps[tap] for tap in taps], []

    def as_map(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return x

    def finish(self, x: Tensor) -> Tensor:
        return x

    def mean(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))

    def truncate(self, last: int) -> None:
        keep = last + 1
        for i in range(keep + 1, len(self.config.embed_dims) + 1):
            for part in ("patch_embed", "block", "norm"):
                del self._modules[f"{part}{i}"]
        names = ("embed_dims", "depths", "mlp_ratios", "strides", "patch_kernels")
        self.channels, self.strides = self.channels[:keep], self.strides[:keep]
        shorter: dict[str, Any] = {name: getattr(self.config, name)[:keep] for name in names}
        stride = self.config.output_stride
        self.config = replace(self.config, **shorter, output_stride=stride and min(stride, prod(shorter["strides"])))


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

    def run(self, x: Tensor, taps: list[int], norm: bool) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        blocks = [self.feature_info[tap]["block"] for tap in taps]
        out, found = self.trunk(x, blocks)
        wide = self.config.embed_dims[-1]  # the final norm has no entries for narrower maps
        maps = [found[block] for block in blocks]
        maps = [self.norm(tap) if norm and tap.shape[-1] == wide else tap for tap in maps]
        return out, [to_nchw(tap) for tap in maps], [tap.mean(dim=(1, 2)).unsqueeze(1) for tap in maps]

    def as_map(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return to_nchw(x)

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

    def run(self, x: Tensor, taps: list[int], norm: bool) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        out, size, found = self.trunk(x, taps)
        ordered = [self.norm(found[tap]) if norm else found[tap] for tap in taps]
        maps = [to_nchw(tokens[:, 1:].unflatten(1, size)) for tokens in ordered]
        return out, maps, [tokens[:, :1] for tokens in ordered]

    def as_map(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return to_nchw(x[:, 1:].unflatten(1, self.config.token_grid(size)))

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
    ours, *_ = to_ours(RawFile(FROM_TIMM, state), like=model.state_dict())
    result = fit(model, ours)
    if not result.fits(strict=False):
        raise WeightsError(f"the weights do not fit {model.config.name}:\n{result.misfits()}")
    refuse_not_finite(FROM_TIMM, result.tensors)
    # timm adapts the channels itself, by the same formula, and warns where it finds that done
    first = f"{FAMILIES[model.config.name.split('_')[0]][2]}.weight"
    return {**result.tensors, first: ours.get(first, model.get_parameter(first))}


def describe(variant: str, entry: Entry | None) -> dict[str, Any]:
    """pretrained_cfg of a variant with the weights of a row of our table, or without weights."""
    family = variant.split("_")[0]
    _, _, first_conv, paper = FAMILIES[family]
    seen = default_preprocessing(variant, (224, 224)) if entry is None else entry.preprocessing
    config = find_config(variant)
    stride = prod(config.strides) if isinstance(config, VANConfig) else None
    cfg = {
        "num_classes": 1000 if entry is None else entry.num_classes,
        "input_size": (3, *seen.input_size),
        "pool_size": tuple(ceil(side / stride) for side in seen.input_size) if stride else None,
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
        if "hook" in str(kwargs.get("feature_cls", "")).lower():
            kwargs["feature_cls"] = MapHooks
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
