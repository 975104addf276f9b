"""Tasks whose pictures have several labels, or numbers: samples, loss and metric behind the engine's protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from volovan.classify.data import collate
from volovan.classify.losses import multi_label_loss, regression_loss
from volovan.classify.network import make_network, train_transforms
from volovan.classify.recipe import Recipe, check_recipe
from volovan.classify.target_metrics import MultiLabelMetric, RegressionMetric
from volovan.data import Source, open_source
from volovan.data.samples import take
from volovan.data.targets import Targets, targets_of
from volovan.engine.settings import SettingsError, expand_variables
from volovan.engine.task import TaskData

KINDS: dict[str, Literal["labels", "numbers"]] = {"multi_label": "labels", "regression": "numbers"}
"""loss.target -> kind of target in the data"""
COLUMNS = {
    "multi_label": "a .csv with the column `labels`, as in cat|dog",
    "regression": "a .csv with columns `value`, or `value:NAME` for several",
}
"""loss.target -> where its targets come from"""


class TargetSamples:
    """Pictures of a source as {"image": (3, H, W), "label": (K,) float32}: 0 or 1, or standardised numbers.

    values (N, K): the targets. sized: transforms for the sizes that `read` may be asked for.
    """

    def __init__(
        self,
        source: Source,
        values: np.ndarray,
        transform: Callable[[Image.Image], Tensor],
        sized: Mapping[int, Callable[[Image.Image], Tensor]] | None = None,
    ) -> None:
        self.source, self.values, self.transform, self.sized = source, values, transform, sized or {}

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def read(self, index: int, size: int | None = None) -> dict[str, Any]:
        transform = self.transform if size is None else self.sized[size]
        label = torch.from_numpy(self.values[index].astype(np.float32))
        return {"image": transform(self.source.load(index)), "label": label}


@dataclass(frozen=True)
class Outputs:
    """What the K outputs of a network stand for. Of numbers: mean and std (K,) of the training data, and the loss."""

    kind: str
    names: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    loss: str = "mse"

    @classmethod
    def of(cls, targets: Targets, loss: str = "mse") -> Outputs:
        """Those that learn these targets."""
        if targets.kind == "labels":
            return cls("multi_label", targets.names)
        std = targets.values.std(0)
        std[std == 0] = 1  # a number that never changes
        return cls("regression", targets.names, tuple(targets.values.mean(0).tolist()), tuple(std.tolist()), loss)

    @classmethod
    def described(cls, about: dict[str, Any]) -> Outputs | None:
        """Those of a checkpoint; None for a network that names one class."""
        if about.get("target") is None:
            return None
        names, numbers = tuple(about["classes"]), about["target"]
        return cls(numbers["kind"], names, tuple(numbers["mean"]), tuple(numbers["std"]), numbers["loss"])

    def describe(self) -> dict[str, Any]:
        """For the checkpoint, beside its `classes`."""
        return {"kind": self.kind, "mean": list(self.mean), "std": list(self.std), "loss": self.loss}

    def encode(self, targets: Targets) -> np.ndarray:
        """(N, K): what the network shall say. Columns are found by name; a class that the data lack never applies."""
        unknown = [name for name in targets.names if name not in self.names]
        absent = [name for name in self.names if name not in targets.names]
        if unknown or (absent and self.kind == "regression"):
            raise SettingsError(
                f"the data speak of {_listed(targets.names)}, but the network learns {_listed(self.names)}; call the "
                "columns and classes alike"
            )
        values = np.zeros((len(targets.values), len(self.names)), dtype=targets.values.dtype)
        values[:, [self.names.index(name) for name in targets.names]] = targets.values
        return values if self.kind == "multi_label" else (values - self.mean) / self.std

    def decode(self, output: Tensor) -> Tensor:
        """(B, K) of the network to probabilities, or to numbers in the units of the data, float64."""
        if self.kind == "multi_label":
            return output.double().sigmoid()
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (self.mean, self.std))
        return output.double().cpu() * std + mean

    def metric(self, device: torch.device) -> MultiLabelMetric | RegressionMetric:
        if self.kind == "multi_label":
            return MultiLabelMetric(len(self.names), device)
        return RegressionMetric(self.names, self.std, device, self.loss)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"


def open_targets(spec: str, split: str | None, kind: str, limit: int | None = None) -> tuple[Source, Targets]:
    """A source whose pictures have targets of this kind, or a SettingsError that says what is missing."""
    source = take(open_source(expand_variables(spec), split, KINDS[kind]), limit)
    targets = targets_of(source)
    if targets is None or targets.kind != KINDS[kind]:
        found = {"class": "one class for each picture", "labels": "several labels", "numbers": "numbers"}
        raise SettingsError(
            f"{spec} has {found.get(source.kind, 'no labels')}; loss.target {kind} needs {COLUMNS[kind]}"
        )
    return source, targets


class TargetTask:
    """See `volovan.engine.task.Task`. loss.target multi_label or regression."""

    def __init__(self, recipe: Recipe, about: dict[str, Any] | None = None) -> None:
        """about: what a checkpoint says (`describe`), on resume."""
        check_recipe(recipe)
        self.recipe, self.about = recipe, about
        self.kind = recipe.loss.target
        self.goal = "map" if self.kind == "multi_label" else "-val_loss"
        self.outputs = Outputs(self.kind, ())
        self.positive_weight: Tensor | None = None
        self.model: nn.Module | None = None

    def build_data(self) -> TaskData:
        """Open the sources; makes the model too, since its weights decide mean, std and crop unless the recipe does."""
        data = self.recipe.data
        source, targets = open_targets(data.source, data.train_split, self.kind, data.limit)
        val, val_targets = open_targets(data.val or data.source, data.val_split, self.kind)
        if not len(source) or not len(val):
            raise SettingsError(f"{data.source}: pictures to train and to validate on are needed; one side has none")
        self.outputs = Outputs.of(targets, self.recipe.loss.regression)
        if self.kind == "multi_label":
            self.positive_weight = positive_weight(targets.values, self.recipe.loss.class_weights)
        self.model = make_network(self.recipe, len(self.outputs.names), self.about)
        transform, sized = train_transforms(self.recipe, self.model)
        notes = tuple(dict.fromkeys(note for note in (source.note, val.note) if note))
        return TaskData(
            TargetSamples(source, self.outputs.encode(targets), transform, sized),
            TargetSamples(val, self.outputs.encode(val_targets), transform.evaluate),
            collate,
            notes,
            tuple(sized),
        )

    def build_model(self) -> nn.Module:
        if self.model is None:
            raise RuntimeError("build_data comes before build_model")
        return self.model

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        output, target, settings = model(batch["image"]), batch["label"], self.recipe.loss
        if self.kind == "multi_label":
            weight = self.positive_weight.to(output.device) if self.positive_weight is not None else None
            return multi_label_loss(output, target, smoothing=settings.smoothing, positive_weight=weight)
        return regression_loss(output, target, name=settings.regression)

    def new_metric(self, device: torch.device) -> MultiLabelMetric | RegressionMetric:
        return self.outputs.metric(device)

    def describe(self) -> dict[str, Any]:
        model = self.build_model()
        return {
            "task": "classify",
            "config": asdict(model.config),  # type: ignore[call-overload]
            "preprocessing": asdict(model.preprocessing),  # type: ignore[call-overload]
            "eval_mode": self.recipe.data.eval_mode,
            "classes": list(self.outputs.names),
            "target": self.outputs.describe(),
        }

    def draw(self, metric: Any, folder: Path) -> list[Path]:
        return []


def positive_weight(values: np.ndarray, setting: str | Sequence[float]) -> Tensor | None:
    """(K,) weights of the pictures to which a class applies, or None. balanced: (N - n_k) / n_k."""
    if setting == "none":
        return None
    applies = torch.from_numpy(values.astype(np.float64)).sum(0)
    if setting == "balanced":
        return ((len(values) - applies) / applies.clamp(min=1)).float()
    weights = torch.tensor([float(value) for value in setting])
    if len(weights) != len(applies) or (weights < 0).any():
        raise SettingsError(f"loss.class_weights holds {len(weights)} numbers; {len(applies)} >= 0 are needed")
    return weights
