"""VOLO: Vision Outlooker (Yuan, Hou, Jiang, Feng, Yan; arXiv 2106.13112, TPAMI 2023).

Outlookers mix fine tokens (stride 8) by outlook attention, a 2 x 2 convolution halves the map, transformer blocks mix
the coarse tokens (stride 16), two class-attention blocks (CaiT) read them into a class token.

Unlike most transformers: the position embedding is added after the downsampling and not to the class token; the
logits are those of the class token plus half the maximum over tokens of a second, dense head.

Default maps: the last outlooker and the last transformer block, strides 8 and 16, without norm and class token.
State-dict names are the official ones. Any size runs: the position embedding is resized in `forward`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.models.backbone import TokenBackbone
from volovan.models.config import TokenConfig, drop_path_rates, image_size
from volovan.models.layers import (
    SelfAttention,
    Stage,
    TransformerBlock,
    init_linear,
    linear,
    mix_tokens,
    resize_position,
    run_block,
    to_nchw,
    to_nhwc,
)
from volovan.models.mixers import LocalAttention, OutlookAttention, SpatialConv

torch.fx.wrap("resize_position")  # its `if` on sizes: one step in a graph of torch.fx, which knows none


@dataclass(frozen=True)
class VOLOConfig(TokenConfig):
    """Everything that makes a VOLO; the tuples have one entry per stage, of which there may be any number.

    depths          blocks per stage; 0 leaves the stage out
    mixers          per stage: "outlook", "attention" (global), or, in the place of outlook attention (table 6 of the
                    paper), "local" (self-attention over the k x k window) and "conv" (k x k convolution)
    downsamples     per stage: a 2 x 2 convolution of stride 2 after it; widths may change only there
    patch_size      pixels per token; the stem (three convolutions, `stem_width` channels) takes `stem_stride` of it
    outlook_kernel  k of the window mixers, odd; outlook_stride: pixels per window, of "outlook" only
    class_blocks    class-attention blocks; 0 needs mean_head
    mean_head       the head reads the mean of the tokens; needs class_blocks = 0 and no dense head
    others          see TokenConfig
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"layers": "depths"}
    name: str = "volo"
    depths: tuple[int, ...] = (4, 4, 8, 2)
    embed_dims: tuple[int, ...] = (192, 384, 384, 384)
    num_heads: tuple[int, ...] = (6, 12, 12, 12)
    mlp_ratios: tuple[float, ...] = (3, 3, 3, 3)
    mixers: tuple[str, ...] = ("outlook", "attention", "attention", "attention")
    downsamples: tuple[bool, ...] = (True, False, False, False)
    stem_stride: int = 2
    patch_size: int = 8
    outlook_kernel: int = 3
    outlook_stride: int = 2
    class_blocks: int = 2
    mean_head: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.same_length("depths", "embed_dims", "num_heads", "mlp_ratios", "mixers", "downsamples")
        self.at_least(1, "embed_dims", "num_heads", "stem_width", "stem_stride", "patch_size", "outlook_stride")
        self.at_least(0, "depths", "class_blocks")
        self.one_of("mixers", "outlook", "attention", "local", "conv")
        self.divides(self.embed_dims, self.num_heads)
        for dim, ratio in zip(self.embed_dims, self.mlp_ratios, strict=True):
            self.hidden_width(dim, ratio)
        self._check_shapes()
        if self.mean_head and (self.class_blocks or self.dense_head):
            raise self.error("mean_head needs class_blocks = 0 and dense_head = False")
        if not self.mean_head and not self.class_blocks:
            raise self.error("class_blocks = 0 leaves no class token; set mean_head = True")

    def _check_shapes(self) -> None:
        if not sum(self.depths):
            raise self.error(f"depths is {self.depths}, expected at least one block")
        if self.outlook_kernel < 1 or self.outlook_kernel % 2 == 0:
            raise self.error(f"outlook_kernel is {self.outlook_kernel}, expected an odd number")
        if self.patch_size % self.stem_stride:
            raise self.error(f"patch_size = {self.patch_size} is not a multiple of stem_stride = {self.stem_stride}")
        if self.downsamples[-1]:
            raise self.error("downsamples ends in True, expected no downsampling after the last stage")
        for i, (dim, next_dim) in enumerate(pairwise(self.embed_dims)):
            if dim != next_dim and not self.downsamples[i]:
                raise self.error(
                    f"embed_dims change from {dim} to {next_dim} after stage {i} without a downsampling there"
                )
        self.check_tokens()

    @property
    def pool(self) -> int:
        """By how much the downsamplings shrink the map."""
        return 2 ** sum(self.downsamples)

    @property
    def token_stride(self) -> int:
        return self.patch_size * self.pool


