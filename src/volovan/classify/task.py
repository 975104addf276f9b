"""The classification task: model, loss, metric and pictures behind the engine's protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from volovan.classify.data import ClassSamples, class_weights, refuse_unlike
from volovan.classify.draw import draw_confusion
from volovan.classify.losses import classification_loss
from volovan.classify.metrics import ClassificationMetric
from volovan.classify.network import ClassifierTask, train_transforms
from volovan.classify.recipe import Recipe
from volovan.classify.targets import TargetTask
from volovan.classify.token_labels import LabelMaps, TokenLoss
from volovan.classify.transforms import Mixing
from volovan.data.source import Source
from volovan.engine.figures import MOST_CLASSES
from volovan.engine.task import Loss


def classification_task(recipe: Recipe, about: dict[str, Any] | None = None) -> ClassifyTask | TargetTask:
    """The task that loss.target asks for; about: what a checkpoint says, on resume."""
    return (ClassifyTask if recipe.loss.target == "class" else TargetTask)(recipe, about)


class ClassifyTask(ClassifierTask):
    """One class for each picture."""

    goal = "top1"

    def __init__(self, recipe: Recipe, about: dict[str, Any] | None = None) -> None:
        super().__init__(recipe, about)
        self.weight: Tensor | None = None
        self.mixing: Mixing | None = None
        self.token_loss: TokenLoss | None = None

    def check_source(self, source: Source, spec: str) -> None:
        refuse_unlike("class", source, spec)

    def readers(self, train: Source, val: Source) -> tuple[ClassSamples, ClassSamples]:
        model, augment, labels, maps = self.build_model(), self.recipe.augment, self.recipe.labels, None
        transform, sized = train_transforms(self.recipe, model)
        if labels.source:
            maps = LabelMaps(labels.source, labels.coverage, self.classes)
            maps.refuse_gaps(train)
        if maps or augment.mixtoken > 0:
            self.token_loss = TokenLoss(self.recipe, model, len(self.classes))
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
        if "confusion" not in metric.totals or len(self.classes) > MOST_CLASSES:
            return []
        return [draw_confusion(metric.totals["confusion"].cpu(), self.classes, folder / "confusion.png")]
