"""Exponential moving average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class EMA:
    """A copy of the model whose weights follow ema <- decay ema + (1 - decay) weights; buffers are copied.

    With warm-up the decay of update t (from 0) is min(decay, (1 + t) / (10 + t)), so that a short run is not
    dominated by its random start.
    """

    def __init__(self, model: nn.Module, decay: float, warmup: bool = False) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.warmup = warmup

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay
        ours: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(ours, [p.detach() for p in model.parameters()], 1 - decay)
        self.copy_buffers(model)

    @torch.no_grad()
    def copy_buffers(self, model: nn.Module) -> None:
        """Take over BatchNorm's running statistics, which are an average already."""
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)
