"""The panoptic task: network, loss, metric and pictures behind the engine's protocol."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from volovan.data.panoptic.teaching import useless_segments
from volovan.data.samples import palette_of, things_of
from volovan.data.source import Source
from volovan.engine.settings import SettingsError
from volovan.panoptic.data import EvalSamples, TrainSamples, TrainTransform, refuse_other_things
from volovan.panoptic.draw import draw_figures
from volovan.panoptic.inference import Answers, find_each
from volovan.panoptic.metrics import PanopticMetric
from volovan.panoptic.network import PanopticModel
from volovan.panoptic.recipe import Recipe, TestSettings
from volovan.room.network import freeze_norms
from volovan.room.task import RoomTask
from volovan.room.views import Fitted


class PanopticTask(RoomTask):
    """What every pixel belongs to: things one by one, and what is not counted as a whole."""

    room: ClassVar[str] = "panoptic"
    net: ClassVar = PanopticModel
    kind = "panoptic"
    smaller: ClassVar[str] = "--augment.crop"
    headline: ClassVar = ("pq", "pq_things", "pq_stuff", "sq", "rq")
    goal = "pq"
    recipe: Recipe
    model: PanopticModel | None
    things: tuple[bool, ...]

    def check_source(self, source: Source, spec: str, split: str) -> None:
        if why := useless_segments(spec, source, split):
            raise SettingsError(why)

    def learned(self, train: Source) -> tuple[str, ...]:
        """Names of the classes; which of them are things goes with them."""
        self.things, self.palette = things_of(train), palette_of(train)
        if self.about is not None and self.about["classes"] == list(train.classes):
            refuse_other_things(train.classes, self.things, self.about["things"], "the data")
        return tuple(train.classes)

    def readers(self, train: Source, val: Source) -> tuple[TrainSamples, EvalSamples]:
        seen = self.build_model().preprocessing
        taught = TrainTransform(self.recipe.augment, seen.mean, seen.std)
        judged = Fitted(self.recipe.test.size, seen.mean, seen.std)
        return (
            TrainSamples(train, taught, self.classes, self.things),
            EvalSamples(val, judged, self.classes, self.things),
        )

    def build_model(self) -> PanopticModel:
        """With frozen BatchNorm, where it is asked for."""
        model: Any = super().build_model()
        if self.recipe.model.frozen_norm:
            freeze_norms(model.trunk)
        return model

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        images = batch["image"]
        segments = [one.to(images.device) for one in batch["segments"]]
        found: dict[str, Tensor] = model(images, segments, self.recipe.loss)
        return found

    def new_metric(self, device: torch.device) -> PanopticMetric:
        found = partial(find, things=self.things, test=self.recipe.test)
        return PanopticMetric(self.classes, self.things, found, device)

    def says(self) -> dict[str, Any]:
        palette = [list(colour) for colour in self.palette]
        return {"test": asdict(self.recipe.test), "things": list(self.things), "palette": palette}

    def draw(self, metric: PanopticMetric, folder: Path) -> list[Path]:
        return draw_figures(metric, folder)


def find(model: Any, batch: dict[str, Any], things: tuple[bool, ...], test: TestSettings) -> list[Answers]:
    """What is found in the pictures of a batch, see `EvalSamples`."""
    return find_each(model, batch["image"], batch["picture_size"], things, test)
