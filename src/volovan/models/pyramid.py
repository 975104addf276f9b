"""Four maps of strides 4, 8, 16 and 32 from every trunk, at any size.

VAN is a pyramid by itself. VOLO has tokens of strides 8 and 16, LV-ViT of 16: `TokenPyramid` makes the other strides
out of them. Sides are padded to multiples of 32 (`pad_to_stride`), so that the four grids cover the same pixels:
otherwise a map of stride 32 would reach up to 31 pixels further than one of stride 4, and resizing one to the other
would shift what they show.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.models.config import ConfigError
from volovan.models.layers import convolve
from volovan.models.lvvit import LVViT
from volovan.models.van import VAN
from volovan.models.variants import Model
from volovan.models.watched import plain_conv
from volovan.ops.backends import compiles
from volovan.ops.convolution_resized import concatenate_resized, convolve_resized, mixes_first

STRIDES = (4, 8, 16, 32)
COARSEST = STRIDES[-1]
DESIGNS = ("resample", "detail")


def lacking(side: int) -> int:
    """Pixels that a side lacks of a whole multiple of 32."""
    if compiles():  # torch.compile cannot take the remainder of a negative number of unknown size
        return (side + COARSEST - 1) // COARSEST * COARSEST - side
    return -side % COARSEST


def whole_strides(side: int) -> int:
    """Of a picture that was padded."""
    return side + lacking(side)


def pad_to_stride(images: Tensor) -> Tensor:
    """Zeros, which is the mean colour of normalised images, below and to the right, to whole multiples of 32."""
    height, width = images.shape[-2:]
    if not torch.compiler.is_exporting() and height % COARSEST == 0 and width % COARSEST == 0:
        return images
    return F.pad(images, (0, lacking(width), 0, lacking(height)))


def resize_to_picture(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, K, h, w) of a padded picture -> (B, K, H, W): bilinear to the padded size, then without the padding."""
    height, width = size
    below, right = lacking(height), lacking(width)
    maps = F.interpolate(maps, size=(height + below, width + right), mode="bilinear", align_corners=False)
    if torch.compiler.is_exporting():  # whether a slice leaves something out would become part of the graph
        return F.pad(maps, (0, -right, 0, -below))
    return maps[..., :height, :width]


def top_down(laterals: nn.ModuleList, maps: Sequence[Tensor]) -> list[Tensor]:
    """T_n = lateral(C_n), T_i = lateral(C_i) + nearest(T_{i+1}) (arXiv 1612.03144): maps C_i, finest first, to as many.

    Maps of odd pictures have ceil sizes, so that twice a map may be one row more than the next: T takes the size of the
    finer map.
    """
    tops = [lateral(map_) for lateral, map_ in zip(laterals, maps, strict=True)]
    for i in range(len(tops) - 1, 0, -1):
        tops[i - 1] = tops[i - 1] + F.interpolate(tops[i], size=tops[i - 1].shape[2:], mode="nearest")
    return tops


