"""Outlook attention on a GPU, in Triton: softmax, products and the sum of overlapping windows in one pass.

The sum is turned around ("fold as gather"): a program makes whole pixels, and a pixel of row y lies at place t of
window i where i*s - pad + t = y. Over the s*s pixels that belong to a window's step each of the k*k places of windows
around comes exactly once, so nothing is computed twice, nothing is added by two programs, and the result is the same at
every call. Value, logits and result lie as the linear layers have them: no transpose on either side.

Letters as in outlook.py: k2 = k*k places t (target) and u (source) of a window, d numbers of a head.

    forward       out[pixel]       = sum over (window, t) at it, over u, of w[t, u] * value[u]
    grad_value    grad[pixel]      = sum over (window, u) at it, over t, of w[t, u] * grad_out[t]
    grad_logits   with dw[t, u]    = grad_out[t] . value[u]
                  grad[t, u]       = scale * w[t, u] * (dw[t, u] - sum over u of w * dw)

The backward passes know w[t, u] = exp(scale * logits[t, u] - lse[t]) again from lse, the logarithm of the sum of the
exponentials of each row, which the forward pass leaves: k2 numbers a window and head in place of k2 * k2. A place whose
pixel lies outside the image has none (0 stands there); its row has no gradient.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from volovan.ops.tiles import Tiles

INTERPRETED = bool(triton.knobs.runtime.interpret)
"""whether TRITON_INTERPRET=1 was set when this was imported: then the kernels run on a CPU, slowly"""
_WARPS = (2, 4, 8)
PIXELS = Tiles("outlook pixels", {"WINDOWS": 32, "num_warps": 4}, {"WINDOWS": (16, 32, 64), "num_warps": _WARPS})
"""of a program that makes pixels: windows whose steps they are"""
LOGITS = Tiles(
    "outlook logits",
    {"NUMBERS": 1 << 12, "num_warps": 4},
    {"NUMBERS": (1 << 11, 1 << 12, 1 << 13), "num_warps": _WARPS},
)
"""of one that makes gradients of logits: numbers of (windows, places, places)"""


def forward(
    value: Tensor, logits: Tensor, num_heads: int, kernel_size: int, stride: int, keep: bool
) -> tuple[Tensor, Tensor]:
    """value (B, H, W, C) and logits (B, h, w, N k^4) -> the result (B, H, W, C), and with `keep` lse (B, h, w, N k^2)
    in float32, else an empty tensor."""
    value, logits = value.contiguous(), logits.contiguous()
    out = torch.empty_like(value)
    lse = value.new_zeros((*logits.shape[:3], num_heads * kernel_size**2) if keep else (0,), dtype=torch.float32)
    if value.numel():
        sizes, shared = _shared(value, logits, num_heads, kernel_size, stride)
        tile = PIXELS.of(value.device, value.dtype)
        grid = _grid(logits, num_heads, tile["WINDOWS"])
        _forward[grid](value, logits, out, lse, *sizes, KEEP=keep, **tile, **shared)
    return out, lse


def backward(
    grad: Tensor, value: Tensor, logits: Tensor, lse: Tensor, num_heads: int, kernel_size: int, stride: int
) -> tuple[Tensor, Tensor]:
    """Gradients of value and logits, from that of the result (B, H, W, C)."""
    grad, value, logits = grad.contiguous(), value.contiguous(), logits.contiguous()
    grad_value, grad_logits = torch.empty_like(value), torch.empty_like(logits)
    if value.numel():
        sizes, shared = _shared(value, logits, num_heads, kernel_size, stride)
        tile = PIXELS.of(value.device, value.dtype)
        grid = _grid(logits, num_heads, tile["WINDOWS"])
        _grad_value[grid](grad, logits, lse, grad_value, *sizes, **tile, **shared)
        places = max(16, triton.next_power_of_2(kernel_size**2))
        tile = LOGITS.of(value.device, value.dtype)
        tile["WINDOWS"] = max(1, tile.pop("NUMBERS") // places**2)
        grid = _grid(logits, num_heads, tile["WINDOWS"])
        _grad_logits[grid](grad, value, logits, lse, grad_logits, *sizes, PLACES=places, **tile, **shared)
    return grad_value, grad_logits


def _shared(
    value: Tensor, logits: Tensor, num_heads: int, kernel_size: int, stride: int
) -> tuple[tuple[int, ...], dict[str, int]]:
    """What all kernels get: H, W, h, w, N, d, and constants. Products of matrices want 16 lanes at least."""
    head_dim = value.shape[3] // num_heads
    sizes = (*value.shape[1:3], *logits.shape[1:3], num_heads, head_dim)
    return sizes, {"K": kernel_size, "S": stride, "LANES": max(16, triton.next_power_of_2(head_dim))}


def _grid(logits: Tensor, num_heads: int, windows: int) -> tuple[int, int, int]:
    """Programs of so many windows, for each head of each picture."""
    return triton.cdiv(logits.shape[1] * logits.shape[2], windows), num_heads, logits.shape[0]


@triton.jit
def _windows(h, w, WINDOWS: tl.constexpr):
    """Rows and columns of the windows of a program, and which of them there are."""
    step = tl.program_id(0) * WINDOWS + tl.arange(0, WINDOWS)
    return step // w, step % w, step < h * w


@triton.jit
def _numbers(r, c, inside, W, N, D: tl.constexpr, LANES: tl.constexpr):
    """Where the numbers of the program's head lie at these pixels, along a further axis, and which there are."""
    lane = tl.arange(0, LANES)
    at = tl.expand_dims((r * W + c) * N + tl.program_id(1), -1) * D + lane
    return at, tl.expand_dims(inside, -1) & (lane < D)


