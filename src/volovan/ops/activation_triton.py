"""GELU and ReLU inside of kernels in Triton, in float32."""

from collections.abc import Mapping

import triton
import triton.language as tl

NUMBERS: Mapping[str, int] = {"none": 0, "relu": 1, "gelu": 2}
"""names of volovan.ops.convolution -> ACT of a kernel"""


@triton.jit
def activate(v, ACT: tl.constexpr):
    """act(v); GELU is the exact one, v Phi(v)."""
    if ACT == 1:
        v = tl.maximum(v, 0.0)
    if ACT == 2:
        v = 0.5 * v * (1.0 + tl.erf(v * 0.7071067811865476))
    return v


@triton.jit
def slope(v, ACT: tl.constexpr):
    """act'(v); of GELU Phi(v) + v phi(v)."""
    found = tl.full(v.shape, 1.0, tl.float32)
    if ACT == 1:
        found = tl.where(v > 0.0, 1.0, 0.0)
    if ACT == 2:
        found = 0.5 * (1.0 + tl.erf(v * 0.7071067811865476)) + v * tl.exp(-0.5 * v * v) * 0.3989422804014327
    return found
