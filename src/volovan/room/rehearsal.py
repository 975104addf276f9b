"""What a room says for a run without its data: stand-ins, and its network as an example."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from volovan.room.settings import Size


@dataclass(frozen=True)
class Example:
    """A network of a recipe with random weights, and what a forward pass of a training step is.

    size      (height, width) of its pictures
    pictures  at least so many at once
    forward   keywords of the call
    """

    model: nn.Module
    size: Size
    pictures: int = 1
    forward: dict[str, Any] = field(default_factory=dict)
