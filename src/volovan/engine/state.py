"""What a run knows of itself besides its tensors."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class State:
    """What a checkpoint holds besides tensors."""

    step: int = 0
    """optimiser steps done"""
    best: float | None = None
    """best value of the task's goal, and the step it was reached at"""
    best_step: int | None = None
    loss_sum: float = 0.0
    """sum of the step losses of the open epoch"""
    loss_steps: int = 0
    """steps in it; 0: no epoch is open"""
    part_sums: dict[str, float] = field(default_factory=dict)
    """the same sum for each part of the loss"""
    seconds: float = 0.0
    """time taken, over all resumes"""

    def add(self, loss: float, parts: dict[str, float]) -> None:
        """A step to the sums of the open epoch."""
        if not self.loss_steps:
            self.part_sums = dict.fromkeys(parts, 0.0)
        self.loss_sum += loss
        self.loss_steps += 1
        for name in self.part_sums:  # none in an epoch that was begun by a version without them
            self.part_sums[name] += parts[name]

    def mean_losses(self) -> dict[str, float]:
        """Of the open epoch."""
        sums = {"loss": self.loss_sum, **name_parts(self.part_sums)}
        return {name: value / self.loss_steps for name, value in sums.items()}


def name_parts(parts: dict[str, float]) -> dict[str, float]:
    """Parts of the loss by the columns that they are logged in."""
    return {f"loss_{name}": value for name, value in parts.items()}
