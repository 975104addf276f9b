"""Which layers of a network lose most when they compute with 8 bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from volovan.room.cut import CutOff


@dataclass(frozen=True)
class Calibration:
    """What int8 is made by.

    pictures  (B, ...), as the file takes them
    spared    names of layers that stay in float
    """

    pictures: Sequence[Tensor] = ()
    spared: frozenset[str] = frozenset()


NONE = Calibration()
TRIED = 4
"""pictures by which layers are compared"""
SPARED = 1 / 12
"""of all layers that stay in float, at most"""
LEFT = 0.5
"""of the error of all layers together, which the others may have"""


def costly(part: CutOff, pictures: Sequence[Tensor]) -> frozenset[str]:
    """Names of layers to leave in float: those with the largest errors, until the others together have half of it."""
    errors = errors_of(part, pictures[:TRIED])
    ranked = sorted(errors, key=lambda name: errors[name], reverse=True)
    whole = left = sum(error**2 for error in errors.values())
    spared: set[str] = set()
    for name in ranked[: int(SPARED * len(ranked))]:
        if left <= LEFT**2 * whole:
            break
        spared.add(name)
        left -= errors[name] ** 2
    return frozenset(spared)


@torch.no_grad()
def errors_of(part: CutOff, pictures: Sequence[Tensor]) -> Mapping[str, float]:
    """Layer -> how far the outputs move, in parts of their length, when it alone computes with 8 bits."""
    exact = [floats(part(picture)) for picture in pictures]
    found = {}
    for name, layer in part.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        with in_bytes(layer):
            moved = [floats(part(picture)) for picture in pictures]
        found[name] = max(
            float((own - right).norm() / right.norm().clamp(min=1e-12))
            for several, rights in zip(moved, exact, strict=True)
            for own, right in zip(several, rights, strict=True)
        )
    return found


def floats(outputs: Sequence[Tensor]) -> list[Tensor]:
    return [one for one in outputs if one.is_floating_point()]


@contextmanager
def in_bytes(layer: nn.Conv2d | nn.Linear) -> Iterator[None]:
    """Within it a layer reads its input in 256 steps, and its weights in 255 of each output channel."""
    weight = layer.weight.data
    scale = weight.flatten(1).abs().amax(dim=1).clamp(min=1e-12).view(-1, *(1,) * (weight.dim() - 1)) / 127

    def coarse(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        x = given[0]
        low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
        step = ((high - low) / 255).clamp(min=1e-12)
        zero = (-low / step).round()
        return (((x / step).round() + zero).clamp(0, 255) - zero) * step, *given[1:]

    handle = layer.register_forward_pre_hook(coarse)
    layer.weight.data = (weight / scale).round() * scale
    try:
        yield
    finally:
        handle.remove()
        layer.weight.data = weight
