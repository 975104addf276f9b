"""Convolution over maps of several sizes, brought to the size of the first and concatenated.

Bilinear resizing R mixes the positions of a channel, tap t of a convolution the channels of a position, and so does its
shift S_t the positions again: they commute. With maps P_l and weights W_lt of tap t for the channels of map l,

    conv(concat_l R_l P_l)  =  sum_l sum_t S_t R_l (W_lt P_l)

so channels are mixed where a map is small: of four maps that halve from one to the next, 4 / 3 of the products of the
finest are left, and not 4. S_t R_l is separable, a matrix for the rows and one for the columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.ops.backends import compiles, needs_plain_eager
from volovan.ops.convolution_planes import convolve, gains

SMALLER = 2
"""times as many positions must the first map have, for another to be mixed before it is resized"""


def concatenate_resized(maps: Sequence[Tensor]) -> Tensor:
    """Maps (B, C_l, h_l, w_l) to (B, sum of C_l, H, W) of the first: bilinear, corners not aligned.

    F.conv2d of it is the reference of `convolve_resized`.
    """
    first, *others = maps
    size = first.shape[-2:]
    return torch.cat([first, *(F.interpolate(map_, size, mode="bilinear") for map_ in others)], 1) if others else first


def mixes_first(maps: Sequence[Tensor], weight: Tensor) -> bool:
    """Whether `convolve_resized` is the sooner way, and can take these: on a CPU, where products are what takes long.

    In fewer bits it would round what is mixed before it is resized; exported graphs and counts of multiplications are
    those of the definition.
    """
    first = maps[0]
    return (
        first.device.type == "cpu"
        and weight.dtype in (torch.float32, torch.float64)
        and all(map_.dtype == weight.dtype for map_ in maps)
        and weight.shape[2] * weight.shape[3] > 1
        and any(is_smaller(map_, first) for map_ in maps)
        and not torch.is_autocast_enabled("cpu")
        and (compiles() or needs_plain_eager(weight, *maps) is None)
    )


def is_smaller(map_: Tensor, first: Tensor) -> bool:
    height, width = map_.shape[-2:]
    return bool(SMALLER * height * width <= first.shape[-2] * first.shape[-1])


def convolve_resized(maps: Sequence[Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
    """F.conv2d(concatenate_resized(maps), weight, bias) of stride 1 that keeps the size, with the same gradients.

    maps     (B, C_l, h_l, w_l) of any sizes
    weight   (D, sum of C_l, kh, kw), both odd; bias (D,) or None
    returns  (B, D, H, W) of the size of the first map, in channels-last layout
    """
    size = (maps[0].shape[2], maps[0].shape[3])
    parts = weight.split([map_.shape[1] for map_ in maps], 1)
    pairs = list(zip(maps, parts, strict=True))
    large = [(map_, part) for map_, part in pairs if not is_smaller(map_, maps[0])]
    x = concatenate_resized([map_ for map_, _ in large]).contiguous(memory_format=torch.channels_last)
    own = torch.cat([part for _, part in large], 1).contiguous(memory_format=torch.channels_last)
    way = convolve if gains(x, own, bias) else F.conv2d
    out = way(x, own, bias, padding=(own.shape[2] // 2, own.shape[3] // 2), dilation=(1, 1))
    for map_, part in pairs:
        if is_smaller(map_, maps[0]):
            out = out + resized_product(map_, part, size)
    return out


def resized_product(x: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
    """sum_t S_t R (W_t x): x (B, C, h, w) and weight (D, C, kh, kw) to (B, D, H, W)."""
    count, chans, height, width = x.shape
    outputs, _, rows, columns = weight.shape
    down = shifted_resize(height, size[0], rows, x)
    across = shifted_resize(width, size[1], columns, x).permute(1, 2, 0).reshape(size[1], width * columns)
    positions = x.permute(0, 2, 3, 1).reshape(-1, chans)
    terms = []
    for shift, taps in zip(down, weight.unbind(2), strict=True):  # of a row of taps: (D, C, kw)
        mixed = positions @ taps.permute(1, 2, 0).reshape(chans, columns * outputs)
        wide = across @ mixed.view(count * height, width * columns, outputs)
        terms.append(shift @ wide.view(count, height, size[1] * outputs))
    return sum(terms[1:], terms[0]).view(count, *size, outputs).permute(0, 3, 1, 2)


def shifted_resize(size: int, to: int, taps: int, like: Tensor) -> Tensor:
    """(taps, to, size): row i of matrix t gives position i + t - taps // 2 of the resized line, zero outside of it."""
    line = F.interpolate(torch.eye(size, dtype=like.dtype, device=like.device)[None], to, mode="linear")[0].T
    around = F.pad(line, (0, 0, taps // 2, taps // 2))
    return around.unfold(0, to, 1).permute(0, 2, 1)
