"""Depth-wise convolution on a GPU, in Triton, for maps in the layout of torch's default (B, C, H, W).

Each channel of a picture is a plane of its own with one kernel. A program makes consecutive pixels of a plane, along
whose rows it loads and stores; the taps are the same for all of them. Sums, activation and gradients are those of
`depthwise_triton.py`, tap after tap in the same order, so that a result has the same bits in either layout.
"""

# ruff: noqa: RUF005, the language knows sums of tuples only

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from volovan.ops.activation_triton import NUMBERS, activate, slope
from volovan.ops.tiles import Tiles

_PIXELS = (128, 256, 512, 1024)
CONVOLVED = Tiles("planes", {"PIXELS": 256, "num_warps": 4}, {"PIXELS": _PIXELS, "num_warps": (2, 4, 8)})
"""of a program that convolves"""
SUMMED = Tiles("planes sums", {"PIXELS": 256, "num_warps": 4}, {"PIXELS": _PIXELS, "num_warps": (2, 4, 8)})
"""of one that sums"""
SHARES = 64
"""into which the pixels of a channel are parted for the gradient of its kernel, at most"""


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    dilation: int,
    turned: bool = False,
    act: str = "none",
    grad: Tensor | None = None,
) -> Tensor:
    """See `volovan.ops.depthwise_triton.convolve`; the result is contiguous."""
    x = x.contiguous()
    out = torch.empty_like(x)
    batch, channels, height, width = x.shape
    tile = CONVOLVED.of(x.device, x.dtype)
    if x.numel():
        _convolve[(batch * channels, triton.cdiv(height * width, tile["PIXELS"]))](
            x,
            weight.detach().contiguous(),
            weight if bias is None else bias,
            x if grad is None else grad.contiguous(),
            out,
            height,
            width,
            channels,
            TURNED=turned,
            BIAS=bias is not None,
            ACT=NUMBERS[act],
            GRADED=grad is not None,
            **tile,
            **_constants(weight.shape[2:], dilation),
        )
    return out


def weight_gradient(x: Tensor, grad: Tensor, kernel: Sequence[int], dilation: int) -> tuple[Tensor, Tensor]:
    """See `volovan.ops.depthwise_triton.weight_gradient`."""
    x, grad = x.contiguous(), grad.contiguous()
    batch, channels, height, width = x.shape
    every = batch * height * width
    tile = SUMMED.of(x.device, x.dtype)
    steps = max(1, triton.cdiv(every, tile["PIXELS"] * SHARES))  # of a share
    shares = max(1, triton.cdiv(every, tile["PIXELS"] * steps))
    parts = x.new_zeros((shares, channels, kernel[0] * kernel[1] + 1), dtype=torch.float32)
    if x.numel():
        _sum_products[(channels, shares)](
            x, grad, parts, every, steps, height, width, channels, **tile, **_constants(kernel, dilation)
        )
    sums = parts.sum(dim=0)
    return sums[:, :-1].reshape(channels, 1, *kernel), sums[:, -1].contiguous()


def _constants(kernel: Sequence[int], dilation: int) -> dict[str, int]:
    return {"KH": kernel[0], "KW": kernel[1], "DILATION": dilation}


@triton.jit
def _convolve(
    x,
    taps,
    bias,
    grad,
    out,
    H,
    W,
    C,
    KH: tl.constexpr,
    KW: tl.constexpr,
    DILATION: tl.constexpr,
    TURNED: tl.constexpr,
    BIAS: tl.constexpr,
    ACT: tl.constexpr,
    GRADED: tl.constexpr,
    PIXELS: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64) * H * W
    channel = tl.program_id(0) % C
    pixel = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    row, column, there = pixel // W, pixel % W, pixel < H * W
    found = tl.zeros((PIXELS,), tl.float32)
    for ty in tl.static_range(KH):
        r = row + (ty * DILATION - DILATION * (KH - 1) // 2)
        inside = there & (r >= 0) & (r < H)
        for tx in tl.static_range(KW):
            c = column + (tx * DILATION - DILATION * (KW - 1) // 2)
            tap = KH * KW - 1 - (ty * KW + tx) if TURNED else ty * KW + tx
            factor = tl.load(taps + channel * (KH * KW) + tap).to(tl.float32)
            found += tl.load(x + first + r * W + c, inside & (c >= 0) & (c < W), 0.0).to(tl.float32) * factor
    if BIAS:
        found += tl.load(bias + channel).to(tl.float32)
    if GRADED:
        found = tl.load(grad + first + pixel, there, 0.0).to(tl.float32) * slope(found, ACT)
    else:
        found = activate(found, ACT)
    tl.store(out + first + pixel, found.to(out.dtype.element_ty), there)


@triton.jit
def _sum_products(
    x,
    grad,
    parts,
    every,
    steps,
    H,
    W,
    C,
    KH: tl.constexpr,
    KW: tl.constexpr,
    DILATION: tl.constexpr,
    PIXELS: tl.constexpr,
):
    channel = tl.program_id(0)
    zero = tl.zeros((PIXELS,), tl.float32)
    whole = zero
    sums = ()
    for _ in tl.static_range(KH * KW):
        sums = sums + (zero,)
    for step in range(steps):
        number = (tl.program_id(1) * steps + step) * PIXELS + tl.arange(0, PIXELS)  # of all pixels of the channel
        there = number < every
        pixel = number % (H * W)
        first = ((number // (H * W)).to(tl.int64) * C + channel) * H * W
        row, column = pixel // W, pixel % W
        target = tl.load(grad + first + pixel, there, 0.0).to(tl.float32)
        whole += target
        found = ()
        for ty in tl.static_range(KH):
            r = row + (ty * DILATION - DILATION * (KH - 1) // 2)
            inside = there & (r >= 0) & (r < H)
            for tx in tl.static_range(KW):
                c = column + (tx * DILATION - DILATION * (KW - 1) // 2)
                source = tl.load(x + first + r * W + c, inside & (c >= 0) & (c < W), 0.0).to(tl.float32)
                found = found + (sums[ty * KW + tx] + source * target,)
        sums = found
    parts += (tl.program_id(1) * C + channel) * (KH * KW + 1)
    for tap in tl.static_range(KH * KW):
        tl.store(parts + tap, tl.sum(sums[tap], axis=0))
    tl.store(parts + KH * KW, tl.sum(whole, axis=0))
