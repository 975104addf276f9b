"""The saliency task: network, loss, metric and pictures behind the engine's protocol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from volovan.engine.resume import refuse_another_network
from volovan.engine.task import TaskData
from volovan.models.preprocessing import Preprocessing
from volovan.saliency.data import EvalSamples, TrainSamples, open_pairs, take
from volovan.saliency.draw import draw_curves
from volovan.saliency.losses import saliency_loss
from volovan.saliency.network import SaliencyConfig, SaliencyModel, build_saliency_model, create_saliency_model
from volovan.saliency.recipe import ModelSettings, Recipe, check_recipe, size_of
from volovan.saliency.scoring import SaliencyMetric
from volovan.saliency.transforms import EvalTransform, Size, TrainTransform


class SaliencyTask:
    """How salient every pixel is. See `volovan.engine.task.Task`."""

    goal = "-mae"
    smaller = "--data.size"

    def __init__(self, recipe: Recipe, about: dict[str, Any] | None = None) -> None:
        """about: what a checkpoint says (`describe`), on resume: weights to start from are not needed again then."""
        check_recipe(recipe)
        self.recipe, self.about = recipe, about
        self.model: SaliencyModel | None = None

    def build_data(self) -> TaskData:
        """Open the sources; makes the network too, since its weights may decide mean and std."""
        data, augment = self.recipe.data, self.recipe.augment
        source = take(open_pairs(data.source, data.train_split), data.limit)
        val = open_pairs(data.val or data.source, data.val_split, "data.val")
        self.model = make_network(self.recipe, self.about)
        seen = self.model.preprocessing

        def at(size: Size) -> TrainTransform:
            return TrainTransform(size, seen.mean, seen.std, augment, data.soft_masks)

        sized = {side: at((side, side)) for side in data.mixed_sizes}
        samples = TrainSamples(source, at(size_of(data.size)), sized, augment.cutmix)
        ready = EvalSamples(val, EvalTransform(seen.input_size, seen.mean, seen.std))
        notes = tuple(dict.fromkeys(note for note in (source.note, val.note) if note))
        return TaskData(samples, ready, notes, tuple(sized))

    def build_model(self) -> SaliencyModel:
        if self.model is None:
            raise RuntimeError("build_data comes before build_model")
        return self.model

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return saliency_loss(model(batch["image"], deep=True), batch["mask"], self.recipe.loss)

    def new_metric(self, device: torch.device) -> SaliencyMetric:
        return SaliencyMetric(device)

    def describe(self) -> dict[str, Any]:
        model = self.build_model()
        return {"task": "saliency", "config": asdict(model.config), "preprocessing": asdict(model.preprocessing)}

    def draw(self, metric: SaliencyMetric, folder: Path) -> list[Path]:
        return [draw_curves(metric, folder / "curves.png")]


def make_network(recipe: Recipe, about: dict[str, Any] | None = None) -> SaliencyModel:
    """What the recipe asks for, with ImageNet's mean and std, or those of its weights, unless the recipe says.

    about: what a checkpoint says, on resume.
    """
    settings, data = recipe.model, recipe.data
    if about is not None:
        refuse_another_network(_compared(settings, about["config"]))
        return build_described(about)
    options = dict(settings.head_options)
    published = settings.weights == "pretrained"
    model = create_saliency_model(
        settings.name,
        settings.head,
        pretrained=published,
        weights=None if published else settings.weights,
        img_size=size_of(data.size),
        drop_path_rate=settings.drop_path_rate,
        trunk_options=settings.options,
        pyramid=options.pop("pyramid", "detail"),
        head_options=options,
    )
    own = model.preprocessing
    model.preprocessing = replace(
        own, input_size=size_of(data.eval_size or data.size), mean=data.mean or own.mean, std=data.std or own.std
    )
    return model


def _compared(settings: ModelSettings, config: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(key, value at the checkpoint, value in the recipe now) of what makes the network."""
    trunk = {"name": settings.name, "drop_path_rate": settings.drop_path_rate, **settings.options}
    held = {**config["head_options"], "pyramid": config["pyramid"]}
    yield from ((f"model.{key}", config["trunk"].get(key), value) for key, value in trunk.items())
    yield "model.head", config["head"], settings.head
    yield from (
        (f"model.head_options.{key}", held[key], value) for key, value in settings.head_options.items() if key in held
    )


def build_described(about: dict[str, Any]) -> SaliencyModel:
    """The network that a checkpoint describes, with random weights."""
    model = build_saliency_model(SaliencyConfig(**about["config"]))
    model.preprocessing = Preprocessing.described(about["preprocessing"])
    return model
