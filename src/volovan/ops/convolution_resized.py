"""Convolution over maps of several sizes, brought to the size of the first and concatenated.

Bilinear resizing R mixes the positions of a channel, tap t of a convolution the channels of a position, and so does its
shift S_t the positions again: they commute. With maps P_l and weights W_lt of tap t for the channels of map l,

    conv(concat_l R_l P_l)  =  sum_l sum_t S_t R_l (W_lt P_l)

so channels are mixed where a map is small: of four maps that halve from one to the next, 4 / 3 of the products of the
finest are left, and not 4. S_t R_l is separable: one matrix goes along the columns, and one, for all taps and maps at
once, along the rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.ops.backends import compiles, needs_plain_eager
from volovan.ops.convolution_planes import convolve, gains
from volovan.ops.onednn import BFLOAT16, computed_in

SMALLER = 2
"""times as many positions must the first map have, for another to be mixed before it is resized"""
EXACT = (1, 2, 4, 8, 16, 32)
"""times as large: shares of neighbours are whole 64ths then"""


def concatenate_resized(maps: Sequence[Tensor]) -> Tensor:
    """Maps (B, C_l, h_l, w_l) to (B, sum of C_l, H, W) of the first: bilinear, corners not aligned.

    F.conv2d of it is the reference of `convolve_resized`.
    """
    first, *others = maps
    size = first.shape[-2:]
    return torch.cat([first, *(F.interpolate(map_, size, mode="bilinear") for map_ in others)], 1) if others else first


def mixes_first(maps: Sequence[Tensor], weight: Tensor) -> bool:
    """Whether `convolve_resized` is the sooner way, and can take these: on a CPU, where products are what takes long.

    Exported graphs and counts of multiplications are those of the definition.
    """
    first = maps[0]
    dtype = computed_in(weight)
    return (
        first.device.type == "cpu"
        and (dtype in (torch.float32, torch.float64) or (dtype == torch.bfloat16 and BFLOAT16))
        and all(computed_in(map_) == dtype for map_ in maps)
        and weight.shape[2] * weight.shape[3] > 1
        and any(goes_first(map_, first) for map_ in maps)
        and (compiles() or needs_plain_eager(weight, *maps) is None)
    )


def goes_first(map_: Tensor, first: Tensor) -> bool:
    """Whether its channels are mixed before it is resized. In bfloat16 only where shares of neighbours are exact."""
    sides = list(zip(map_.shape[-2:], first.shape[-2:], strict=True))
    exact = computed_in(map_) != torch.bfloat16 or all(to % side == 0 and to // side in EXACT for side, to in sides)
    return exact and SMALLER * map_.shape[-2] * map_.shape[-1] <= first.shape[-2] * first.shape[-1]


def convolve_resized(maps: Sequence[Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
    """F.conv2d(concatenate_resized(maps), weight, bias) of stride 1 that keeps the size, with the same gradients.

    maps     (B, C_l, h_l, w_l) of any sizes
    weight   (D, sum of C_l, kh, kw), both odd; bias (D,) or None
    returns  (B, D, H, W) of the size of the first map, in channels-last layout
    """
    pairs = list(zip(maps, weight.split([map_.shape[1] for map_ in maps], 1), strict=True))
    large = [(map_, part) for map_, part in pairs if not goes_first(map_, maps[0])]
    x = concatenate_resized([map_ for map_, _ in large]).contiguous(memory_format=torch.channels_last)
    own = torch.cat([part for _, part in large], 1).contiguous(memory_format=torch.channels_last)
    way = convolve if gains(x, own, bias) else F.conv2d
    out = way(x, own, bias, padding=(own.shape[2] // 2, own.shape[3] // 2), dilation=(1, 1))

    count, outputs, height, width = out.shape
    small = [(map_, part) for map_, part in pairs if goes_first(map_, maps[0])]
    if not small:
        return out
    rows = [row for map_, part in small for row in mixed_rows(map_, part, width)]
    down = [matrix for map_, _ in small for matrix in shifted_resize(map_.shape[2], height, own.shape[2], map_)]
    sums = out.permute(0, 2, 3, 1).reshape(count, height, -1)
    sums = torch.baddbmm(sums, torch.cat(down, 1).expand(count, -1, -1).to(sums.dtype), torch.cat(rows, 1))
    return sums.view(count, height, width, outputs).permute(0, 3, 1, 2)


def mixed_rows(x: Tensor, weight: Tensor, width: int) -> list[Tensor]:
    """For each row of taps (D, C, kw) the sum over its taps, as wide as what comes out: (B, C, h, w) to (B, h, W D)."""
    count, chans, height, columns = x.shape
    outputs, _, _, taps = weight.shape
    across = shifted_resize(columns, width, taps, x).permute(1, 2, 0).reshape(width, columns * taps)
    positions = x.permute(0, 2, 3, 1).reshape(-1, chans)
    mixed = (positions @ row.permute(1, 2, 0).reshape(chans, taps * outputs) for row in weight.unbind(2))
    return [
        (across @ row.view(count * height, columns * taps, outputs)).view(count, height, width * outputs)
        for row in mixed
    ]


def shifted_resize(size: int, to: int, taps: int, like: Tensor) -> Tensor:
    """(taps, to, size): row i of matrix t gives position i + t - taps // 2 of the resized line, zero outside of it."""
    line = F.interpolate(torch.eye(size, dtype=like.dtype, device=like.device)[None], to, mode="linear")[0].T
    around = F.pad(line, (0, 0, taps // 2, taps // 2))
    return around.unfold(0, to, 1).permute(0, 2, 1)
