"""The pose task: network, loss, metric and pictures behind the engine's protocol."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from volovan.data.objects.skeleton import Skeleton
from volovan.data.objects.teaching import useless_objects
from volovan.data.samples import skeleton_of
from volovan.data.source import Source
from volovan.engine.settings import SettingsError
from volovan.pose.data import EvalSamples, TrainSamples, View
from volovan.pose.draw import draw_figures
from volovan.pose.heatmaps import heat_loss
from volovan.pose.inference import Reading, find_annotated
from volovan.pose.metrics import PoseMetric
from volovan.pose.network import PoseModel
from volovan.pose.recipe import Recipe
from volovan.room.task import RoomTask
from volovan.room.views import pixels


class PoseTask(RoomTask):
    """Named points of objects."""

    room: ClassVar[str] = "pose"
    net: ClassVar = PoseModel
    kind = "points"
    smaller: ClassVar[str] = "--data.size"
    headline: ClassVar = ("ap", "ap50", "ap75", "pck")
    goal = "ap"
    recipe: Recipe
    model: PoseModel | None
    skeleton: Skeleton
    objects: tuple[str, ...]

    def build_model(self) -> PoseModel:
        model: Any = super().build_model()
        return model

    def check_source(self, source: Source, spec: str, split: str) -> None:
        if why := useless_objects(spec, source, split):
            raise SettingsError(why)

    def learned(self, train: Source) -> tuple[str, ...]:
        """Names of the points; the skeleton and the classes of objects go with them."""
        skeleton = skeleton_of(train)
        assert skeleton is not None  # as its kind says
        self.skeleton, self.objects = skeleton, tuple(train.classes)
        return skeleton.names

    def readers(self, train: Source, val: Source) -> tuple[TrainSamples, EvalSamples]:
        data, seen = self.recipe.data, self.build_model().preprocessing
        augment, target = self.recipe.augment, self.recipe.target
        view = View(data.size, data.padding, seen.mean, seen.std, self.skeleton, augment, target)
        learned = TrainSamples(train, view, self.classes, self.objects, data.least_points)
        return learned, EvalSamples(val, pixels, self.classes, self.objects)

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return heat_loss(model(batch["image"]).float(), batch["maps"], batch["learned"])

    def reading(self) -> Reading:
        data, target = self.recipe.data, self.recipe.target
        return Reading(data.size, data.padding, target.coding, target.aligned, self.skeleton)

    def new_metric(self, device: torch.device) -> PoseMetric:
        """Objects are found in the boxes that were annotated."""
        found = partial(find_annotated, reading=self.reading(), test=self.recipe.test)
        return PoseMetric(self.objects, self.skeleton, found, device)

    def says(self) -> dict[str, Any]:
        return {"test": asdict(self.recipe.test), "reading": asdict(self.reading()), "objects": list(self.objects)}

    def draw(self, metric: PoseMetric, folder: Path) -> list[Path]:
        return draw_figures(metric, folder)
