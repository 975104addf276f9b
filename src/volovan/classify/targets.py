"""What a network says that does not name one class: several labels, or numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from volovan.classify.data import FOUND, LOSS_TARGETS, AnyTransform
from volovan.classify.metrics import MultiLabelMetric, RegressionMetric
from volovan.data.lists.targets import Targets, targets_of
from volovan.data.samples import load_reduced
from volovan.data.source import Source
from volovan.engine.settings import SettingsError
from volovan.files.classes import quoted
from volovan.room.data import Samples, matched, said_of


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

    def encode(self, source: Source) -> tuple[np.ndarray, str]:
        """(N, K): what the network shall say, and what is to be said of that. Columns are found by name; a class that
        the data lack never applies."""
        targets, numbers = found_in(source), self.kind == "regression"
        match = matched(targets.names, self.names, *(("column", "columns") if numbers else ("class", "classes")))
        if numbers and (absent := [self.names[place] for place in match.unwanted]):
            raise SettingsError(
                f"the data lack {quoted(absent)}, which the network has learned beside {quoted(targets.names)}; add a "
                f"column `value:{absent[0]}`"
            )
        values = np.zeros((len(targets.values), len(self.names)), dtype=targets.values.dtype)
        values[:, match.places] = targets.values
        return (values - self.mean) / self.std if numbers else values, said_of(match)

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


class TargetSamples(Samples):
    """Pictures of a source as {"image": `Pixels`, "label": (K,) float32}: 0 or 1, or standardised numbers.

    values (N, K): the targets.
    """

    def __init__(
        self,
        source: Source,
        outputs: Outputs,
        transform: AnyTransform,
        sized: Mapping[int, AnyTransform] | None = None,
    ) -> None:
        super().__init__(source, transform, sized)
        self.values, self.note = outputs.encode(source)

    def read(self, index: int, size: int | None = None) -> dict[str, Any]:
        label = torch.from_numpy(self.values[index].astype(np.float32))
        transform: AnyTransform = self.at(size)
        return {"index": index, "image": transform.read(partial(load_reduced, self.source, index)), "label": label}
