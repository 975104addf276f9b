"""What the loop knows of a task. A task knows nothing of devices, ranks or files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from volovan.data.loader import SampleReader
from volovan.data.sampling import POWERS, ClassProportions
from volovan.engine.settings import SettingsError


@dataclass(frozen=True)
class TaskData:
    """The two halves of the data."""

    train: SampleReader | None
    val: SampleReader | None
    notes: tuple[str, ...] = ()
    """what the user should know of how the data were opened"""
    sizes: tuple[int, ...] = ()
    """training sizes of which each optimiser step draws one; `train.read(index, size)` gets it"""


class Metric(Protocol):
    """What one pass through the validation data gives.

    totals  sums: every tensor is summed over the processes
    rows    number of the sample -> what is kept of it: gathered from all processes, in the order of the samples
    """

    totals: dict[str, Tensor]
    rows: dict[int, Any]

    def update(self, model: nn.Module, batch: Any) -> None: ...

    def finish(self) -> dict[str, float]: ...


class Task(Protocol):
    """A room's door to the engine."""

    smaller: str
    """key of the recipe that makes samples smaller, for whom memory runs out"""
    goal: str
    """name of the metric that chooses the best checkpoint; larger is better unless it begins with `-`"""

    def build_data(self) -> TaskData: ...

    def build_model(self) -> nn.Module:
        """Called after `build_data`, since heads follow the classes."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Mean loss of a batch, a scalar; may draw random numbers, which are keyed by the step."""
        ...

    def new_metric(self, device: torch.device) -> Metric: ...

    def describe(self) -> dict[str, Any]:
        """What a checkpoint must say so that it can be used alone: model config, classes, preprocessing (JSON)."""
        ...

    def draw(self, metric: Metric, folder: Path) -> list[Path]:
        """Pictures of what a finished metric saw; returns the files written."""
        ...


def class_proportions(reader: SampleReader, sampling: str) -> ClassProportions | None:
    """What `train.sampling` asks for; None: each sample once. SettingsError for readers that offer no `labels()`."""
    if sampling == "uniform":
        return None
    if not hasattr(reader, "labels"):
        raise SettingsError(
            f"train.sampling is {sampling}, but these data have no class for each sample; leave it at uniform"
        )
    return ClassProportions(reader.labels(), POWERS[sampling])
