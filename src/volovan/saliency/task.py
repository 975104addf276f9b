"""The saliency task: network, loss, metric and pictures behind the engine's protocol."""

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from volovan.data.masks.teaching import useless_maps
from volovan.data.source import Source
from volovan.engine.settings import SettingsError
from volovan.room.task import RoomTask
from volovan.saliency.data import EvalSamples, EvalTransform, TrainSamples, TrainTransform
from volovan.saliency.draw import draw_curves
from volovan.saliency.losses import saliency_loss
from volovan.saliency.metrics import SaliencyMetric
from volovan.saliency.network import SaliencyModel
from volovan.saliency.recipe import Recipe


class SaliencyTask(RoomTask):
    """How salient every pixel is."""

    room: ClassVar[str] = "saliency"
    net: ClassVar = SaliencyModel
    kind = "map"
    smaller: ClassVar[str] = "--data.size"
    goal = "-mae"
    recipe: Recipe
    model: SaliencyModel | None

    def check_source(self, source: Source, spec: str, split: str) -> None:
        if why := useless_maps(spec, source, split):
            raise SettingsError(why)

    def learned(self, train: Source) -> tuple[str, ...]:
        return ("salient",)

    def readers(self, train: Source, val: Source) -> tuple[TrainSamples, EvalSamples]:
        seen: Any = self.build_model().preprocessing
        augment, soft = self.recipe.augment, self.recipe.data.soft_masks
        at = partial(TrainTransform, mean=seen.mean, std=seen.std, augment=augment, soft=soft)
        samples = TrainSamples(train, *self.at_sizes(at))
        return samples, EvalSamples(val, EvalTransform(seen.input_size, seen.mean, seen.std))

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return saliency_loss(model(batch["image"], deep=True), batch["mask"], self.recipe.loss)

    def new_metric(self, device: torch.device) -> SaliencyMetric:
        return SaliencyMetric(device)

    def draw(self, metric: SaliencyMetric, folder: Path) -> list[Path]:
        return [draw_curves(metric, folder / "curves.png")]