class PatchEmbed(nn.Module):
    """Three convolutions, then one convolution per patch: (B, in_chans, H, W) to (B, H/patch, W/patch, C)."""

    def __init__(self, config: VOLOConfig):
        super().__init__()
        width, stride = config.stem_width, config.stem_stride
        layers: list[nn.Module] = []
        for in_chans, kernel, step in ((config.in_chans, 7, stride), (width, 3, 1), (width, 3, 1)):
            conv = nn.Conv2d(in_chans, width, kernel, stride=step, padding=kernel // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        self.conv = nn.Sequential(*layers)
        patch = config.patch_size // stride
        self.proj = nn.Conv2d(width, config.embed_dims[0], patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return to_nhwc(self.proj(self.conv(x)))


class Downsample(nn.Module):
    """2 x 2 convolution of stride 2; an odd last row or column is dropped."""

    def __init__(self, dim: int, out_dim: int):
        super().__init__()
        self.proj = nn.Conv2d(dim, out_dim, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return to_nhwc(self.proj(to_nchw(x)))


class ClassAttention(nn.Module):
    """The class token asks, all tokens answer (CaiT, arXiv 2103.17239): (B, 1 + N, C) to (B, 1, C)."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool, attn_drop: float, drop: float):
        super().__init__()
        self.num_heads = num_heads
        self.attn_drop = attn_drop
        self.kv = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        self.q = nn.Linear(dim, dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        q = linear(self.q, x[:, :1]).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = linear(self.kv, x).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=self.attn_drop if self.training else 0.0)
        return self.drop(linear(self.proj, out.transpose(1, 2).flatten(2)))


class ClassBlock(TransformerBlock):
    """Updates the class token only; patch tokens pass unchanged. Its drop path rate is 0."""

    def forward(self, x: Tensor) -> Tensor:
        token = x[:, :1] + self.attn(self.norm1(x))
        token = token + self.mlp(self.norm2(token))
        return torch.cat([token, x[:, 1:]], dim=1)


def make_stage(config: VOLOConfig, stage: int, rates: list[float]) -> Stage:
    """The blocks of one stage; `rates` are the drop path rates of all, which the window mixers leave aside."""
    first = sum(config.depths[:stage])
    dim, heads = config.embed_dims[stage], config.num_heads[stage]
    hidden = config.hidden_width(dim, config.mlp_ratios[stage])
    kernel, bias = config.outlook_kernel, config.qkv_bias
    attn_drop, drop = config.attn_drop_rate, config.proj_drop_rate
    blocks: list[nn.Module] = []
    for rate in rates[first : first + config.depths[stage]]:
        mixer: nn.Module
        match config.mixers[stage]:
            case "attention":
                mixer = SelfAttention(dim, heads, bias, attn_drop, drop)
            case "outlook":
                mixer = OutlookAttention(dim, heads, kernel, config.outlook_stride, bias, attn_drop, drop)
            case "local":
                mixer = LocalAttention(dim, heads, kernel, bias, attn_drop, drop)
            case _:
                mixer = SpatialConv(dim, kernel, drop)
        drop_path = rate if config.mixers[stage] == "attention" else 0.0
        blocks.append(TransformerBlock(mixer, dim, hidden, drop, config.norm_eps, drop_path))
    return Stage(*blocks, first=first)


class VOLO(TokenBackbone):
    """VOLO on (B, in_chans, H, W) of any size: class logits, or the maps of its blocks."""

    config: VOLOConfig

    def __init__(self, config: VOLOConfig):
        super().__init__(config)
        dim = config.embed_dims[-1]
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, *config.token_grid(image_size(config)), dim))
        self.pos_drop = nn.Dropout(config.pos_drop_rate)
        self.network = nn.ModuleList()
        rates = drop_path_rates(config.drop_path_rate, sum(config.depths))
        for stage, halved in enumerate(config.downsamples):
            self.network.append(make_stage(config, stage, rates))
            if halved:
                self.network.append(Downsample(config.embed_dims[stage], config.embed_dims[stage + 1]))
        # The embedding belongs to the tokens of the last stages: it is added after the last downsampling.
        halvings = [i for i, part in enumerate(self.network) if isinstance(part, Downsample)]
        self.pos_index = halvings[-1] + 1 if halvings else 0

        self.post_network: nn.ModuleList | None = None
        if config.class_blocks:
            hidden, drop = config.hidden_width(dim, config.mlp_ratios[-1]), config.proj_drop_rate
            self.post_network = nn.ModuleList()
            for _ in range(config.class_blocks):
                attention = ClassAttention(dim, config.num_heads[-1], config.qkv_bias, config.attn_drop_rate, drop)
                self.post_network.append(ClassBlock(attention, dim, hidden, drop, config.norm_eps))
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
            nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.head_drop = nn.Dropout(config.drop_rate)
        self.reset_classifier(config.num_classes)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.apply(init_linear)
        stages = describe_stages(config)
        self.last_blocks = {part: block for _, _, block, part in stages}
        default = {stride: (channels, block) for channels, stride, block, _ in stages}  # the last stage at each stride
        self.strides = tuple(default)
        self.channels, self._default_taps = zip(*default.values(), strict=True)

    def forward_features(self, x: Tensor, taps: Sequence[int] | None = None) -> list[Tensor]:
        """NCHW maps, shallow to deep, without norm: the last block at each stride, or with `taps` the outputs of
        these blocks (counted from 0 through all stages; class-attention blocks do not count)."""
        taps = self._default_taps if taps is None else self.check_taps(taps, sum(self.config.depths))
        _, maps = self.trunk(x, taps)
        return [to_nchw(maps[tap]) for tap in taps]

    def trunk(self, x: Tensor, taps: Sequence[int] = (), box: Tensor | None = None) -> tuple[Tensor, dict[int, Tensor]]:
        """Tokens after the last block (B, h, w, C), and the outputs of the tapped blocks by their number."""
        self.check_input(x)
        maps: dict[int, Tensor] = {}

        def keep(number: int, x: Tensor) -> None:
            if number in taps:
                maps[number] = x

        x = self.patch_embed(x)
        if box is not None:
            x = mix_tokens(x, box, self.config.pool)
        for i, part in enumerate(self.network):
            if i == self.pos_index:
                x = self.pos_drop(x + resize_position(self.pos_embed, (x.shape[1], x.shape[2])))
            if isinstance(part, Stage):
                x = part(x, checkpointing=self.grad_checkpointing, keep=keep if taps else None)
            else:
                x = part(x)
            if i in self.last_blocks:  # once more: a hook on the stage, or an adapter in its place, may change it
                keep(self.last_blocks[i], x)
        return x, maps

    def finish(self, x: Tensor) -> Tensor:
        """(B, h, w, C) tokens to (B, N, C) after the final norm, with class blocks the class token in front."""
        tokens = x.flatten(1, 2)
        if self.post_network is not None:
            tokens = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
            for block in self.post_network:
                tokens = run_block(block, tokens, self.grad_checkpointing)
        return self.norm(tokens)

    def classify(self, x: Tensor, box: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Class logits (B, K) and, with dense head, patch logits (B, h, w, K)."""
        x, _ = self.trunk(x, box=box)
        height, width = x.shape[1:3]
        tokens = self.finish(x)
        if self.post_network is None:
            return self.head(self.head_drop(tokens.mean(dim=1))), None
        tokens = self.head_drop(tokens)
        patch = self.aux_head(tokens[:, 1:]).unflatten(1, (height, width)) if self.aux_head is not None else None
        return self.head(tokens[:, 0]), patch

    def drop_class_token(self) -> None:
        if self.post_network is not None:
            self.post_network = None
            del self.cls_token

    def layer_groups(self) -> list[list[str]]:
        """Parameter-name prefixes from stem to head, one group per block, for layer-wise learning rates."""
        groups = [["patch_embed.", "pos_embed", "cls_token"]]
        waiting: list[str] = []
        for i, part in enumerate(self.network):
            if isinstance(part, Downsample):  # learns with the block after it
                waiting.append(f"network.{i}.")
                continue
            for j, _ in enumerate(part.children()):
                groups.append([*waiting, f"network.{i}.{j}."])
                waiting = []
        groups += [[f"post_network.{i}."] for i in range(self.config.class_blocks)]
        return [*groups, [*waiting, "norm.", "head.", "aux_head."]]


def describe_stages(config: VOLOConfig) -> list[tuple[int, int, int, int]]:
    """Of each stage that has blocks: channels, stride, number of its last block, and its place in `network`."""
    stages = []
    stride, part = config.patch_size, 0
    for stage, depth in enumerate(config.depths):
        if depth:
            stages.append((config.embed_dims[stage], stride, sum(config.depths[: stage + 1]) - 1, part))
        stride, part = (2 * stride, part + 2) if config.downsamples[stage] else (stride, part + 1)
    return stages


_D2 = VOLOConfig("volo_d2", depths=(6, 4, 10, 4), embed_dims=(256, 512, 512, 512), num_heads=(8, 16, 16, 16))
_D4 = VOLOConfig("volo_d4", depths=(8, 8, 16, 4), embed_dims=(384, 768, 768, 768), num_heads=(12, 16, 16, 16))
VARIANTS = {  # parameters at 224 with 1000 classes
    "volo_d1": VOLOConfig("volo_d1"),  #  26,632,040
    "volo_d2": _D2,  #  58,678,336
    "volo_d3": replace(_D2, name="volo_d3", depths=(8, 8, 16, 4)),  #  86,325,072
    "volo_d4": _D4,  # 192,961,520
    "volo_d5": replace(_D4, name="volo_d5", depths=(12, 12, 20, 4), mlp_ratios=(4, 4, 4, 4), stem_width=128),
}  # volo_d5: 295,455,584
