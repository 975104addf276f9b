"""VAN: Visual Attention Network (Guo, Lu, Liu, Cheng, Hu; arXiv 2202.09741, Computational Visual Media 2023).

A pyramid of convolutional stages. Each block gates its input by a large kernel attention (LKA: depth-wise, dilated
depth-wise and 1 x 1 convolution, no softmax), then a feed-forward part with a depth-wise convolution inside.

Unlike most pyramids: the attention adds its own batch-normed input (the inner shortcut), BatchNorm comes before both
branches, each stage ends in a LayerNorm of eps 1e-6, and the next stage gets the normalised map.

Default maps: the stage ends after their LayerNorm, strides 4, 8, 16, 32. No position embedding: any size runs.
State-dict names are the official ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil
from operator import mul
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.models.backbone import Backbone
from volovan.models.config import BackboneConfig, drop_path_rates
from volovan.models.layers import (
    DropPath,
    MapNorm,
    in_channels_last,
    init_convolution,
    init_linear,
    new_head,
    run_block,
    to_nchw,
)
from volovan.models.watched import nobody_looks, plain_conv, watched
from volovan.ops import add_branch, conv2d_then, depthwise_conv2d, large_kernel_attention
from volovan.ops.convolution import ACTIVATIONS, Kernel

torch.fx.wrap("in_channels_last")  # its `if` on the device: one step in a graph of torch.fx, which knows none


@dataclass(frozen=True)
class VANConfig(BackboneConfig):
    """Everything that makes a VAN; the tuples have one entry per stage, of which there may be any number.

    img_size        only the default size of preprocessing: VAN runs on every size
    strides         of the patch embeddings; patch_kernels: their kernels, odd
    output_stride   the coarsest stride of the maps: embeddings that would go further keep the size, and what comes
                    after is dilated instead, so that at every n-th position a map is what it was; None: no limit
    lka_kernel      nominal kernel K of LKA and its dilation d: depth-wise 2d-1, dilated depth-wise ceil(K/d)
    use_dw, use_dwd, use_pw   leave out one of the three convolutions (table 3 of the paper)
    dense_kernel    one dense K x K convolution in place of the three
    gate            "product", "sum" or "none" of attention and input
    sigmoid         on the attention map
    layer_scale     initial value, None for no layer scale
    proj_drop_rate  dropout in the feed-forward parts
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"dims": "embed_dims", "drop_rate": "proj_drop_rate"}
    name: str = "van"
    embed_dims: tuple[int, ...] = (32, 64, 160, 256)
    depths: tuple[int, ...] = (3, 3, 5, 2)
    mlp_ratios: tuple[float, ...] = (8, 8, 4, 4)
    strides: tuple[int, ...] = (4, 2, 2, 2)
    patch_kernels: tuple[int, ...] = (7, 3, 3, 3)
    output_stride: int | None = None
    lka_kernel: int = 21
    lka_dilation: int = 3
    use_dw: bool = True
    use_dwd: bool = True
    use_pw: bool = True
    dense_kernel: bool = False
    gate: str = "product"
    sigmoid: bool = False
    layer_scale: float | None = 0.01
    proj_drop_rate: float = 0.0
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        self.same_length("embed_dims", "depths", "mlp_ratios", "strides", "patch_kernels")
        self.at_least(1, "embed_dims", "depths", "strides", "lka_kernel", "lka_dilation")
        self.one_of("gate", "product", "sum", "none")
        for dim, ratio in zip(self.embed_dims, self.mlp_ratios, strict=True):
            self.hidden_width(dim, ratio)
        for kernel, stride in zip(self.patch_kernels, self.strides, strict=True):
            if kernel < stride or kernel % 2 == 0:
                raise self.error(
                    f"patch_kernels has {kernel} at stride {stride}, expected an odd kernel that is not smaller than "
                    "its stride"
                )
        self._check_lka()
        reached = list(accumulate(self.strides, mul))
        if self.output_stride is not None and self.output_stride not in reached:
            known = ", ".join(map(str, reached))
            raise self.error(f"output_stride is {self.output_stride}, expected one of the strides of its maps: {known}")

    def stages(self) -> list[tuple[int, int, int]]:
        """Of each stage: the stride of its embedding, the dilation of that, and the dilation of its blocks."""
        found, total, dilation = [], 1, 1
        for stride in self.strides:
            before = dilation
            if self.output_stride is not None and total * stride > self.output_stride:
                dilation, stride = dilation * stride, 1
            total *= stride
            found.append((stride, before, dilation))
        return found

    def _check_lka(self) -> None:
        if self.dense_kernel:
            if self.lka_kernel % 2 == 0:
                raise self.error(f"a dense kernel of {self.lka_kernel} has no symmetric padding; make lka_kernel odd")
            return
        if not (self.use_dw or self.use_dwd or self.use_pw):
            raise self.error("use_dw, use_dwd and use_pw are all off, expected at least one convolution")
        dilated = ceil(self.lka_kernel / self.lka_dilation)
        if self.use_dwd and self.lka_dilation * (dilated - 1) % 2:
            raise self.error(
                f"lka_kernel = {self.lka_kernel} with lka_dilation = {self.lka_dilation} needs a dilated kernel of "
                f"{dilated}, for which there is no symmetric padding; make lka_dilation even or "
                "ceil(lka_kernel / lka_dilation) odd"
            )


