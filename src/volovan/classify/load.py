"""A classifier that is ready to use, from whatever the user names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from volovan.classify.metrics import ClassificationMetric
from volovan.classify.network import build_described, eval_transform
from volovan.classify.target_metrics import MultiLabelMetric, RegressionMetric
from volovan.classify.targets import Outputs
from volovan.classify.transforms import EvalTransform
from volovan.engine.settings import SettingsError
from volovan.files.checkpoint import CheckpointError, read_checkpoint
from volovan.files.runs import best_checkpoint
from volovan.models.factory import create_model
from volovan.models.preprocessing import Preprocessing
from volovan.models.variants import list_models


@dataclass
class Classifier:
    """Model in eval mode, the names of its outputs (numbers where none are known), and its transform.

    outputs: of a network that says several labels or numbers; None: one class for each picture.
    """

    name: str
    model: nn.Module
    classes: tuple[str, ...]
    transform: EvalTransform
    outputs: Outputs | None = None

    def resized(self, size: tuple[int, int] | None, crop_pct: float | None = None) -> Classifier:
        """The same at another input size, or with another crop."""
        seen: Preprocessing = self.model.preprocessing  # type: ignore[assignment]
        seen = replace(seen, input_size=size or seen.input_size, crop_pct=crop_pct or seen.crop_pct)
        return replace(self, transform=eval_transform(seen, self.transform.mode))

    def new_metric(self, device: torch.device) -> ClassificationMetric | MultiLabelMetric | RegressionMetric:
        """What `volovan validate` sums up of its predictions."""
        return self.outputs.metric(device) if self.outputs else ClassificationMetric(len(self.classes), device)


def load_classifier(spec: str, weights: str | None = None, device: torch.device | str = "cpu") -> Classifier:
    """From a run folder (its best checkpoint), a checkpoint file of a run, or a variant's name.

    weights: for a variant's name, a file or a name of the weights table; None takes the published ones.
    """
    path = Path(spec)
    if path.is_dir():
        return _from_checkpoint(best_checkpoint(path), device)
    if path.suffix == ".safetensors" and path.is_file():
        return _from_checkpoint(path, device)
    if spec not in list_models():
        raise SettingsError(
            f"{spec!r} is no run folder, no .safetensors checkpoint and no model; `volovan models` lists the models"
        )
    model = create_model(spec, pretrained=weights is None, weights=weights, num_classes=None)
    return _ready(spec, model, _class_names(model.config.num_classes), "center", device)


def _from_checkpoint(path: Path, device: torch.device | str) -> Classifier:
    tree = read_checkpoint(path)
    about: dict[str, Any] = tree.get("task", {})
    if about.get("task") != "classify":
        raise CheckpointError(f"{path} is no checkpoint of a classification run")
    model = build_described(about)
    model.load_state_dict(tree["ema"] if "ema" in tree else tree["model"])
    ready = _ready(str(path), model, tuple(about["classes"]), about["eval_mode"], device)
    return replace(ready, outputs=Outputs.described(about))


def _ready(name: str, model: nn.Module, classes: Sequence[str], mode: str, device: torch.device | str) -> Classifier:
    model = model.eval().requires_grad_(False).to(device)
    seen: Preprocessing = model.preprocessing  # type: ignore[assignment]
    return Classifier(name, model, tuple(classes), eval_transform(seen, mode))


def _class_names(count: int) -> tuple[str, ...]:
    """ImageNet's names for 1000 outputs, numbers otherwise."""
    if count != 1000:
        return tuple(str(number) for number in range(count))
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo().label_descriptions())
