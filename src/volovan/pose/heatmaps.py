"""Points <-> heat maps: what a network learns, and where its maps say that a point is.

Places are in pixels, pixel (row, column) covers [column, column + 1) x [row, row + 1). A heat map has stride 4; its
value (row, column) stands for a place of the picture in one of two ways:

    published  column = (x - 1/2) / 4   first pixels lie over each other. A map that was made of the mirrored picture is
                                        then three quarters of a pixel off, and is shifted by one (arXiv 1804.06208)
    aligned    column = x / 4 - 1/2     middles lie over each other, and mirrored maps need no shift (UDP, 1911.07524)

The coding is "plain", a Gaussian around the nearest pixel, read at the largest value plus a quarter of a pixel towards
the larger neighbour; or "dark" (arXiv 1910.06278), around the place itself, read by a parabola through the logarithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.pose.simple import STRIDE

Coding = Literal["plain", "dark"]
SIGMAS = 3
"""standard deviations at which a Gaussian is cut off"""
_BLUR = 11  # pixels of the kernel that smooths maps before their logarithm, for a sigma of 2 (DARK, table 6)
_LEAST = 1e-10  # of which a logarithm is taken


@dataclass(frozen=True)
class Grid:
    """Where the values of heat maps lie in a picture. aligned: see above."""

    aligned: bool = False

    def to_map(self, places: Tensor) -> Tensor:
        """x, y in the picture -> column, row in the map, both real."""
        return places / STRIDE - 0.5 if self.aligned else (places - 0.5) / STRIDE

    def to_picture(self, places: Tensor) -> Tensor:
        """The way back."""
        return (places + 0.5) * STRIDE if self.aligned else places * STRIDE + 0.5


def gaussians(
    places: Tensor, shown: Tensor, size: tuple[int, int], sigma: float, coding: Coding
) -> tuple[Tensor, Tensor]:
    """What a network learns of the points of an object.

    places  (K, 2) columns and rows in the map
    shown   (K,) bool: which are known
    size    (h, w) of the maps
    sigma   in pixels of the maps
    returns (K, h, w) float32 from 0 to 1, and (K,) bool: which are learned; not those whose Gaussian is outside
    """
    height, width = size
    reach = SIGMAS * sigma
    centres = (places + 0.5).floor()
    low, high = centres - reach, centres + reach + 1
    learned = shown & (low < places.new_tensor([width, height])).all(1) & (high >= 0).all(1)
    around = centres if coding == "plain" else places
    columns, rows = torch.arange(width, dtype=places.dtype), torch.arange(height, dtype=places.dtype)
    across, down = columns - around[:, :1], rows - around[:, 1:]  # (K, w), (K, h)
    if coding == "plain":  # cut off by a square; DARK needs the whole Gaussian
        across, down = (away.masked_fill(away.abs() > reach, torch.inf) for away in (across, down))
    maps = (-down.square() / (2 * sigma**2)).exp()[:, :, None] * (-across.square() / (2 * sigma**2)).exp()[:, None]
    return (maps * learned[:, None, None]).float(), learned


def heat_loss(maps: Tensor, targets: Tensor, learned: Tensor) -> Tensor:
    """Mean squared error over all pixels of all maps (B, K, h, w); maps that are not learned (B, K) count as right."""
    return ((maps - targets).square() * learned[..., None, None]).mean()


def peaks(maps: Tensor, coding: Coding) -> tuple[Tensor, Tensor]:
    """Maps (B, K, h, w) -> (B, K, 2) columns and rows, both real, and (B, K) the largest value of each map."""
    width = maps.shape[-1]
    scores, numbers = maps.flatten(2).max(dim=2)
    whole = torch.stack((numbers % width, numbers // width), dim=2)
    return whole + (_quarters(maps, whole) if coding == "plain" else _parabolas(maps, whole)), scores


def _quarters(maps: Tensor, whole: Tensor) -> Tensor:
    """(B, K, 2): a quarter of a pixel towards the larger neighbour, of maxima off the edge (as published, two off the
    first row and column, one off the last)."""
    inside = _inside(maps, whole, after=1)
    right, left, below, above = (_values(maps, whole, *step) for step in ((1, 0), (-1, 0), (0, 1), (0, -1)))
    slopes = torch.stack((right - left, below - above), dim=2)
    return 0.25 * slopes.sign() * inside[..., None]


def _parabolas(maps: Tensor, whole: Tensor) -> Tensor:
    """(B, K, 2): from the maximum to that of the Gaussian whose logarithm has these derivatives, -H^-1 g."""
    logs = _smoothed(maps).clamp_min(_LEAST).log()

    def at(across: int, down: int) -> Tensor:
        return _values(logs, whole, across, down)

    dx, dy = (at(1, 0) - at(-1, 0)) / 2, (at(0, 1) - at(0, -1)) / 2
    dxx, dyy = (at(2, 0) - 2 * at(0, 0) + at(-2, 0)) / 4, (at(0, 2) - 2 * at(0, 0) + at(0, -2)) / 4
    dxy = (at(1, 1) - at(-1, 1) - at(1, -1) + at(-1, -1)) / 4
    bent = dxx * dyy - dxy * dxy
    safe = _inside(maps, whole, after=2) & (bent != 0)
    bent = torch.where(safe, bent, torch.ones_like(bent))
    step = torch.stack((dxy * dy - dyy * dx, dxy * dx - dxx * dy), dim=2) / bent[..., None]
    return torch.where(safe[..., None], step, torch.zeros_like(step))


def _smoothed(maps: Tensor) -> Tensor:
    """By a Gaussian; the largest value of each map stays what it is. Beyond the edge is nothing."""
    sigma = 0.3 * ((_BLUR - 1) / 2 - 1) + 0.8
    places = torch.arange(_BLUR, dtype=maps.dtype, device=maps.device) - _BLUR // 2
    kernel = (-places.square() / (2 * sigma**2)).exp()
    kernel = kernel / kernel.sum()
    flat = maps.flatten(0, 1)[:, None]
    blurred = F.conv2d(flat, kernel[None, None, :, None], padding=(_BLUR // 2, 0))
    blurred = F.conv2d(blurred, kernel[None, None, None], padding=(0, _BLUR // 2)).view_as(maps)
    before, after = (some.flatten(2).amax(2)[..., None, None] for some in (maps, blurred))
    return blurred * before / after.clamp_min(_LEAST)


def _inside(maps: Tensor, whole: Tensor, after: int) -> Tensor:
    """(B, K) bool: whether two pixels lie before a place, and as many behind it, in both directions."""
    height, width = maps.shape[-2:]
    low, high = whole >= 2, whole < whole.new_tensor([width - after, height - after])
    return (low & high).all(dim=2)


def _values(maps: Tensor, whole: Tensor, across: int, down: int) -> Tensor:
    """(B, K): the values so many pixels from the places; those over the edge are of no use."""
    height, width = maps.shape[-2:]
    columns, rows = (whole[..., 0] + across).clamp(0, width - 1), (whole[..., 1] + down).clamp(0, height - 1)
    return maps.flatten(2).gather(2, (rows * width + columns)[..., None])[..., 0]


def unflipped(maps: Tensor, flips: Sequence[int], aligned: bool) -> Tensor:
    """Maps (B, K, h, w) of mirrored pictures -> those of the pictures: points swapped, mirrored, perhaps shifted.

    flips  of each point the number of the one that it is in a mirrored picture
    """
    found = maps[:, list(flips)].flip(-1)
    if aligned:
        return found
    shifted = found.clone()
    shifted[..., 1:] = found[..., :-1]
    return shifted