def depthwise(dim: int, kernel: int, dilation: int = 1) -> nn.Conv2d:
    """Depth-wise convolution that keeps the size. A plain nn.Conv2d, by whose class counters and quantizers know it."""
    return nn.Conv2d(dim, dim, kernel, padding=dilation * (kernel - 1) // 2, dilation=dilation, groups=dim)


def convolve(conv: nn.Module, x: Tensor, act: str = "none") -> Tensor:
    """act(conv(x)); by volovan.ops, without the call, if it is depth-wise and nothing watches it."""
    if plain_conv(conv, groups=x.shape[1]):
        return depthwise_conv2d(x, conv.weight, conv.bias, conv.dilation[0], act=act)
    return ACTIVATIONS[act](conv(x))


def pointwise(conv: nn.Module, x: Tensor, act: str = "none", other: Tensor | None = None) -> Tensor:
    """act(conv(x) + other); by volovan.ops, without the call, if it is 1 x 1 and nothing watches it."""
    if plain_conv(conv, groups=1) and conv.kernel_size == (1, 1):
        return conv2d_then(x, Kernel(conv.weight, conv.bias), act, other)
    return ACTIVATIONS[act](conv(x) if other is None else conv(x) + other)


class LargeKernelAttention(nn.Module):
    """LKA (equation 3 of the paper) and its ablations (table 3)."""

    def __init__(self, dim: int, config: VANConfig, spread: int = 1):
        super().__init__()
        self.gate, self.sigmoid = config.gate, config.sigmoid
        dilation = config.lka_dilation
        if config.dense_kernel:
            padding = spread * (config.lka_kernel // 2)
            self.dense = nn.Conv2d(dim, dim, config.lka_kernel, padding=padding, dilation=spread)
        else:
            if config.use_dw:
                self.conv0 = depthwise(dim, 2 * dilation - 1, spread)
            if config.use_dwd:
                self.conv_spatial = depthwise(dim, ceil(config.lka_kernel / dilation), dilation * spread)
            if config.use_pw:
                self.conv1 = nn.Conv2d(dim, dim, 1)
        self.parts = tuple(name for name, _ in self.named_children())
        self.as_published = len(self.parts) == 3 and self.gate == "product" and not self.sigmoid

    def forward(self, x: Tensor) -> Tensor:
        if self.as_published and self.can_fuse(channels=x.shape[1]):
            dw, dwd, pw = self.conv0, self.conv_spatial, self.conv1
            return large_kernel_attention(
                x, dw.weight, dw.bias, dwd.weight, dwd.bias, pw.weight, pw.bias, dilation=dwd.dilation[0]
            )
        attention = x
        for part in self.parts:
            attention = convolve(getattr(self, part), attention)
        if self.sigmoid:
            attention = attention.sigmoid()
        if self.gate == "none":
            return attention
        return attention * x if self.gate == "product" else attention + x

    def can_fuse(self, channels: int) -> bool:
        """Whether the three convolutions are those of large_kernel_attention, and nothing watches them."""
        dw, dwd, pw = self.conv0, self.conv_spatial, self.conv1
        return (
            plain_conv(dw, groups=channels)
            and dw.dilation == (1, 1)
            and plain_conv(dwd, groups=channels)
            and plain_conv(pw, groups=1)
            and pw.kernel_size == (1, 1)
            and pw.in_channels == pw.out_channels
        )


class Attention(nn.Module):
    """1 x 1, GELU, LKA, 1 x 1, plus its own input."""

    def __init__(self, dim: int, config: VANConfig, spread: int = 1):
        super().__init__()
        self.proj_1 = nn.Conv2d(dim, dim, 1)
        self.spatial_gating_unit = LargeKernelAttention(dim, config, spread)
        self.proj_2 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return pointwise(self.proj_2, self.spatial_gating_unit(pointwise(self.proj_1, x, "gelu")), other=x)


class DWConv(nn.Module):
    """The 3 x 3 depth-wise convolution of the feed-forward part, one level down as in the official names."""

    def __init__(self, dim: int, spread: int = 1):
        super().__init__()
        self.dwconv = depthwise(dim, 3, spread)

    def forward(self, x: Tensor, act: str = "none") -> Tensor:
        return convolve(self.dwconv, x, act)


def gelu_of(dwconv: nn.Module, x: Tensor) -> Tensor:
    """GELU of a DWConv; in its pass where nothing watches it."""
    if type(dwconv) is DWConv and not watched(dwconv) and nobody_looks():
        return dwconv.forward(x, "gelu")
    return F.gelu(dwconv(x))


class FeedForward(nn.Module):
    """1 x 1 to the hidden width, 3 x 3 depth-wise, GELU, 1 x 1 back; dropout after the last two."""

    def __init__(self, dim: int, hidden: int, drop: float, spread: int = 1):
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.dwconv = DWConv(hidden, spread)
        self.fc2 = nn.Conv2d(hidden, dim, 1)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(pointwise(self.fc2, self.drop(gelu_of(self.dwconv, pointwise(self.fc1, x)))))


class Block(nn.Module):
    """x + ls1 * Attention(BN(x)), then x + ls2 * FeedForward(BN(x)), each behind drop path.

    spread  positions between those that its convolutions look at: 1, or more where output_stride keeps maps large
    """

    def __init__(self, dim: int, hidden: int, drop_path: float, config: VANConfig, spread: int = 1):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(dim)
        self.attn = Attention(dim, config, spread)
        self.norm2 = nn.BatchNorm2d(dim)
        self.mlp = FeedForward(dim, hidden, config.proj_drop_rate, spread)
        self.drop_path = DropPath(drop_path)
        self.layer_scale_1: nn.Parameter | None = None
        self.layer_scale_2: nn.Parameter | None = None
        if config.layer_scale is not None:
            self.layer_scale_1 = nn.Parameter(torch.full((dim,), config.layer_scale))
            self.layer_scale_2 = nn.Parameter(torch.full((dim,), config.layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        x = add_scaled(x, self.attn(self.norm1(x)), self.layer_scale_1, self.drop_path)
        return add_scaled(x, self.mlp(self.norm2(x)), self.layer_scale_2, self.drop_path)


def add_scaled(x: Tensor, branch: Tensor, scale: Tensor | None, drop_path: nn.Module) -> Tensor:
    """x + drop_path(scale * branch); in one pass where nothing watches drop path, and there is a kernel for that."""
    if type(drop_path) is DropPath and not watched(drop_path) and nobody_looks():
        keep = drop_path.keep(branch, branch.dtype if scale is None else torch.promote_types(branch.dtype, scale.dtype))
        return to_nchw(add_branch(x.permute(0, 2, 3, 1), branch.permute(0, 2, 3, 1), scale, keep))
    return x + drop_path(branch if scale is None else branch * scale[:, None, None])


class PatchEmbed(nn.Module):
    """Overlapping strided convolution and BatchNorm; ceil(H / stride) rows."""

    def __init__(self, in_chans: int, dim: int, kernel: int, stride: int, spread: int = 1):
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, kernel, stride=stride, padding=spread * (kernel // 2), dilation=spread)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))


class VAN(Backbone):
    """VAN on (B, in_chans, H, W) of any size: class logits, or the maps of its stages."""

    config: VANConfig

    def __init__(self, config: VANConfig):
        super().__init__(config)
        self.channels = config.embed_dims
        stages = config.stages()
        self.strides = tuple(accumulate((stride for stride, _, _ in stages), mul))
        rates = iter(drop_path_rates(config.drop_path_rate, sum(config.depths)))
        in_chans = config.in_chans
        for i, (dim, (stride, before, spread)) in enumerate(zip(config.embed_dims, stages, strict=True), start=1):
            hidden = config.hidden_width(dim, config.mlp_ratios[i - 1])
            embed = PatchEmbed(in_chans, dim, config.patch_kernels[i - 1], stride, before)
            depth = config.depths[i - 1]
            self.add_module(f"patch_embed{i}", embed)
            self.add_module(
                f"block{i}", nn.ModuleList(Block(dim, hidden, next(rates), config, spread) for _ in range(depth))
            )
            self.add_module(f"norm{i}", MapNorm(dim, eps=config.norm_eps))
            in_chans = dim
        self.reset_classifier(config.num_classes)
        self.apply(init_weights)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes): the head on the mean over positions of the last map."""
        return self.head(self.forward_features(x)[-1].mean(dim=(2, 3)))

    def forward_features(self, x: Tensor, taps: Sequence[int] | None = None) -> list[Tensor]:
        """NCHW maps, shallow to deep: the stage ends after their LayerNorm.

        With `taps`, the outputs of these blocks instead (counted from 0 through all stages), before any LayerNorm.
        """
        config = self.config
        self.check_input(x)
        wanted = self.check_taps(() if taps is None else taps, sum(config.depths))
        x = self.laid_out(x)
        maps: list[Tensor] = []
        number = 0
        for i in range(1, len(config.embed_dims) + 1):
            x = self.get_submodule(f"patch_embed{i}")(x)
            for block in self.get_submodule(f"block{i}").children():
                x = run_block(block, x, self.grad_checkpointing)
                if number in wanted:
                    maps.append(x)
                number += 1
            x = self.get_submodule(f"norm{i}")(x)
            if taps is None:
                maps.append(x)
        return maps

    def laid_out(self, x: Tensor) -> Tensor:
        """Pictures in the layout of memory that its convolutions are fastest in."""
        return in_channels_last(x)

    def reset_classifier(self, num_classes: int) -> None:
        """A new head for `num_classes` classes; 0 for none, then forward returns the mean features."""
        self.config = replace(self.config, num_classes=num_classes)
        width, like = self.config.embed_dims[-1], next(self.parameters())
        self.head = new_head(width, num_classes, like) if num_classes else nn.Identity()

    def layer_groups(self) -> list[list[str]]:
        """Parameter-name prefixes from stem to head, one group per block, for layer-wise learning rates."""
        depths = self.config.depths
        groups = [["patch_embed1."]]
        for i, depth in enumerate(depths, start=1):
            for j in range(depth):
                group = [f"block{i}.{j}."]
                if j == 0 and i > 1:  # the embedding of a stage learns with its first block
                    group.append(f"patch_embed{i}.")
                if j == depth - 1 and i < len(depths):
                    group.append(f"norm{i}.")
                groups.append(group)
        return [*groups, [f"norm{len(depths)}.", "head."]]


def init_weights(module: nn.Module) -> None:
    init_convolution(module)
    init_linear(module)


_WIDE = (64, 128, 320, 512)
VARIANTS = {  # parameters with 1000 classes
    "van_b0": VANConfig("van_b0"),  #  4,105,800
    "van_b1": VANConfig("van_b1", embed_dims=_WIDE, depths=(2, 2, 4, 2)),  #  13,861,800
    "van_b2": VANConfig("van_b2", embed_dims=_WIDE, depths=(3, 3, 12, 3)),  #  26,578,472
    "van_b3": VANConfig("van_b3", embed_dims=_WIDE, depths=(3, 5, 27, 3)),  #  44,765,608
    "van_b4": VANConfig("van_b4", embed_dims=_WIDE, depths=(3, 6, 40, 3)),  #  60,283,176
    "van_b5": VANConfig("van_b5", embed_dims=(96, 192, 480, 768), depths=(3, 3, 24, 3)),  #  89,967,688
    "van_b6": VANConfig("van_b6", embed_dims=(96, 192, 384, 768), depths=(6, 6, 90, 6)),  # 199,829,416; stage 3: 384
}