class LevelConv(nn.Module):
    """Convolution over maps that are brought to the size of the first and concatenated, BatchNorm, ReLU; named as in
    the UperNet of transformers.

    in_chans    of the maps, one at least
    """

    def __init__(self, in_chans: Sequence[int], out_chans: int, kernel: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(sum(in_chans), out_chans, kernel, padding=kernel // 2, bias=False)
        self.batch_norm = nn.BatchNorm2d(out_chans)
        self.activation = nn.ReLU()
        self.levels = len(in_chans)

    def forward(self, *maps: Tensor) -> Tensor:
        conv = self.conv
        if plain_conv(conv, groups=1) and conv.dilation == (1, 1) and mixes_first(maps, conv.weight):
            x = convolve_resized(maps, conv.weight, conv.bias)
        else:
            x = convolve(conv, concatenate_resized(maps))
        found: Tensor = self.activation(self.batch_norm(x))
        return found


class TokenPyramid(nn.Module):
    """Maps of strides 4, 8, 16 and 32 out of token maps of stride 8 or 16.

    Each level takes the tap of the nearest stride, after a LayerNorm of its own (the trunk's maps have none). A finer
    level is made by 2 x 2 transposed convolutions, a coarser one by a 3 x 3 convolution of stride 2.

    design  "resample": that is all; no token knows a detail of less than its patch.
            "detail": two 3 x 3 convolutions of stride 2 read the picture itself, and their map is added at stride 4.
    finest  8 for a head that does not read stride 4: then that level gets no layers, and is the tap as it is.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], in_chans: int, design: str, finest: int):
        super().__init__()
        if design not in DESIGNS:
            raise ConfigError(f"pyramid is {design!r}, expected one of {', '.join(DESIGNS)}")
        self.first = STRIDES.index(finest)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in channels[self.first :])
        self.levels = nn.ModuleList(
            change_stride(*level) for level in list(zip(channels, strides, STRIDES, strict=True))[self.first :]
        )
        self.detail = detail_branch(in_chans, channels[0]) if design == "detail" and self.first == 0 else None

    def forward(self, images: Tensor, taps: list[Tensor]) -> list[Tensor]:
        """Padded pictures and their four taps, shallow to deep -> four maps."""
        maps = taps[: self.first] + [
            level(norm(tap.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
            for norm, level, tap in zip(self.norms, self.levels, taps[self.first :], strict=True)
        ]
        if self.detail is not None:
            maps[0] = maps[0] + of_size(self.detail(images), maps[0])
        return maps


def of_size(map_: Tensor, other: Tensor) -> Tensor:
    """The map as it is, which has the size of the other. While exporting it is resized, which changes nothing: both
    sizes come from that of the picture in different ways, and an exporter cannot prove that they are equal."""
    if not torch.compiler.is_exporting():
        return map_
    return F.interpolate(map_, size=other.shape[2:], mode="nearest")


def change_stride(width: int, stride: int, wanted: int) -> nn.Module:
    """(B, C, h, w) at one stride -> the same width at another; both are powers of two."""
    parts: list[nn.Module] = []
    while stride > wanted:
        if parts:
            parts += [nn.BatchNorm2d(width), nn.GELU()]
        parts.append(nn.ConvTranspose2d(width, width, 2, stride=2))
        stride //= 2
    while stride < wanted:
        parts.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
        stride *= 2
    return nn.Sequential(*parts)


def detail_branch(in_chans: int, width: int) -> nn.Sequential:
    """What the picture shows at stride 4: two 3 x 3 convolutions of stride 2."""
    half = max(width // 2, 8)
    return nn.Sequential(
        nn.Conv2d(in_chans, half, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(half),
        nn.ReLU(inplace=True),
        nn.Conv2d(half, width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
    )


def choose_taps(trunk: Model) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """(block numbers, channels, strides) of the tap of each level, shallow to deep; None for a pyramid by itself.

    VOLO: the last block of stride 8 for levels 4 and 8, the last of all for 16 and 32. LV-ViT: every third block up to
    the last, as its authors do for UperNet (volo.md 4.3); in shallow nets four blocks, evenly spread.
    """
    config = trunk.config
    if isinstance(trunk, VAN):
        if trunk.strides != STRIDES:
            raise ConfigError(f"{config.name}: maps have strides {trunk.strides}, dense tasks need {STRIDES}")
        return None
    if isinstance(trunk, LVViT):
        depth = trunk.config.depth
        spread = tuple(max(0, depth * part // 4 - 1) for part in (1, 2, 3, 4))
        blocks = tuple(range(depth - 10, depth, 3)) if depth > 10 else spread
        return blocks, trunk.channels * 4, trunk.strides * 4
    finest = trunk.strides[0]
    if any(stride not in (8, 16) for stride in trunk.strides):
        raise ConfigError(
            f"{config.name}: maps have strides {trunk.strides}, dense tasks take tokens of 8 and 16 pixels"
        )
    nearest = [0 if level <= finest else len(trunk.strides) - 1 for level in STRIDES]
    blocks, channels, strides = (
        tuple(of_maps[i] for i in nearest) for of_maps in (trunk._default_taps, trunk.channels, trunk.strides)
    )
    return blocks, channels, strides
