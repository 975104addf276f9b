"""timm's doors for a backbone: what timm's tools call, said once for the three families."""

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import torch
from timm.models import FeatureHookNet
from torch import Tensor, nn

from volovan.models.layers import is_given
from volovan.models.weights import load_weights


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
    # end of the trunk, NCHW maps at the taps, class tokens (B, 1, C) there
    run: Callable[[Tensor, list[int], bool], tuple[Tensor, list[Tensor], list[Tensor]]]
    as_map: Callable[[Tensor, tuple[int, int]], Tensor]  # what the module of a tap returns, of pictures of a size
    finish: Callable[[Tensor], Tensor]  # from the end of the trunk to what forward_features returns
    truncate: Callable[[int], None]  # keep the trunk up to a tap

    def __init__(
        self,
        cfg: Any,
        global_pool: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        dynamic_img_size: bool = True,
        **settings: Any,
    ):
        """dynamic_img_size: timm's word for taking pictures of any size, which these networks do in any case"""
        super().__init__(replace(cfg, **cfg.renamed(settings)))
        config = self.config
        self.num_classes, self.in_chans = config.num_classes, config.in_chans
        self.num_features = self.head_hidden_size = self.channels[-1]
        self.feature_info = self.describe_taps()
        self.set_pool(("token" if self.num_prefix_tokens else "avg") if global_pool is None else global_pool)
        self.to(device=device, dtype=dtype)

    # Classification

    def forward(self, x: Tensor, box: Tensor | None = None) -> Any:
        """Logits (B, num_classes); with a MixToken box what the backbone itself returns."""
        return super().forward(x, box) if is_given(box) else self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Any:
        """What the head reads: NCHW map of VAN, else tokens (B, 1 + N, C), class token first, after the final norm."""
        out, *_ = self.run(x, [], False)
        return self.finish(out)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits, or pooled features, of what forward_features returns; the dense head adds half its maximum."""
        drop = getattr(self, "head_drop", None)
        x = x if drop is None else drop(x)
        pooled = x
        if self.global_pool == "token":
            pooled = x[:, 0]
        elif self.global_pool == "avg":
            pooled = self.mean(x)
        if pre_logits:
            return pooled
        logits = self.head(pooled)
        aux_head = getattr(self, "aux_head", None)
        if aux_head is not None and self.global_pool:
            logits = logits + 0.5 * aux_head(x[:, self.num_prefix_tokens :]).amax(dim=1)
        return logits

    def mean(self, x: Tensor) -> Tensor:
        """Over the positions of what forward_features returns."""
        return x[:, self.num_prefix_tokens :].mean(dim=1)

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
        return_prefix_tokens: bool = False,
    ) -> list[Any] | tuple[Tensor, list[Any]]:
        """NCHW maps at the taps of feature_info, and what forward_features returns unless intermediates_only.

        indices     which taps, the last n, or None for all
        norm        apply the final norm to taps of its width (maps of VAN always carry the norm of their stage)
        stop_early  leave out what comes after the last tap; the first result is then the last map
        return_prefix_tokens   pairs (map, class token (B, 1, C)) where the network has one, as timm's transformers give
                    them; VOLO makes its class token after the last tap, and its place is taken by the mean of the map
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt is {output_fmt!r}, expected 'NCHW'")
        taps, last = self.take(indices)
        trunk = self
        if stop_early and last < len(self.feature_info) - 1:
            trunk = copy.copy(self)  # shares its tensors; only its lists of parts are its own
            trunk._modules, trunk._parameters = dict(self._modules), dict(self._parameters)
            trunk.truncate(last)
        out, maps, tokens = trunk.run(x, taps, norm)
        found = list(zip(maps, tokens, strict=True)) if return_prefix_tokens and self.num_prefix_tokens else maps
        if intermediates_only:
            return found
        return (self.finish(out) if trunk is self else maps[-1]), found

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


class MapHooks(FeatureHookNet):
    """features_only with feature_cls="hook": what the hooks caught, as NCHW maps."""

    def forward(self, x: Tensor) -> Any:
        found, size, body = super().forward(x), (x.shape[2], x.shape[3]), self["body"]
        assert isinstance(body, TimmInterface)
        if self.return_dict:
            return {name: body.as_map(tap, size) for name, tap in found.items()}
        return [body.as_map(tap, size) for tap in found]
