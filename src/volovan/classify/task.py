"""The classification task: model, loss, metric and pictures behind the engine's protocol."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from volovan.classify.data import ClassSamples, class_weights, collate, open_labelled, take
from volovan.classify.draw import draw_confusion
from volovan.classify.losses import classification_loss
from volovan.classify.metrics import ClassificationMetric
from volovan.classify.recipe import ModelSettings, Recipe, check_recipe, size_of
from volovan.classify.token_labels import LabelMaps, TokenLoss
from volovan.classify.transforms import EvalTransform, Mixing, TrainTransform
from volovan.engine.checkpoint import best_checkpoint
from volovan.engine.settings import SettingsError
from volovan.engine.task import TaskData
from volovan.models.factory import create_model
from volovan.models.preprocessing import Preprocessing


class ClassifyTask:
    """See `volovan.engine.task.Task`."""

    goal = "top1"

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
        self.model = self.make_model()
        seen: Preprocessing = self.model.preprocessing  # type: ignore[assignment]
        evaluate = eval_transform(seen, data.eval_mode)
        transform = TrainTransform(size_of(data.size), seen.mean, seen.std, augment, evaluate)
        sized = {side: TrainTransform((side, side), seen.mean, seen.std, augment, evaluate) for side in self.sizes()}
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
        return TaskData(samples, ClassSamples(val, evaluate, self.classes), collate, notes, tuple(sized))

    def sizes(self) -> tuple[int, ...]:
        """The mixed training sizes, each of which the model can take."""
        sizes = self.recipe.data.mixed_sizes
        least = getattr(self.build_model().config, "least_size", 1)
        if sizes and min(sizes) < least:
            raise SettingsError(f"data.mixed_sizes has {min(sizes)}; this model needs {least} pixels at least")
        return sizes

    def make_model(self) -> nn.Module:
        settings, data = self.recipe.model, self.recipe.data
        if self.about is not None:
            _refuse_another_model(settings, self.about["config"])
            return build_described(self.about)
        weights: str | Path | None = settings.weights
        if weights and Path(weights).is_dir():
            weights = best_checkpoint(Path(weights))
        published = weights == "pretrained"
        model = create_model(
            settings.name,
            pretrained=published,
            weights=None if published else weights,
            num_classes=len(self.classes),
            img_size=size_of(data.size),
            drop_path_rate=settings.drop_path_rate,
            **settings.options,
        )
        own: Preprocessing = model.preprocessing
        model.preprocessing = Preprocessing(
            input_size=size_of(data.eval_size or data.size),
            mean=data.mean or own.mean,
            std=data.std or own.std,
            interpolation=own.interpolation,
            crop_pct=data.crop_pct or own.crop_pct,
        )
        return model

    def build_model(self) -> nn.Module:
        if self.model is None:
            raise RuntimeError("build_data comes before build_model")
        return self.model

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
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


def eval_transform(seen: Preprocessing, mode: str = "center") -> EvalTransform:
    """The validation transform that a model's `preprocessing` describes."""
    return EvalTransform(seen.input_size, seen.mean, seen.std, seen.crop_pct, seen.interpolation, mode)


def _refuse_another_model(settings: ModelSettings, config: dict[str, Any]) -> None:
    """SettingsError if the recipe of a run was edited to another network than its checkpoint holds."""
    wanted = {"name": settings.name, "drop_path_rate": settings.drop_path_rate, **settings.options}
    for key, now in wanted.items():
        then = config.get(key)
        if (list(now) if isinstance(now, tuple) else now) != then:
            raise SettingsError(
                f"the model of recipe.yaml is not the one of the checkpoint: {key} was {then} and is {now} now. Put it "
                "back, or start a new run with --model.weights"
            )


def build_described(about: dict[str, Any]) -> nn.Module:
    """The network that a checkpoint describes, with random weights."""
    model = create_model(**about["config"])
    seen: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in about["preprocessing"].items()
    }
    model.preprocessing = Preprocessing(**seen)
    return model