@triton.jit
def _forward(
    value,
    logits,
    out,
    lse,
    H,
    W,
    h,
    w,
    N,
    D: tl.constexpr,
    K: tl.constexpr,
    S: tl.constexpr,
    KEEP: tl.constexpr,
    WINDOWS: tl.constexpr,
    LANES: tl.constexpr,
):
    PAD: tl.constexpr = K // 2
    K2: tl.constexpr = K * K
    UNROLL: tl.constexpr = K2 if K <= 3 else 1  # written out for the kernels of the paper; 5 x 5 would compile for long
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    value += batch * H * W * N * D
    out += batch * H * W * N * D
    logits += batch * h * w * N * K2 * K2
    lse += batch * h * w * N * K2
    scale: tl.constexpr = D**-0.5
    row, column, real = _windows(h, w, WINDOWS)
    # places are numbered behind the parity of the pixel that they cover: a = (tr - PAD) mod S
    for a in tl.static_range(S):
        for b in tl.static_range(S):
            y, x = row * S + a, column * S + b
            pixel = real & (y < H) & (x < W)
            found = tl.zeros((WINDOWS, LANES), tl.float32)
            for tr in tl.static_range(K):
                for tc in tl.static_range(K):
                    if (a + PAD - tr) % S == 0 and (b + PAD - tc) % S == 0:
                        i, j = row + (a + PAD - tr) // S, column + (b + PAD - tc) // S
                        there = pixel & (i >= 0) & (i < h) & (j >= 0) & (j < w)
                        place = ((i * w + j) * N + head) * K2 + tr * K + tc
                        top = tl.full((WINDOWS,), -float("inf"), tl.float32)
                        for u in tl.range(K2, loop_unroll_factor=UNROLL):
                            top = tl.maximum(top, tl.load(logits + place * K2 + u, there, 0.0).to(tl.float32))
                        total = tl.zeros((WINDOWS,), tl.float32)
                        mixed = tl.zeros((WINDOWS, LANES), tl.float32)
                        for u in tl.range(K2, loop_unroll_factor=UNROLL):
                            score = tl.load(logits + place * K2 + u, there, 0.0).to(tl.float32)
                            weight = tl.exp((score - top) * scale)
                            total += weight
                            r, c = i * S - PAD + u // K, j * S - PAD + u % K
                            inside = there & (r >= 0) & (r < H) & (c >= 0) & (c < W)
                            at, mask = _numbers(r, c, inside, W, N, D, LANES)
                            source = tl.load(value + at, mask, 0.0)
                            mixed += weight[:, None] * source.to(tl.float32)
                        found += tl.where(there[:, None], mixed / total[:, None], 0.0)
                        if KEEP:
                            tl.store(lse + place, top * scale + tl.log(total), there)
            at, mask = _numbers(y, x, pixel, W, N, D, LANES)
            tl.store(out + at, found.to(out.dtype.element_ty), mask)


