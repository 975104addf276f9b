"""The classification task: model, loss, metric and pictures behind the engine's protocol."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from volovan.classify.data import ClassSamples, class_weights, open_labelled, take
from volovan.classify.draw import draw_confusion
from volovan.classify.losses import classification_loss
from volovan.classify.metrics import ClassificationMetric
from volovan.classify.network import make_network, train_transforms
from volovan.classify.recipe import Recipe, check_recipe
from volovan.classify.targets import TargetTask
from volovan.classify.token_labels import LabelMaps, TokenLoss
from volovan.classify.transforms import Mixing
from volovan.engine.resume import refuse_other_names
from volovan.engine.settings import SettingsError
from volovan.engine.task import Loss, TaskData


def classification_task(recipe: Recipe, about: dict[str, Any] | None = None) -> ClassifyTask | TargetTask:
    """The task that loss.target asks for; about: what a checkpoint says, on resume."""
    return (ClassifyTask if recipe.loss.target == "class" else TargetTask)(recipe, about)


class ClassifyTask:
    """One class for each picture. See `volovan.engine.task.Task`."""

    goal = "top1"
    smaller = "--data.size"

    def __init__(self, recipe: Recipe, about: dict[str, Any] | None = None) -> None:
        """about: what a checkpoint says (`describe`), on resume: weights to start from are not needed again then."""
        check_recipe(recipe)
        self.recipe = recipe
        self.about = about
        self.classes: tuple[str, ...] = ()
        self.weight: Tensor | None = None
        self.mixing: Mixing | None = None
        self.token_loss: TokenLoss | None = None
        self.model: nn.Module | None = None

    def build_data(self) -> TaskData:
        """Open the sources; makes the model too, since its weights decide mean, std and crop unless the recipe does."""
        data, augment = self.recipe.data, self.recipe.augment
        source = take(open_labelled(data.source, data.train_split), data.limit)
        val = open_labelled(data.val or data.source, data.val_split)
        if not len(val):
            raise SettingsError(
                f"{data.val or data.source} leaves no picture to validate on; name other data with --data.val, or add "
                "pictures"
            )
        self.classes = tuple(source.classes)
        if len(self.classes) < 2:
            raise SettingsError(f"{data.source} has one class only ({self.classes[0]}); at least two are needed")
        if self.about is not None:
            refuse_other_names("classes", self.about["classes"], self.classes)
        self.model = make_network(self.recipe, len(self.classes), self.about)
        transform, sized = train_transforms(self.recipe, self.model)
        labels, maps = self.recipe.labels, None
        if labels.source:
            maps = LabelMaps(labels.source, labels.coverage, self.classes)
            maps.refuse_gaps(source)
        if maps or augment.mixtoken > 0:
            self.token_loss = TokenLoss(self.recipe, self.model, len(self.classes))
        samples = ClassSamples(source, transform, self.classes, maps, sized)
        numbers = samples.labels()  # refuses a sample without label now, not in the middle of an epoch
        self.weight = class_weights(numbers, self.recipe.loss.class_weights, len(self.classes))
        if augment.mixup > 0 or augment.cutmix > 0:
            self.mixing = Mixing(augment, self.recipe.loss.smoothing, len(self.classes))
        notes = tuple(dict.fromkeys(note for note in (source.note, val.note) if note))
        return TaskData(samples, ClassSamples(val, transform.evaluate, self.classes), notes, tuple(sized))

    def build_model(self) -> nn.Module:
        if self.model is None:
            raise RuntimeError("build_data comes before build_model")
        return self.model

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

    def describe(self) -> dict[str, Any]:
        model = self.build_model()
        return {
            "task": "classify",
            "config": asdict(model.config),  # type: ignore[call-overload]
            "preprocessing": asdict(model.preprocessing),  # type: ignore[call-overload]
            "eval_mode": self.recipe.data.eval_mode,
            "classes": list(self.classes),
        }

    def draw(self, metric: ClassificationMetric, folder: Path) -> list[Path]:
        if "confusion" not in metric.totals or len(self.classes) > 200:
            return []
        return [draw_confusion(metric.totals["confusion"].cpu(), self.classes, folder / "confusion.png")]
