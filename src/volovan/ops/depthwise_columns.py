"""Depth-wise convolution on a CPU that learns: the gradient of its weights by columns.

oneDNN has a kernel for that gradient of weights with at most three columns, whatever their height. Wider ones
it takes for those of a grouped convolution, whose groups it fills up to whole vectors with zeros: 4 to 15 times the
time of the forward pass and the gradient of the input together. Columns of a kernel do not know of each other, so the
gradient is made of the three in the middle, and of those beside them by maps that are moved to the side.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.ops.backends import convolution_gradients, gradients_again, learns

COLUMNS = 3
"""that oneDNN takes at once"""


def gains(weight: Tensor) -> bool:
    """Whether there is a gradient to make, of a weight that is wide enough."""
    return weight.shape[3] > COLUMNS and learns(weight)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Undilated, with the padding that keeps the size: the reference, with the same gradients sooner.

    x       (B, C, H, W), with a weight (C, 1, kh, kw) of odd sides and a bias (C,) or None, of one dtype
    returns (B, C, H, W)
    """
    if not gains(weight):
        return plain(x, weight, bias)
    found: Tensor = _ByColumns.apply(x, weight, bias)
    return found


def plain(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x, weight, bias, padding=[side // 2 for side in weight.shape[2:]], groups=weight.shape[0])


class _ByColumns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        return plain(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        needed = ctx.needs_input_grad
        if torch.is_grad_enabled():  # create_graph=True
            return tuple(gradients_again(plain(x, weight, bias), (x, weight, bias), needed, grad))
        height, width = weight.shape[2:]
        if not torch.compiler.is_compiling() and x.is_contiguous(memory_format=torch.channels_last):
            grad = grad.contiguous(memory_format=torch.channels_last)  # once, and not for each part
        of_x, middle = None, (height // 2, width // 2)
        if needed[0]:
            of_x = convolution_gradients(grad, x, weight, middle, (True, False), groups=x.shape[1])[0]
        of_bias = grad.sum((0, 2, 3)) if needed[2] else None  # ten times closer than oneDNN's
        return of_x, weight_gradient(x, grad, height, width), of_bias


def weight_gradient(x: Tensor, grad: Tensor, height: int, width: int) -> Tensor:
    """Of x (B, C, H, W) and the gradient of the result: that of the weight (C, 1, height, width)."""
    parts = []
    # oneDNN's kernel takes no map that is lower than the weight, and F.pad none that is moved out of sight.
    below, right = max(0, height - x.shape[2]), max(0, width // 2 - x.shape[3])
    x, grad = (F.pad(one, (0, right, 0, below)) if below or right else one for one in (x, grad))
    for first, columns in tiles(width):
        before, after = width // 2 - first, first + columns - 1 - width // 2  # a pixel, of what the tile sees
        seen, padding = (x, before) if before == after else (F.pad(x, (before, after)), 0)
        tile = x.new_empty(x.shape[1], 1, height, columns)
        moved = height // 2, padding
        parts.append(convolution_gradients(grad, seen, tile, moved, (False, True), groups=x.shape[1])[1])
    return torch.cat(parts, dim=3)


def tiles(width: int) -> list[tuple[int, int]]:
    """(first, how many) columns of each part of a kernel, left to right; the middle one needs no other map."""
    side = (width - COLUMNS) // 2
    parts = [(start, min(COLUMNS, side - start)) for start in range(0, side, COLUMNS)]
    return [*parts, (side, COLUMNS), *((side + COLUMNS + start, count) for start, count in parts)]
