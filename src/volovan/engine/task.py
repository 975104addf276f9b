"""What the loop knows of a task. A task knows nothing of devices, ranks or files."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from volovan.data.loader import SampleReader
from volovan.data.sampling import POWERS, ClassProportions
from volovan.engine.settings import SettingsError

Loss = Tensor | dict[str, Tensor]
"""a scalar, or named scalars whose sum it is"""


@dataclass(frozen=True)
class TaskData:
    """The two halves of the data."""

    train: SampleReader | None
    val: SampleReader | None
    notes: tuple[str, ...] = ()
    """what the user should know of how the data were opened"""
    sizes: tuple[int, ...] = ()
    """training sizes of which each optimiser step draws one; `train.read(index, size)` gets it"""
    groups: Sequence[int] | None = None
    """number of the group of each training sample, from 0 on, such as its aspect ratio: each optimiser step takes
    samples of one group; None: of all"""


class Metric(Protocol):
    """What one pass through the validation data adds up to.

    totals  sums, which are summed over the processes
    rows    number of a sample -> what is kept of it (picklable), for what is no sum, as average precision, or for a
            table; gathered from the processes, in the order of the numbers
    """

    totals: dict[str, Tensor]
    rows: dict[int, Any]

    def update(self, model: nn.Module, batch: Any) -> None: ...

    def finish(self) -> dict[str, float]: ...


class Task(Protocol):
    """A room's door to the engine."""

    goal: str
    """name of the metric that chooses the best checkpoint; larger is better unless it begins with `-`"""
    headline: tuple[str, ...]
    """figures that the line of an epoch names, where a metric has more of them; () for all. The table has all."""
    smaller: str
    """the setting that makes a sample smaller, such as `--data.size`: advice where memory runs out"""

    def build_data(self) -> TaskData: ...

    def build_model(self) -> nn.Module:
        """Called after `build_data`, since heads follow the classes."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> Loss:
        """Mean loss of a batch; may draw random numbers, which are keyed by the step.

        Where it has several parts, each is logged as `loss_<name>`; they are the same ones in every batch.
        """
        ...

    def new_metric(self, device: torch.device) -> Metric: ...

    def describe(self) -> dict[str, Any]:
        """What a checkpoint must say so that it can be used alone: model config, classes, preprocessing (JSON)."""
        ...

    def draw(self, metric: Metric, folder: Path) -> list[Path]:
        """Pictures of what a finished metric saw; returns the files written."""
        ...


def parts_of(loss: Loss) -> tuple[Tensor, dict[str, Tensor]]:
    """(the loss itself, its parts if there are several, in the order of their names)."""
    if isinstance(loss, Tensor):
        return loss, {}
    total = reduce(torch.add, loss.values())
    return total, dict(sorted(loss.items())) if len(loss) > 1 else {}


def class_proportions(reader: SampleReader, sampling: str) -> ClassProportions | None:
    """What `train.sampling` asks for; None: each sample once. SettingsError for readers that offer no `labels()`."""
    if sampling == "uniform":
        return None
    if not hasattr(reader, "labels"):
        raise SettingsError(
            f"train.sampling is {sampling}, but these data have no class for each sample; leave it at uniform"
        )
    return ClassProportions(reader.labels(), POWERS[sampling])
