"""EDN: the decoder of "EDN: Salient Object Detection via Extremely-Downsampled Network" (Wu et al., arXiv 2012.13093).

Two extremely downsampled levels on top of the trunk see the whole scene at strides 64 and 128; their mean over all
positions gates them. This is the plan for trunks of four stages: 5,095,301 parameters on the maps of VAN-B1 and VAN-B2.
A top-down decoder of SCPC units, convolutions of four dilations each of which also reads the branch before it, brings
the result back to stride 4. The five shallowest levels each give a map, and all of them are trained.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.models.config import ConfigError
from volovan.models.layers import ConvNormAct

OUTPUTS = 5
# Shallow to deep: base of the SCPC width and dilations of its four branches, for six levels.
BASES = (32, 24, 24, 24, 24, 24)
DILATIONS = ((1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 3, 4), (1, 2, 3, 4), (1, 1, 1, 1), (1, 1, 1, 1))
STAGES = len(BASES) - 2
"""maps that the trunk gives"""


class SCPC(nn.Module):
    """Scale-correlated pyramid convolution: 1 x 1 to four parts, a dilated 3 x 3 on each plus the result of the part
    before, concatenation, 1 x 1 back, plus the input."""

    def __init__(self, dim: int, width: int, dilations: Sequence[int]):
        super().__init__()
        self.width = width
        self.inner = ConvNormAct(dim, width * len(dilations))
        self.branches = nn.ModuleList(ConvNormAct(width, width, 3, dilation=d) for d in dilations)
        self.outer = ConvNormAct(width * len(dilations), dim, act=False)

    def forward(self, x: Tensor) -> Tensor:
        results: list[Tensor] = []
        for part, branch in zip(self.inner(x).split(self.width, dim=1), self.branches, strict=True):
            results.append(branch(part + results[-1] if results else part))
        return F.relu(x + self.outer(torch.cat(results, dim=1)))


class ExtremeDown(nn.Module):
    """Half the size by max pooling, then two 3 x 3 convolutions. Odd sides are rounded up, so that no row is lost and
    a map of 1 x 1 stays one; at 384 pixels, where EDN is tested, all sides are even."""

    def __init__(self, in_chans: int, out_chans: int):
        super().__init__()
        self.conv1 = ConvNormAct(in_chans, out_chans, 3, bias=True)
        self.conv2 = ConvNormAct(out_chans, out_chans, 3, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        # the last row and column once more: ceil_mode says the same, but OpenVINO refuses it for a side of 1; and
        # gradients of F.pad by "replicate" are not the same twice on a GPU
        x = torch.cat((x, x[:, :, -1:]), dim=2)
        x = torch.cat((x, x[..., -1:]), dim=3)
        return self.conv2(self.conv1(F.max_pool2d(x, 2)))


class EDNHead(nn.Module):
    """Maps of strides 4, 8, 16, 32 -> logits. Convolutions have a bias, also before BatchNorm, except those of SCPC.

    channels      of these maps, shallow to deep
    num_classes   logits of each map; 1: one kind of foreground
    widths        channels of the decoder at its six levels, shallow to deep
    extreme       channels of the two extremely downsampled levels
    units         SCPC units of each level
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int = 1,
        widths: Sequence[int] = (32, 64, 128, 256, 128, 128),
        extreme: int = 256,
        units: int = 2,
    ):
        super().__init__()
        if len(channels) != STAGES:
            raise ConfigError(f"edn: {len(channels)} maps of the trunk, expected {STAGES} of strides 4, 8, 16 and 32")
        if len(widths) != len(BASES) or any(width < 4 or width % 2 for width in widths):
            raise ConfigError(f"edn: widths is {tuple(widths)}, expected {len(BASES)} even numbers of at least 4")
        if extreme < 1 or units < 1:
            raise ConfigError(f"edn: extreme is {extreme} and units {units}, expected at least 1 of each")
        self.conv6 = ExtremeDown(channels[-1], extreme)
        self.conv7 = ExtremeDown(extreme, extreme)
        encoder = (*channels, extreme, extreme)
        halves = [width // 2 for width in widths[:-1]]  # a level is half lateral, half from below; the deepest is whole
        pairs = zip(encoder, (*halves, widths[-1]), strict=True)
        self.laterals = nn.ModuleList(ConvNormAct(found, width, bias=True) for found, width in pairs)
        self.downs = nn.ModuleList(
            ConvNormAct(deep, half, bias=True) for deep, half in zip(widths[1:], halves, strict=True)
        )
        self.fuse = nn.ModuleList(
            nn.Sequential(*(SCPC(width, width * base // 64, dilations) for _ in range(units)))
            for width, base, dilations in zip(widths, BASES, DILATIONS, strict=True)
        )
        self.outputs = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for width in widths[:OUTPUTS])

    def forward(self, maps: Sequence[Tensor], deep: bool = False) -> Tensor | list[Tensor]:
        """maps: four, (B, C_i, h_i, w_i), shallow to deep. Logits (B, num_classes, h_1, w_1); with `deep` those of the
        five shallowest levels, each at its own size, the result first."""
        self.refuse_one_value(maps[-1])
        sixth = self.conv6(maps[-1])
        seventh = self.conv7(sixth)
        gate = seventh.mean(dim=(2, 3), keepdim=True).sigmoid()
        encoder = [*maps, gate * sixth, gate * seventh]
        x = self.fuse[-1](self.laterals[-1](encoder[-1]))
        decoded: list[Tensor] = []
        for lateral, down, fuse, level in reversed(
            list(zip(self.laterals[:-1], self.downs, self.fuse[:-1], encoder[:-1], strict=True))
        ):
            top_down = F.interpolate(down(x), size=level.shape[2:], mode="bilinear", align_corners=False)
            x = fuse(torch.cat([lateral(level), top_down], dim=1))
            decoded.insert(0, x)
        if not deep:
            return self.outputs[0](decoded[0])
        return [output(x) for output, x in zip(self.outputs, decoded, strict=True)]

    def refuse_one_value(self, last: Tensor) -> None:
        """In training BatchNorm needs more than one value of a channel at stride 128; ValueError without them."""
        if self.training and last.shape[0] == 1 and max(last.shape[2:]) <= 4:
            raise ValueError(
                "a single picture of at most 128 x 128 leaves one position at stride 128, too few for BatchNorm while "
                "training; train with two pictures or more at once, or with larger ones"
            )
