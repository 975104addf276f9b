"""The checkpoints of a run: written as it trains, the oldest let go, the best kept, damaged ones passed over; and what
they hold besides tensors."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volovan.files.checkpoint import read_checkpoint, write_checkpoint
from volovan.files.described import CheckpointError
from volovan.files.runs import BEST, checkpoint_name, checkpoint_steps, newest_checkpoints
from volovan.files.whole import sweep


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


class CheckpointFolder:
    """The `checkpoints/` of a run: `step-00001200.safetensors`, the newest few of them, and `best.safetensors`.

    A step's holds all that a resume needs; the best is what people copy, serve and upload: the network alone.
    """

    def __init__(self, folder: Path, keep_last: int) -> None:
        self.folder, self.keep_last = folder, keep_last
        self.best = folder / BEST
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, step: int) -> Path:
        return self.folder / checkpoint_name(step)

    def steps(self) -> list[int]:
        """Steps with a checkpoint, oldest first."""
        return checkpoint_steps(self.folder)

    def save(self, step: int, tree: dict[str, Any], is_best: bool) -> Path:
        """Write the checkpoint of `step`, make it the best if it is, then let the oldest go.

        Later steps go too: they are damaged ones that a resume has passed over, and would push out whole ones.
        """
        write_checkpoint(self.path(step), tree)
        if is_best:
            self.keep_best(tree)
        earlier = [other for other in self.steps() if other <= step]
        for other in set(self.steps()) - set(earlier[-self.keep_last :]):
            self.path(other).unlink(missing_ok=True)
        return self.path(step)

    def keep_best(self, tree: dict[str, Any]) -> None:
        """Let `best.safetensors` be the network of a checkpoint: the averaged weights where there are some, what the
        task says of it, and how far it was."""
        said = {"state": tree["state"], "task": tree["task"], "averaged": "ema" in tree}
        write_checkpoint(self.best, {"model": tree.get("ema", tree["model"]), **said})

    def sweep(self) -> None:
        """Remove what a killed process left half-written."""
        sweep(self.folder)

    def load_newest(self, report: Callable[[str], Any] = print) -> dict[str, Any]:
        """The newest checkpoint that is whole and can be gone on from; damaged ones are named and passed over."""
        for path in newest_checkpoints(self.folder):
            try:
                tree = read_checkpoint(path)
            except CheckpointError as error:
                report(f"{error}; trying the one before")
                continue
            if "optimizer" in tree:  # the best has none, but in runs of earlier versions
                return tree
        start = f" with --model.weights {self.best}" if self.best.is_file() else ""
        raise CheckpointError(f"{self.folder} holds no usable checkpoint; start the run anew{start}")
