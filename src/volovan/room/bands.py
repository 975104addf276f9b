"""Maps of which bands of rows can be had, so that nothing of the size channels x height x width is ever held."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Rows(Protocol):
    """A map (channels, height, width) of which bands of rows can be had, from top to bottom."""

    size: tuple[int, int]

    def rows(self, begin: int, end: int) -> Tensor:
        """(channels, end - begin, width) float32; `begin` never goes back behind that of an earlier call."""
        ...


class Held:
    """A map that is there: (channels, height, width)."""

    def __init__(self, values: Tensor) -> None:
        self.values, self.size = values, (values.shape[1], values.shape[2])

    def rows(self, begin: int, end: int) -> Tensor:
        return self.values[:, begin:end].float()


class Corner:
    """The upper left part of another map: what is padding below and to the right of it is left out."""

    def __init__(self, source: Rows, size: tuple[int, int]) -> None:
        self.source, self.size = source, size

    def rows(self, begin: int, end: int) -> Tensor:
        return self.source.rows(begin, end)[..., : self.size[1]]


class Resized:
    """Another map at another size: bilinear, corners not aligned, as F.interpolate does it."""

    def __init__(self, source: Rows, size: tuple[int, int]) -> None:
        self.source, self.size = source, size

    def rows(self, begin: int, end: int) -> Tensor:
        height, width = self.source.size
        if height == self.size[0]:
            found = self.source.rows(begin, end)
        else:
            upper, lower, share = _neighbours(begin, end, self.size[0], height)
            first, last = int(upper[0]), int(lower[-1]) + 1
            band = self.source.rows(first, last)
            upper, lower, share = (t.to(band.device) for t in (upper - first, lower - first, share))
            found = torch.lerp(band[:, upper], band[:, lower], share[:, None])
        return found if width == self.size[1] else F.interpolate(found, self.size[1], mode="linear")


def _neighbours(begin: int, end: int, size: int, source: int) -> tuple[Tensor, Tensor, Tensor]:
    """For rows begin..end of `size`: the two rows of `source` that each lies between, and the share of the second."""
    centre = (torch.arange(begin, end, dtype=torch.float32) + 0.5) * (source / size) - 0.5
    centre = centre.clamp(min=0)
    upper = centre.long().clamp(max=source - 1)
    return upper, (upper + 1).clamp(max=source - 1), centre - upper
