"""Depth-wise convolution on a GPU, in Triton, for maps in channels-last layout: forward, both gradients.

A 7 x 7 kernel that loads an input for each tap asks the first cache for 49 numbers an output, which is its limit long
before memory's. With dilation d the outputs x, x + d, x + 2d ... share their inputs: a program makes RUN of them at
once and loads each input of a row once for all, RUN + k - 1 in place of RUN * k. So positions of a map are numbered by
row, phase (x mod d) and run, and channels lie along the lanes.

    activation        on the sums, before they are written; its gradient is taken of a convolution that is done again,
                      which costs less than keeping its result
    input gradient    the same with the kernel turned around, since the padding is symmetric: 2 * pad = d * (k - 1)
    weight gradient   every program sums (input, gradient) pairs of its share of all positions in registers, in float32;
                      torch adds the shares in their order: no atomics, the same bits at every call
"""

# ruff: noqa: RUF005, the language knows sums of tuples only

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from volovan.ops.activation_triton import NUMBERS, activate, slope
from volovan.ops.tiles import Tiles

RUN = 4
"""outputs that share the inputs of a row"""
CHANNELS = 64
"""of a program"""
CONVOLVED = Tiles("depthwise", {"PLACES": 16, "num_warps": 4}, {"PLACES": (8, 16, 32), "num_warps": (2, 4, 8)})
"""runs of a program that convolves; 32 spill registers on sm_90, 16 need 174 of a thread's 255"""
SUMMED = Tiles("depthwise sums", {"PLACES": 4, "num_warps": 4}, {"PLACES": (2, 4, 8), "num_warps": (2, 4, 8)})
"""of one that sums, which holds a number of every tap for each of them"""
SHARES = 256
"""into which all positions are parted for the sums, at most"""


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    dilation: int,
    turned: bool = False,
    act: str = "none",
    grad: Tensor | None = None,
) -> Tensor:
    """act(convolution): x (B, C, H, W), weight (C, 1, kh, kw), bias (C,) or None -> (B, C, H, W), channels last.

    turned   whether the kernel is turned around, as the gradient of the input has it
    grad     (B, C, H, W) gradient of the result: given back is that of the convolution, grad * act'(convolution)
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if grad is not None:
        grad = grad.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(x)
    batch, channels, height, width = x.shape
    kernel = weight.shape[2:]
    taps = weight.detach().reshape(channels, -1).t().contiguous()
    runs = _runs(width, dilation)
    tile = CONVOLVED.of(x.device, x.dtype)
    grid = (triton.cdiv(height * dilation * runs, tile["PLACES"]), triton.cdiv(channels, CHANNELS), batch)
    if x.numel():
        _convolve[grid](
            x,
            taps,
            taps if bias is None else bias,
            x if grad is None else grad,
            out,
            height,
            width,
            channels,
            runs,
            TURNED=turned,
            BIAS=bias is not None,
            ACT=NUMBERS[act],
            GRADED=grad is not None,
            **tile,
            **_constants(kernel, dilation),
        )
    return out


def weight_gradient(x: Tensor, grad: Tensor, kernel: Sequence[int], dilation: int) -> tuple[Tensor, Tensor]:
    """x and grad (B, C, H, W) -> gradients (C, 1, kh, kw) of the weight and (C,) of the bias, in float32."""
    x, grad = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, grad))
    batch, channels, height, width = x.shape
    runs = _runs(width, dilation)
    every = batch * height * dilation * runs
    tile = SUMMED.of(x.device, x.dtype)
    steps = max(1, triton.cdiv(every, tile["PLACES"] * SHARES))  # of a share
    shares = max(1, triton.cdiv(every, tile["PLACES"] * steps))
    parts = x.new_zeros((shares, kernel[0] * kernel[1] + 1, channels), dtype=torch.float32)
    if x.numel():
        _sum_products[(shares, triton.cdiv(channels, CHANNELS))](
            x,
            grad,
            parts,
            every,
            steps,
            height,
            width,
            channels,
            runs,
            **tile,
            **_constants(kernel, dilation),
        )
    of_weight, of_bias = parts[:, :-1].sum(dim=0), parts[:, -1].sum(dim=0)
    return of_weight.t().contiguous().reshape(channels, 1, *kernel), of_bias


def _constants(kernel: Sequence[int], dilation: int) -> dict[str, int]:
    return {"KH": kernel[0], "KW": kernel[1], "DILATION": dilation, "RUN": RUN, "CHANNELS": CHANNELS}


def _runs(width: int, dilation: int) -> int:
    """Of a phase of a row."""
    return triton.cdiv(triton.cdiv(width, dilation), RUN)


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
    runs,
    KH: tl.constexpr,
    KW: tl.constexpr,
    DILATION: tl.constexpr,
    TURNED: tl.constexpr,
    BIAS: tl.constexpr,
    ACT: tl.constexpr,
    GRADED: tl.constexpr,
    RUN: tl.constexpr,
    PLACES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    batch = tl.program_id(2).to(tl.int64)
    x += batch * H * W * C
    out += batch * H * W * C
    grad += batch * H * W * C
    place = tl.program_id(0) * PLACES + tl.arange(0, PLACES)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < C
    row, rest = place // (DILATION * runs), place % (DILATION * runs)
    column = rest // runs + rest % runs * (RUN * DILATION)
    sums = ()
    for _ in tl.static_range(RUN):
        sums = sums + (tl.zeros((PLACES, CHANNELS), tl.float32),)
    for ty in tl.static_range(KH):
        r = row + (ty * DILATION - DILATION * (KH - 1) // 2)
        inside = (row < H) & (r >= 0) & (r < H)
        factors = ()
        for t in tl.static_range(KW):
            tap = KH * KW - 1 - (ty * KW + t) if TURNED else ty * KW + t
            factors = factors + (tl.load(taps + tap * C + channel, there, 0.0).to(tl.float32)[None, :],)
        for tx in tl.static_range(KW + RUN - 1):
            c = column + (tx * DILATION - DILATION * (KW - 1) // 2)
            mask = (inside & (c >= 0) & (c < W))[:, None] & there[None, :]
            source = tl.load(x + (r * W + c)[:, None] * C + channel[None, :], mask, 0.0).to(tl.float32)
            moved = ()
            for n in tl.static_range(RUN):
                if tx >= n and tx < n + KW:
                    moved = moved + (sums[n] + source * factors[tx - n],)
                else:
                    moved = moved + (sums[n],)
            sums = moved
    for n in tl.static_range(RUN):
        found = sums[n]
        if BIAS:
            found += tl.load(bias + channel, there, 0.0).to(tl.float32)[None, :]
        c = column + n * DILATION
        mask = ((row < H) & (c < W))[:, None] & there[None, :]
        at = (row * W + c)[:, None] * C + channel[None, :]
        if GRADED:
            found = tl.load(grad + at, mask, 0.0).to(tl.float32) * slope(found, ACT)
        else:
            found = activate(found, ACT)
        tl.store(out + at, found.to(out.dtype.element_ty), mask)


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
    runs,
    KH: tl.constexpr,
    KW: tl.constexpr,
    DILATION: tl.constexpr,
    RUN: tl.constexpr,
    PLACES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < C
    zero = tl.zeros((PLACES, CHANNELS), tl.float32)
    whole = zero
    sums = ()
    for _ in tl.static_range(KH * KW):
        sums = sums + (zero,)
    for step in range(steps):
        place = (tl.program_id(0) * steps + step) * PLACES + tl.arange(0, PLACES)
        rest = place % (DILATION * runs)
        row, batch = place // (DILATION * runs) % H, (place // (DILATION * runs) // H).to(tl.int64)
        column = rest // runs + rest % runs * (RUN * DILATION)
        first = batch * H * W * C
        targets = ()
        for n in tl.static_range(RUN):
            c = column + n * DILATION
            mask = ((place < every) & (c < W))[:, None] & there[None, :]
            at = (first + (row * W + c) * C)[:, None] + channel[None, :]
            target = tl.load(grad + at, mask, 0.0).to(tl.float32)
            whole += target
            targets = targets + (target,)
        found = ()
        for ty in tl.static_range(KH):
            r = row + (ty * DILATION - DILATION * (KH - 1) // 2)
            inside = (place < every) & (r >= 0) & (r < H)
            of_row = ()
            for t in tl.static_range(KW):
                of_row = of_row + (sums[ty * KW + t],)
            for tx in tl.static_range(KW + RUN - 1):
                c = column + (tx * DILATION - DILATION * (KW - 1) // 2)
                mask = (inside & (c >= 0) & (c < W))[:, None] & there[None, :]
                at = (first + (r * W + c) * C)[:, None] + channel[None, :]
                source = tl.load(x + at, mask, 0.0).to(tl.float32)
                added = ()
                for t in tl.static_range(KW):
                    if tx >= t and tx < t + RUN:
                        added = added + (of_row[t] + source * targets[tx - t],)
                    else:
                        added = added + (of_row[t],)
                of_row = added
            found = found + of_row
        sums = found
    parts += tl.program_id(0) * (KH * KW + 1) * C
    for tap in tl.static_range(KH * KW):
        tl.store(parts + tap * C + channel, tl.sum(sums[tap], axis=0), there)
    tl.store(parts + KH * KW * C + channel, tl.sum(whole, axis=0), there)
