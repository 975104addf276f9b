"""UperNet (Xiao et al., Unified Perceptual Parsing, arXiv 1807.10221) and the auxiliary FCN head beside it.

With maps C_i of the strides 4, 8, 16, 32 (i = 1..4); every convolution has no bias, BatchNorm and ReLU behind it:

    pyramid pooling   Q = 3x3([C_4, up(1x1(pool_s(C_4))) for s in 1, 2, 3, 6])       pool_s: adaptive mean to s x s
    top-down          T_4 = Q,  T_i = 1x1(C_i) + up(T_{i+1})
    outputs           P_i = 3x3(T_i) for i < 4,  P_4 = Q
    fuse              F = 3x3([P_1, up(P_2), up(P_3), up(P_4)])
    logits            1x1(Dropout2d(F)), stride 4

up is bilinear to the size of the finer map, corners not aligned; 512 channels throughout.

Names and numbers of the decoder up to F are those of transformers (27,876,502 parameters with its classifier for the
channels of VAN-B0 and 150 classes; with the auxiliary head 28,284,204, exactly what VAN's published networks have). It
has no dropout before its classifier. The UperNet of segmentation-models-pytorch 0.6 has 27,877,526 parameters, which is
1,024 more: it puts a LayerNorm before every map.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.models.layers import ConvNormAct, init_convolution
from volovan.models.pyramid import LevelConv
from volovan.segment.classifier import PixelClassifier

_PARTS = ("psp_modules.{j}.1", "bottleneck", "lateral_convs.{j}", "fpn_convs.{j}", "fpn_bottleneck")
MMSEGMENTATION = (
    *(
        (f"head.decoder.{part}.{ours}.{{rest}}", f"decode_head.{part}.{theirs}.{{rest}}")
        for part in _PARTS
        for ours, theirs in (("conv", "conv"), ("batch_norm", "bn"))
    ),
    ("head.classifier.conv.{rest}", "decode_head.conv_seg.{rest}"),
    ("aux_head.conv.{rest}", "auxiliary_head.convs.0.{rest}"),
    ("aux_head.classifier.conv.{rest}", "auxiliary_head.conv_seg.{rest}"),
)
"""names here and in mmsegmentation; the placeholders are those of models/weights/keymaps.py"""


class UperNetHead(nn.Module):
    """Maps of the strides 4, 8, 16, 32 to logits at stride 4.

    in_chans      channels of the four maps
    channels      within
    pool_scales   sides of the pooled maps
    dropout       probability of dropping a channel before the classifier in training
    """

    def __init__(
        self,
        in_chans: Sequence[int],
        num_classes: int,
        channels: int = 512,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ):
        super().__init__()
        self.decoder = Decoder(in_chans, channels, pool_scales)
        self.decoder.apply(init_convolution)
        self.classifier = PixelClassifier(channels, num_classes, dropout)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Four maps (B, C_i, ceil(H / s), ceil(W / s)) to (B, num_classes, ceil(H / 4), ceil(W / 4)).

        In training a batch needs two pictures at least: BatchNorm of the map pooled to 1 x 1 has one value per picture.
        """
        return self.classifier(self.decoder(maps))


class FCNHead(nn.Module):
    """Auxiliary head (Long et al., arXiv 1411.4038): one 3x3 convolution, dropout, classifier; at the map's stride."""

    def __init__(self, in_chans: int, num_classes: int, channels: int = 256, dropout: float = 0.1):
        super().__init__()
        self.conv = ConvNormAct(in_chans, channels, 3)
        self.conv.apply(init_convolution)
        self.classifier = PixelClassifier(channels, num_classes, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, h, w) to (B, num_classes, h, w)."""
        return self.classifier(self.conv(x))


class Decoder(nn.Module):
    """Pyramid pooling, top-down path and fusion: four maps to F (B, channels, h, w)."""

    def __init__(self, in_chans: Sequence[int], channels: int, pool_scales: Sequence[int]):
        super().__init__()
        *fine, coarse = in_chans
        self.psp_modules = nn.ModuleList(
            nn.Sequential(PooledMean(scale), LevelConv([coarse], channels)) for scale in pool_scales
        )
        self.bottleneck = LevelConv([coarse, *[channels] * len(pool_scales)], channels, 3)
        self.lateral_convs = nn.ModuleList(LevelConv([chans], channels) for chans in fine)
        self.fpn_convs = nn.ModuleList(LevelConv([channels], channels, 3) for _ in fine)
        self.fpn_bottleneck = LevelConv([channels] * len(in_chans), channels, 3)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        *fine, coarse = maps
        pooled: Tensor = self.bottleneck(coarse, *(pool(coarse) for pool in self.psp_modules))
        tops = [pooled]
        for lateral, map_ in zip(reversed(self.lateral_convs), reversed(fine), strict=True):
            tops.insert(0, lateral(map_) + F.interpolate(tops[0], map_.shape[-2:], mode="bilinear"))
        outputs = [conv(top) for conv, top in zip(self.fpn_convs, tops, strict=False)]
        found: Tensor = self.fpn_bottleneck(*outputs, pooled)
        return found


class PooledMean(nn.AdaptiveAvgPool2d):
    """Adaptive mean to s x s. While exporting it is two products with matrices that are made of the size of the map,
    since the exporter writes the ends of the parts down as they are for the example."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            return super().forward(x)
        if self.output_size == 1:
            return x.mean((2, 3), keepdim=True)
        down, across = (shares(side, int(self.output_size), x) for side in x.shape[-2:])  # type: ignore[arg-type]
        return down @ x @ across.mT


def shares(size: int, parts: int, like: Tensor) -> Tensor:
    """(parts, size): part i has the mean of the places from floor(i size / parts) to ceil((i + 1) size / parts)."""
    part, place = torch.arange(parts, device=like.device)[:, None], torch.arange(size, device=like.device)
    first, last = part * size // parts, ((part + 1) * size + parts - 1) // parts
    inside = ((place >= first) & (place < last)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)
