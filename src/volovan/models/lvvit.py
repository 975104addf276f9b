"""LV-ViT: the vision transformer of Token Labeling (Jiang et al.; arXiv 2104.10858, NeurIPS 2021), baseline of VOLO.

A convolutional stem down to 16-pixel tokens, a class token, transformer blocks, and a head on every token.

Unlike most vision transformers: both branches of a block are divided by `residual_divisor`, the position embedding
covers the class token too, and the logits are those of the class token plus half the maximum of the dense head.

Default map: the last block without norm and class token, stride 16. State-dict names are the official ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.fx
from torch import Tensor, nn

from volovan.models.backbone import TokenBackbone
from volovan.models.config import TokenConfig, drop_path_rates, image_size
from volovan.models.layers import (
    SelfAttention,
    TransformerBlock,
    init_linear,
    mix_tokens,
    resize_position,
    run_block,
    to_nchw,
)

STEM_STRIDE = 2
torch.fx.wrap("resize_position")  # its `if` on sizes: one step in a graph of torch.fx, which knows none


@dataclass(frozen=True)
class LVViTConfig(TokenConfig):
    """Everything that makes an LV-ViT.

    conv_stem         three convolutions (`stem_width` channels, stride 2) before the patch convolution; without it one
                      patch convolution reads the pixels, as in a plain vision transformer
    residual_divisor  of both branches of every block
    others            see TokenConfig
    """

    name: str = "lvvit"
    depth: int = 16
    embed_dim: int = 384
    num_heads: int = 6
    mlp_ratio: float = 3
    residual_divisor: float = 2
    conv_stem: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "depth", "embed_dim", "num_heads", "patch_size", "stem_width")
        self.divides((self.embed_dim,), (self.num_heads,))
        self.hidden_width(self.embed_dim, self.mlp_ratio)
        if not self.residual_divisor > 0:
            raise self.error(f"residual_divisor is {self.residual_divisor}, expected a positive number")
        if self.patch_size % self.stem_stride:
            raise self.error(
                f"patch_size = {self.patch_size} is odd, but the stem halves the map; make it even or set "
                "conv_stem = False"
            )
        self.check_tokens()

    @property
    def stem_stride(self) -> int:
        return STEM_STRIDE if self.conv_stem else 1


class PatchEmbed(nn.Module):
    """(B, in_chans, H, W) to (B, H/patch, W/patch, C)."""

    def __init__(self, config: LVViTConfig):
        super().__init__()
        self.conv_stem = config.conv_stem
        width, in_chans = config.stem_width, config.in_chans
        if self.conv_stem:
            self.conv1 = nn.Conv2d(in_chans, width, 7, stride=STEM_STRIDE, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3 = nn.Conv2d(width, width, 3, padding=1, bias=False)
            self.bn3 = nn.BatchNorm2d(width)
            in_chans = width
        patch = config.patch_size // config.stem_stride
        self.proj = nn.Conv2d(in_chans, config.embed_dim, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv_stem:
            x = self.bn1(self.conv1(x)).relu()
            x = self.bn2(self.conv2(x)).relu()
            x = self.bn3(self.conv3(x)).relu()
        return self.proj(x).permute(0, 2, 3, 1)


class LVViT(TokenBackbone):
    """LV-ViT on (B, in_chans, H, W) of any size: class logits, or the maps of its blocks."""

    config: LVViTConfig

    def __init__(self, config: LVViTConfig):
        super().__init__(config)
        self.channels, self.strides = (config.embed_dim,), (config.patch_size,)
        dim = config.embed_dim
        hidden = config.hidden_width(dim, config.mlp_ratio)
        rows, columns = config.token_grid(image_size(config))
        self.patch_embed = PatchEmbed(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + rows * columns, dim))
        self.pos_drop = nn.Dropout(config.pos_drop_rate)
        self.blocks = nn.ModuleList()
        drop, eps, divisor = config.proj_drop_rate, config.norm_eps, config.residual_divisor
        for rate in drop_path_rates(config.drop_path_rate, config.depth):
            attention = SelfAttention(dim, config.num_heads, config.qkv_bias, config.attn_drop_rate, drop)
            self.blocks.append(TransformerBlock(attention, dim, hidden, drop, eps, rate, divisor))
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.head_drop = nn.Dropout(config.drop_rate)
        self.reset_classifier(config.num_classes)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.apply(init_linear)

    def classify(self, x: Tensor, box: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Class logits (B, K) and, with dense head, patch logits (B, h, w, K)."""
        tokens, size, _ = self.trunk(x, box=box)
        tokens = self.head_drop(self.norm(tokens))
        patch = self.aux_head(tokens[:, 1:]).unflatten(1, size) if self.aux_head is not None else None
        return self.head(tokens[:, 0]), patch

    def forward_features(self, x: Tensor, taps: Sequence[int] | None = None) -> list[Tensor]:
        """NCHW maps, shallow to deep, without norm and class token: the last block, or the blocks of `taps`
        (counted from 0)."""
        depth = self.config.depth
        taps = (depth - 1,) if taps is None else self.check_taps(taps, depth)
        _, size, maps = self.trunk(x, taps)
        return [to_nchw(maps[tap][:, 1:].unflatten(1, size)) for tap in taps]

    def trunk(
        self, x: Tensor, taps: Sequence[int] = (), box: Tensor | None = None
    ) -> tuple[Tensor, tuple[int, int], dict[int, Tensor]]:
        """Tokens after the last block (B, 1 + h*w, C), class token first; (h, w); outputs of the taps by number."""
        self.check_input(x)
        x = self.patch_embed(x)
        if box is not None:
            x = mix_tokens(x, box)
        height, width = x.shape[1:3]
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x.flatten(1, 2)], dim=1)
        x = self.pos_drop(x + self.position((height, width)))
        maps: dict[int, Tensor] = {}
        for i, block in enumerate(self.blocks):
            x = run_block(block, x, self.grad_checkpointing)
            if i in taps:
                maps[i] = x
        return x, (height, width), maps

    def position(self, size: tuple[int, int]) -> Tensor:
        """The position embedding (1, 1 + h*w, C) of a grid; the entry of the class token is never resized."""
        built = self.config.token_grid(image_size(self.config))
        grid = resize_position(self.pos_embed[:, 1:].unflatten(1, built), size)
        return torch.cat([self.pos_embed[:, :1], grid.flatten(1, 2)], dim=1)

    def layer_groups(self) -> list[list[str]]:
        """Parameter-name prefixes from stem to head, one group per block, for layer-wise learning rates."""
        blocks = [[f"blocks.{i}."] for i in range(self.config.depth)]
        return [["patch_embed.", "pos_embed", "cls_token"], *blocks, ["norm.", "head.", "aux_head."]]


VARIANTS = {  # parameters at 224 with 1000 classes
    "lvvit_t": LVViTConfig("lvvit_t", depth=12, embed_dim=240, num_heads=4, residual_divisor=1),  #   8,534,720
    "lvvit_s": LVViTConfig("lvvit_s"),  #  26,151,824
    "lvvit_m": LVViTConfig("lvvit_m", depth=20, embed_dim=512, num_heads=8),  #  55,830,544
    "lvvit_l": LVViTConfig(  # 150,021,968
        "lvvit_l", depth=24, embed_dim=768, num_heads=12, residual_divisor=3, stem_width=128
    ),
}
