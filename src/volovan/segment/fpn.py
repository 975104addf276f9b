"""Semantic FPN (Kirillov et al., Panoptic Feature Pyramid Networks, arXiv 1901.02446), as VAN's authors trained it.

With maps C_i of the strides 4, 8, 16, 32 (i = 1..4):

    L_i = 1x1(C_i)                                            laterals to 256 channels, bias, no norm
    T_4 = L_4,  T_i = L_i + nearest(T_{i+1})                  top-down
    P_i = 3x3(T_i)                                            outputs, 256 channels, bias, no norm
    S_i = [ReLU(BN(3x3(.))), x2 bilinear] repeated i - 1 times; S_1: one ReLU(BN(3x3(.))) and no x2
    logits = 1x1(Dropout2d(S_1(P_1) + ... + S_4(P_4)))        128 channels, stride 4

T takes the size of the finer map (`top_down`), and each S_i(P_i) is resized to the finest.

A page of our own: the FPN decoder of segmentation-models-pytorch 0.6 has other blocks (1,775,254 parameters for the
channels of VAN-B0 and 150 classes, where the published network has 4,135,574).
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from volovan.models.layers import ConvNormAct, convolve, init_convolution
from volovan.models.pyramid import top_down
from volovan.segment.classifier import PixelClassifier

MMSEGMENTATION = (
    ("head.lateral_convs.{j}.{rest}", "neck.lateral_convs.{j}.conv.{rest}"),
    ("head.fpn_convs.{j}.{rest}", "neck.fpn_convs.{j}.conv.{rest}"),
    ("head.scale_heads.{rest}", "decode_head.scale_heads.{rest}"),
    ("head.classifier.conv.{rest}", "decode_head.conv_seg.{rest}"),
)
"""names here and in mmsegmentation, where Semantic FPN has a neck; the placeholders are those of weights/keymaps.py"""


class FPNHead(nn.Module):
    """Maps of the strides 4, 8, 16, 32 to logits at stride 4.

    in_chans           channels of the four maps
    pyramid_channels   of laterals and outputs
    channels           of the sum that is classified
    dropout            probability of dropping a channel of it in training
    """

    def __init__(
        self,
        in_chans: Sequence[int],
        num_classes: int,
        pyramid_channels: int = 256,
        channels: int = 128,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.lateral_convs = nn.ModuleList(nn.Conv2d(c, pyramid_channels, 1) for c in in_chans)
        self.fpn_convs = nn.ModuleList(nn.Conv2d(pyramid_channels, pyramid_channels, 3, padding=1) for _ in in_chans)
        self.scale_heads = nn.ModuleList(
            scale_head(pyramid_channels, channels, level) for level in range(len(in_chans))
        )
        for conv in (*self.lateral_convs, *self.fpn_convs):
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)
        self.scale_heads.apply(init_convolution)
        self.classifier = PixelClassifier(channels, num_classes, dropout)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Four maps (B, C_i, ceil(H / s), ceil(W / s)) to (B, num_classes, ceil(H / 4), ceil(W / 4))."""
        tops = top_down(self.lateral_convs, maps)
        levels = [
            head(convolve(output, top))
            for head, output, top in zip(self.scale_heads, self.fpn_convs, tops, strict=True)
        ]
        total = levels[0]
        for level in levels[1:]:
            total = total + F.interpolate(level, size=total.shape[2:], mode="bilinear", align_corners=False)
        return self.classifier(total)


def scale_head(in_chans: int, channels: int, level: int) -> nn.Sequential:
    """S of the level (0 for stride 4): max(1, log2(stride / 4)) convolutions, each with x2 behind it above stride 4."""
    parts: list[nn.Module] = []
    for step in range(max(1, level)):
        parts.append(ConvNormAct(in_chans if step == 0 else channels, channels, 3))
        if level:
            parts.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*parts)
