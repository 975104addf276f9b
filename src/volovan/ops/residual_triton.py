"""Layer scale, drop path and shortcut on a GPU, in Triton: one pass forward, one backward."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from volovan.ops.tiles import Tiles

CHANNELS = 64
TILE = Tiles("shortcut", {"PLACES": 32, "num_warps": 4}, {"PLACES": (16, 32, 64), "num_warps": (2, 4, 8)})
"""positions and channels that a program has in registers at a time"""
SHARES = 512
"""into which the positions are parted for the gradient of the scale, at most"""


def add(x: Tensor, branch: Tensor, scale: Tensor | None, keep: Tensor | None, out: Tensor) -> None:
    """out = x + branch * scale * keep: maps (B, N, C) contiguous, scale (C,) or None, keep (B,) or None."""
    batch, places, channels = x.shape
    tile = TILE.of(x.device, x.dtype)
    if x.numel():
        _add[(triton.cdiv(places, tile["PLACES"]), triton.cdiv(channels, CHANNELS), batch)](
            x,
            branch,
            x if scale is None else scale,
            x if keep is None else keep,
            out,
            places,
            channels,
            SCALED=scale is not None,
            KEPT=keep is not None,
            **tile,
            CHANNELS=CHANNELS,
        )


def gradients(grad: Tensor, branch: Tensor, scale: Tensor | None, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """Of the branch (B, N, C), and of the scale (C,) in float32."""
    of_branch = torch.empty_like(branch)
    batch, places, channels = branch.shape
    every = batch * places
    tile = TILE.of(branch.device, branch.dtype)
    steps = max(1, triton.cdiv(every, tile["PLACES"] * SHARES))  # of a share
    shares = max(1, triton.cdiv(every, tile["PLACES"] * steps))
    parts = branch.new_zeros((shares, channels), dtype=torch.float32)
    if branch.numel():
        _differentiate[(shares, triton.cdiv(channels, CHANNELS))](
            grad,
            branch,
            branch if scale is None else scale,
            branch if keep is None else keep,
            of_branch,
            parts,
            every,
            places,
            steps,
            channels,
            SCALED=scale is not None,
            KEPT=keep is not None,
            **tile,
            CHANNELS=CHANNELS,
        )
    return of_branch, parts.sum(dim=0)


@triton.jit
def _add(
    x,
    branch,
    scale,
    keep,
    out,
    N,
    C,
    SCALED: tl.constexpr,
    KEPT: tl.constexpr,
    PLACES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    sample = tl.program_id(2).to(tl.int64)
    place = tl.program_id(0) * PLACES + tl.arange(0, PLACES)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    mask = (place < N)[:, None] & (channel < C)[None, :]
    at = sample * N * C + place[:, None] * C + channel[None, :]
    found = tl.load(branch + at, mask, 0.0).to(tl.float32)
    if SCALED:
        found *= tl.load(scale + channel, channel < C, 0.0).to(tl.float32)[None, :]
    if KEPT:
        found *= tl.load(keep + sample).to(tl.float32)
    found += tl.load(x + at, mask, 0.0).to(tl.float32)
    tl.store(out + at, found.to(out.dtype.element_ty), mask)


@triton.jit
def _differentiate(
    grad,
    branch,
    scale,
    keep,
    of_branch,
    parts,
    every,
    N,
    steps,
    C,
    SCALED: tl.constexpr,
    KEPT: tl.constexpr,
    PLACES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < C
    sums = tl.zeros((PLACES, CHANNELS), tl.float32)
    for step in range(steps):
        place = (tl.program_id(0).to(tl.int64) * steps + step) * PLACES + tl.arange(0, PLACES)
        mask = (place < every)[:, None] & there[None, :]
        at = place[:, None] * C + channel[None, :]
        found = tl.load(grad + at, mask, 0.0).to(tl.float32)
        if KEPT:
            found *= tl.load(keep + place // N, place < every, 0.0).to(tl.float32)[:, None]
        sums += found * tl.load(branch + at, mask, 0.0).to(tl.float32)
        if SCALED:
            found *= tl.load(scale + channel, there, 0.0).to(tl.float32)[None, :]
        tl.store(of_branch + at, found.to(of_branch.dtype.element_ty), mask)
    tl.store(parts + tl.program_id(0) * C + channel, tl.sum(sums, axis=0), there)