@triton.jit
def _grad_value(
    grad,
    logits,
    lse,
    grad_value,
    H,
    W,
    h,
    w,
    N,
    D: tl.constexpr,
    K: tl.constexpr,
    S: tl.constexpr,
    WINDOWS: tl.constexpr,
    LANES: tl.constexpr,
):
    PAD: tl.constexpr = K // 2
    K2: tl.constexpr = K * K
    UNROLL: tl.constexpr = K2 if K <= 3 else 1  # written out for the kernels of the paper; 5 x 5 would compile for long
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    grad += batch * H * W * N * D
    grad_value += batch * H * W * N * D
    logits += batch * h * w * N * K2 * K2
    lse += batch * h * w * N * K2
    scale: tl.constexpr = D**-0.5
    row, column, real = _windows(h, w, WINDOWS)
    for a in tl.static_range(S):
        for b in tl.static_range(S):
            y, x = row * S + a, column * S + b
            pixel = real & (y < H) & (x < W)
            found = tl.zeros((WINDOWS, LANES), tl.float32)
            for ur in tl.static_range(K):
                for uc in tl.static_range(K):
                    if (a + PAD - ur) % S == 0 and (b + PAD - uc) % S == 0:
                        i, j = row + (a + PAD - ur) // S, column + (b + PAD - uc) // S
                        there = pixel & (i >= 0) & (i < h) & (j >= 0) & (j < w)
                        window = ((i * w + j) * N + head) * K2
                        for t in tl.range(K2, loop_unroll_factor=UNROLL):
                            r, c = i * S - PAD + t // K, j * S - PAD + t % K
                            inside = there & (r >= 0) & (r < H) & (c >= 0) & (c < W)
                            score = tl.load(logits + (window + t) * K2 + ur * K + uc, inside, 0.0).to(tl.float32)
                            weight = tl.exp(score * scale - tl.load(lse + window + t, inside, float("inf")))
                            at, mask = _numbers(r, c, inside, W, N, D, LANES)
                            target = tl.load(grad + at, mask, 0.0)
                            found += weight[:, None] * target.to(tl.float32)
            at, mask = _numbers(y, x, pixel, W, N, D, LANES)
            tl.store(grad_value + at, found.to(grad_value.dtype.element_ty), mask)


@triton.jit
def _grad_logits(
    grad,
    value,
    logits,
    lse,
    grad_logits,
    H,
    W,
    h,
    w,
    N,
    D: tl.constexpr,
    K: tl.constexpr,
    S: tl.constexpr,
    WINDOWS: tl.constexpr,
    PLACES: tl.constexpr,
    LANES: tl.constexpr,
):
    PAD: tl.constexpr = K // 2
    K2: tl.constexpr = K * K
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    grad += batch * H * W * N * D
    value += batch * H * W * N * D
    logits += batch * h * w * N * K2 * K2
    grad_logits += batch * h * w * N * K2 * K2
    lse += batch * h * w * N * K2
    scale: tl.constexpr = D**-0.5
    row, column, real = _windows(h, w, WINDOWS)
    place = tl.arange(0, PLACES)
    r = (row * S - PAD)[:, None] + (place // K)[None, :]
    c = (column * S - PAD)[:, None] + (place % K)[None, :]
    inside = real[:, None] & (place < K2)[None, :] & (r >= 0) & (r < H) & (c >= 0) & (c < W)
    at, mask = _numbers(r, c, inside, W, N, D, LANES)
    target = tl.load(grad + at, mask, 0.0).to(tl.float32)
    source = tl.load(value + at, mask, 0.0).to(tl.float32)
    # half precision is exact in tf32, which tensor cores multiply
    PRECISION: tl.constexpr = "ieee" if value.dtype.element_ty == tl.float32 else "tf32"
    product = tl.dot(target, tl.permute(source, (0, 2, 1)), input_precision=PRECISION)  # (windows, t, u)
    window = ((row * w + column) * N + head) * K2
    at = (window[:, None] + place[None, :])[:, :, None] * K2 + place[None, None, :]
    mask = (real[:, None] & (place < K2)[None, :])[:, :, None] & (place < K2)[None, None, :]
    score = tl.load(logits + at, mask, 0.0).to(tl.float32)
    total = tl.load(lse + window[:, None] + place[None, :], inside, float("inf"))
    weight = tl.where(mask, tl.exp(score * scale - total[:, :, None]), 0.0)
    mean = tl.sum(weight * product, axis=2)
    found = scale * weight * (product - mean[:, :, None])
    tl.store(grad_logits + at, found.to(grad_logits.dtype.element_ty), mask)
