"""Tasks whose pictures have several labels, or numbers: samples, loss and metric behind the engine's protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from volovan.classify.data import FOUND, KINDS, LOSS_TARGETS, refuse_unlike, stacked
from volovan.classify.losses import multi_label_loss, regression_loss
from volovan.classify.network import ClassifierTask, train_transforms
from volovan.classify.recipe import Recipe
from volovan.classify.target_metrics import MultiLabelMetric, RegressionMetric
from volovan.data.source import Source
from volovan.data.targets import Targets, targets_of
from volovan.engine.settings import SettingsError


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
        return {"index": index, "image": transform(self.source.load(index)), "label": label}

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """{"index": (B,), "image": (B, 3, H, W), "label": (B, K)}, the two float32."""
        return stacked(samples, ("index", "image", "label"))


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
        kind = LOSS_TARGETS[targets.kind]
        if kind == "multi_label":
            return cls(kind, targets.names)
        std = targets.values.std(0)
        std[std == 0] = 1  # a number that never changes
        return cls(kind, targets.names, tuple(targets.values.mean(0).tolist()), tuple(std.tolist()), loss)

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

    def encode(self, source: Source) -> np.ndarray:
        """(N, K): what the network shall say. Columns are found by name; a class that the data lack never applies."""
        targets = found_in(source)
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


def found_in(source: Source) -> Targets:
    """The targets of a source; SettingsError if it has none."""
    targets = targets_of(source)
    if targets is None:
        raise SettingsError(f"the data have {FOUND.get(source.kind, 'no labels')}, the network learns others")
    return targets


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"


class TargetTask(ClassifierTask):
    """loss.target multi_label or regression."""

    def __init__(self, recipe: Recipe, about: dict[str, Any] | None = None) -> None:
        super().__init__(recipe, about)
        self.target = recipe.loss.target
        self.kind = KINDS[self.target]
        self.goal = "map" if self.target == "multi_label" else "-val_loss"
        self.outputs = Outputs(self.target, ())
        self.positive_weight: Tensor | None = None

    def check_source(self, source: Source, spec: str) -> None:
        refuse_unlike(self.target, source, spec)

    def learned(self, train: Source) -> tuple[str, ...]:
        return tuple(train.classes)

    def readers(self, train: Source, val: Source) -> tuple[TargetSamples, TargetSamples]:
        targets = found_in(train)
        self.outputs = Outputs.of(targets, self.recipe.loss.regression)
        if self.target == "multi_label":
            self.positive_weight = positive_weight(targets.values, self.recipe.loss.class_weights)
        transform, sized = train_transforms(self.recipe, self.build_model())
        ours = TargetSamples(train, self.outputs.encode(train), transform, sized)
        return ours, TargetSamples(val, self.outputs.encode(val), transform.evaluate)

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        output, target, settings = model(batch["image"]), batch["label"], self.recipe.loss
        if self.target == "multi_label":
            weight = self.positive_weight.to(output.device) if self.positive_weight is not None else None
            return multi_label_loss(output, target, smoothing=settings.smoothing, positive_weight=weight)
        return regression_loss(output, target, name=settings.regression)

    def new_metric(self, device: torch.device) -> MultiLabelMetric | RegressionMetric:
        return self.outputs.metric(device)

    def says(self) -> dict[str, Any]:
        return {**super().says(), "target": self.outputs.describe()}


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
