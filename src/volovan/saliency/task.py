"""The saliency task: network, loss, metric and pictures behind the engine's protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from volovan.data.source import Source
from volovan.room.settings import Size
from volovan.room.task import RoomTask
from volovan.saliency.data import EvalSamples, TrainSamples, refuse_class_numbers
from volovan.saliency.draw import draw_curves
from volovan.saliency.losses import saliency_loss
from volovan.saliency.metrics import SaliencyMetric
from volovan.saliency.network import SaliencyModel
from volovan.saliency.recipe import Recipe
from volovan.saliency.transforms import EvalTransform, TrainTransform


class SaliencyTask(RoomTask):
    """How salient every pixel is."""

    room: ClassVar[str] = "saliency"
    net: ClassVar = SaliencyModel
    kind = "map"
    smaller: ClassVar[str] = "--data.size"
    goal = "-mae"
    recipe: Recipe
    model: SaliencyModel | None

    def check_source(self, source: Source, spec: str) -> None:
        refuse_class_numbers(source, spec)

    def learned(self, train: Source) -> tuple[str, ...]:
        return ("salient",)

    def readers(self, train: Source, val: Source) -> tuple[TrainSamples, EvalSamples]:
        data, augment = self.recipe.data, self.recipe.augment
        seen: Any = self.build_model().preprocessing

        def at(size: Size) -> TrainTransform:
            return TrainTransform(size, seen.mean, seen.std, augment, data.soft_masks)

        samples = TrainSamples(train, *self.at_sizes(at), augment.cutmix)
        return samples, EvalSamples(val, EvalTransform(seen.input_size, seen.mean, seen.std))

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return saliency_loss(model(batch["image"], deep=True), batch["mask"], self.recipe.loss)

    def new_metric(self, device: torch.device) -> SaliencyMetric:
        return SaliencyMetric(device)

    def draw(self, metric: SaliencyMetric, folder: Path) -> list[Path]:
        return [draw_curves(metric, folder / "curves.png")]
