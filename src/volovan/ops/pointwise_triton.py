"""1 x 1 convolution on a GPU, in Triton, for maps in channels-last layout: a product of matrices that ends in what
follows it.

    out = act(x W^T + b)    out = act((x W^T + b) * other)    out = act((x W^T + b) + other)

Alone it is no faster than the vendor's product; what it saves are the passes behind it, each of which reads and writes
the whole map: the gate of large kernel attention, the shortcut of a block, GELU.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from volovan.ops.activation_triton import NUMBERS, activate
from volovan.ops.backends import INTERPRETED
from volovan.ops.tiles import Tiles

TILE = Tiles(
    "pointwise",
    {"ROWS": 128, "OUTPUTS": 64, "INPUTS": 32, "num_warps": 4},
    {"ROWS": (64, 128), "OUTPUTS": (32, 64, 128), "INPUTS": (32, 64), "num_warps": (4, 8)},
)
"""positions and output channels of a program, and input channels that it takes at a time"""
COMBINES = {"mul": 1, "add": 2}


def multiply(
    x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor | None, combine: str, act: str = "none"
) -> Tensor:
    """x (B, C, H, W), weight (D, C, 1, 1), bias (D,) or None, other (B, D, H, W) or None -> (B, D, H, W) in
    channels-last layout."""
    x = x.contiguous(memory_format=torch.channels_last)
    batch, channels, height, width = x.shape
    outputs = weight.shape[0]
    size = (batch, outputs, height, width)
    out = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    if other is not None:
        other = other.contiguous(memory_format=torch.channels_last)
    rows = batch * height * width
    tile = TILE.of(x.device, x.dtype)
    if rows:
        _multiply[(triton.cdiv(rows, tile["ROWS"]), triton.cdiv(outputs, tile["OUTPUTS"]))](
            x,
            weight.detach().to(x.dtype).contiguous(),
            x if bias is None else bias,
            x if other is None else other,
            out,
            rows,
            channels,
            outputs,
            BIAS=bias is not None,
            COMBINE=0 if other is None else COMBINES[combine],
            ACT=NUMBERS[act],
            PRECISION="tf32" if x.is_cuda and torch.backends.cuda.matmul.allow_tf32 else "ieee",
            WIDE=INTERPRETED,  # the interpreter multiplies the bits of bfloat16 as if they were whole numbers
            **tile,
        )
    return out


@triton.jit
def _multiply(
    x,
    weight,
    bias,
    other,
    out,
    rows,
    C,
    D,
    BIAS: tl.constexpr,
    COMBINE: tl.constexpr,
    ACT: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    output = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    here, there = (row < rows)[:, None], (output < D)[None, :]
    sums = tl.zeros((ROWS, OUTPUTS), tl.float32)
    for first in range(0, C, INPUTS):
        channel = first + tl.arange(0, INPUTS)
        known = channel < C
        left = tl.load(x + row[:, None] * C + channel[None, :], here & known[None, :], 0.0)
        right = tl.load(weight + output[None, :] * C + channel[:, None], there & known[:, None], 0.0)
        if WIDE:
            left, right = left.to(tl.float32), right.to(tl.float32)
        sums = tl.dot(left, right, sums, input_precision=PRECISION)
    if BIAS:
        sums += tl.load(bias + output, output < D, 0.0).to(tl.float32)[None, :]
    at = row[:, None] * D + output[None, :]
    if COMBINE == 1:
        sums *= tl.load(other + at, here & there, 0.0).to(tl.float32)
    if COMBINE == 2:
        sums += tl.load(other + at, here & there, 0.0).to(tl.float32)
    tl.store(out + at, activate(sums, ACT).to(out.dtype.element_ty), here & there)
