"""The segmentation task: network, loss, metric and pictures behind the engine's protocol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from volovan.data.masks import MaskSource
from volovan.data.segmentation import open_masks, take_masks
from volovan.engine.resume import refuse_another_network, refuse_other_names
from volovan.engine.settings import SettingsError, expand_variables
from volovan.engine.task import TaskData
from volovan.models.preprocessing import Preprocessing
from volovan.segment.data import EvalSamples, EvalTransform, MaskSamples, count_pixels, refuse_unlabelled
from volovan.segment.draw import draw_confusion
from volovan.segment.inference import segment
from volovan.segment.losses import balanced_weights, segmentation_loss
from volovan.segment.metrics import SegmentationMetric
from volovan.segment.network import Segmenter, SegmenterConfig, build_segmenter, create_segmenter
from volovan.segment.recipe import ModelSettings, Recipe, check_recipe, pair_of
from volovan.segment.transforms import TrainTransform


class SegmentTask:
    """A class for every pixel. See `volovan.engine.task.Task`."""

    goal = "miou"
    smaller = "--augment.crop"

    def __init__(self, recipe: Recipe, about: dict[str, Any] | None = None) -> None:
        """about: what a checkpoint says (`describe`), on resume: weights to start from are not needed again then."""
        check_recipe(recipe)
        self.recipe, self.about = recipe, about
        self.source: MaskSource | None = None
        self.model: Segmenter | None = None
        self.weight: Tensor | None = None

    def build_data(self) -> TaskData:
        """Open the sources; makes the network too, since its weights decide mean and std unless the recipe does."""
        data = self.recipe.data
        source = open_masks(expand_variables(data.source), data.train_split)
        if data.limit is not None:
            source = take_masks(source, data.limit)
        val = open_masks(expand_variables(data.val or data.source), data.val_split)
        for part, key in ((source, "data.source"), (val, "data.val")):
            if not len(part):
                raise SettingsError(f"{data.val or data.source} has no picture for {key}; name other data, or add some")
        if len(source.classes) < 2:
            raise SettingsError(f"{data.source} has {len(source.classes)} class(es); at least two are needed")
        if self.about is not None:
            refuse_other_names("classes", self.about["classes"], source.classes)
        self.source = source
        self.model = make_network(self.recipe, source.classes, self.about)
        seen = self.model.preprocessing
        for part, spec in ((source, data.source), (val, data.val or data.source)):
            refuse_unlabelled(part, spec)
        samples = MaskSamples(source, TrainTransform(self.recipe.augment, seen.mean, seen.std), source.classes)
        self.weight = self.class_weights(samples)
        notes = tuple(dict.fromkeys(note for note in (source.note, val.note) if note))
        ready = EvalSamples(val, EvalTransform(seen.mean, seen.std), source.classes)
        return TaskData(samples, ready, notes)

    def class_weights(self, samples: MaskSamples) -> Tensor | None:
        """(K,) as loss.class_weights asks."""
        asked, count = self.recipe.loss.class_weights, len(samples.source.classes)
        if asked == "none":
            return None
        if asked == "balanced":
            return balanced_weights(count_pixels(samples)[:count])
        if len(asked) != count:
            raise SettingsError(f"loss.class_weights has {len(asked)} numbers, but the data have {count} classes")
        return torch.tensor(asked)

    def build_model(self) -> Segmenter:
        if self.model is None:
            raise RuntimeError("build_data comes before build_model")
        return self.model

    def loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        images, masks = batch["image"], batch["mask"]
        if isinstance(images, list):
            sizes = sorted({f"{image.shape[1]}x{image.shape[2]}" for image in images})
            raise SettingsError(f"pictures of a batch have sizes {', '.join(sizes)}; set augment.crop to a window")
        weight = None if self.weight is None else self.weight.to(images.device)
        return segmentation_loss(model(images, deep=True), masks, self.recipe.loss, weight)

    def new_metric(self, device: torch.device) -> SegmentationMetric:
        if self.source is None:
            raise RuntimeError("build_data comes before new_metric")
        return SegmentationMetric(len(self.source.classes), device, partial(segment, test=self.recipe.test))

    def describe(self) -> dict[str, Any]:
        model = self.build_model()
        assert self.source is not None  # build_model checks
        return {
            "task": "segment",
            "config": asdict(model.config),
            "preprocessing": asdict(model.preprocessing),
            "classes": list(self.source.classes),
            "palette": [list(colour) for colour in self.source.palette],
            "test": asdict(self.recipe.test),
        }

    def draw(self, metric: SegmentationMetric, folder: Path) -> list[Path]:
        if self.source is None or len(self.source.classes) > 60:
            return []
        folder.mkdir(parents=True, exist_ok=True)
        return [draw_confusion(metric.totals["confusion"].cpu(), self.source.classes, folder / "confusion.png")]


def make_network(recipe: Recipe, classes: tuple[str, ...], about: dict[str, Any] | None = None) -> Segmenter:
    """What the recipe asks for, with the mean and std of its weights unless the recipe says.

    about: what a checkpoint says, on resume.
    """
    settings, data = recipe.model, recipe.data
    if about is not None:
        refuse_another_network(_compared(settings, about["config"]))
        return build_described(about)
    options = dict(settings.head_options)
    published = settings.weights == "pretrained"
    crop = pair_of(recipe.augment.crop) if recipe.augment.crop is not None else None
    model = create_segmenter(
        settings.name,
        settings.head,
        len(classes),
        pretrained=published,
        weights=None if published else settings.weights,
        img_size=None if published else crop,
        drop_path_rate=settings.drop_path_rate,
        trunk_options=settings.options,
        pyramid=options.pop("pyramid", "detail"),
        head_options=options,
    )
    own = model.preprocessing
    model.preprocessing = replace(own, mean=data.mean or own.mean, std=data.std or own.std)
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


def build_described(about: dict[str, Any]) -> Segmenter:
    """The network that a checkpoint describes, with random weights."""
    model = build_segmenter(SegmenterConfig(**about["config"]))
    model.preprocessing = Preprocessing.described(about["preprocessing"])
    return model
