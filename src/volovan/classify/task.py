"""The classification tasks: one class for each picture, several, or numbers, behind the engine's protocol."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from volovan.classify.data import GOALS, KINDS, ClassSamples, class_weights, positive_weight, refuse_unlike
from volovan.classify.losses import classification_loss, multi_label_loss, regression_loss
from volovan.classify.metrics import ClassificationMetric, MultiLabelMetric, RegressionMetric
from volovan.classify.recipe import Recipe
from volovan.classify.targets import Outputs, TargetSamples, found_in
from volovan.classify.token_labels import LabelMaps, TokenLoss
from volovan.classify.transforms import Mixing, TrainTransform, eval_transform, with_crop
from volovan.data.source import Source
from volovan.engine.settings import SettingsError
from volovan.engine.task import Loss
from volovan.room.task import RoomTask


def classification_task(recipe: Recipe, about: dict[str, Any] | None = None) -> ClassifyTask | TargetTask:
    """The task that loss.target asks for; about: what a checkpoint says, on resume."""
    return (ClassifyTask if recipe.loss.target == "class" else TargetTask)(recipe, about)


class ClassifierTask(RoomTask):
    """A backbone with as many outputs as there are classes, or numbers."""

    room: ClassVar[str] = "classify"
    smaller: ClassVar[str] = "--data.size"
    recipe: Recipe

    def __init__(self, recipe: Recipe, about: dict[str, Any] | None = None) -> None:
        super().__init__(recipe, about)
        self.target = recipe.loss.target
        self.kind, self.goal = KINDS[self.target], GOALS[self.target]
        self.outputs = Outputs(self.target, ())  # of several labels or numbers: what they are, the data say

    def check_source(self, source: Source, spec: str, split: str) -> None:
        refuse_unlike(self.target, source, spec)

    def network(self) -> nn.Module:
        return with_crop(super().network(), self.recipe.data.crop_pct)

    def transforms(self) -> tuple[TrainTransform, dict[int, TrainTransform]]:
        """The training transform at data.size, and those of data.mixed_sizes by size."""
        data, model = self.recipe.data, self.build_model()
        seen: Any = model.preprocessing
        least = getattr(model.config, "least_size", 1)
        if data.mixed_sizes and min(data.mixed_sizes) < least:
            raise SettingsError(
                f"data.mixed_sizes has {min(data.mixed_sizes)}; this model needs {least} pixels at least"
            )
        augment, evaluate = self.recipe.augment, eval_transform(seen, data.eval_mode)
        return self.at_sizes(partial(TrainTransform, mean=seen.mean, std=seen.std, augment=augment, evaluate=evaluate))

    def says(self) -> dict[str, Any]:
        return {"eval_mode": self.recipe.data.eval_mode}


class ClassifyTask(ClassifierTask):
    """One class for each picture."""

    weight: Tensor | None = None
    mixing: Mixing | None = None
    token_loss: TokenLoss | None = None

    def readers(self, train: Source, val: Source) -> tuple[ClassSamples, ClassSamples]:
        augment, labels, maps = self.recipe.augment, self.recipe.labels, None
        transform, sized = self.transforms()
        if labels.source:
            maps = LabelMaps(labels.source, labels.coverage, self.classes)
            maps.refuse_gaps(train)
        if maps or augment.mixtoken > 0:
            self.token_loss = TokenLoss(self.recipe, self.build_model(), len(self.classes))
        samples = ClassSamples(train, transform, self.classes, maps, sized)
        numbers = samples.labels()  # refuses a sample without label now, not in the middle of an epoch
        self.weight = class_weights(numbers, self.recipe.loss.class_weights, len(self.classes))
        if augment.mixup > 0 or augment.cutmix > 0:
            self.mixing = Mixing(augment, self.recipe.loss.smoothing, len(self.classes))
        return samples, ClassSamples(val, transform.evaluate, self.classes)

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Loss:
        if self.token_loss:
            return self.token_loss(model, batch)
        images, target = batch["image"], batch["label"]
        if self.mixing:
            images, target = self.mixing(images, target)
        settings = self.recipe.loss
        weight = self.weight.to(images.device) if self.weight is not None else None
        return classification_loss(
            model(images), target, name=settings.name, smoothing=settings.smoothing, weight=weight
        )

    def new_metric(self, device: torch.device) -> ClassificationMetric:
        return ClassificationMetric(len(self.classes), device)

    def draw(self, metric: ClassificationMetric, folder: Path) -> list[Path]:
        return metric.draw(self.classes, folder)


class TargetTask(ClassifierTask):
    """loss.target multi_label or regression."""

    positive_weight: Tensor | None = None

    def readers(self, train: Source, val: Source) -> tuple[TargetSamples, TargetSamples]:
        targets = found_in(train)
        self.outputs = Outputs.of(targets, self.recipe.loss.regression)
        if self.target == "multi_label":
            self.positive_weight = positive_weight(targets.values, self.recipe.loss.class_weights)
        transform, sized = self.transforms()
        samples = TargetSamples(train, self.outputs, transform, sized)
        return samples, TargetSamples(val, self.outputs, transform.evaluate)

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
