"""The saliency task: network, loss, metric and pictures behind the engine's protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from volovan.data.source import Source
from volovan.room.network import dense_of, described_dense, set_statistics
from volovan.room.settings import pair
from volovan.room.task import RoomTask
from volovan.saliency.data import EvalSamples, TrainSamples, refuse_class_numbers
from volovan.saliency.draw import draw_curves
from volovan.saliency.losses import saliency_loss
from volovan.saliency.network import SaliencyModel, create_saliency_model
from volovan.saliency.recipe import Recipe
from volovan.saliency.scoring import SaliencyMetric
from volovan.saliency.transforms import EvalTransform, Size, TrainTransform


class SaliencyTask(RoomTask):
    """How salient every pixel is."""

    room: ClassVar[str] = "saliency"
    kind = "map"
    smaller: ClassVar[str] = "--data.size"
    goal = "-mae"
    recipe: Recipe
    model: SaliencyModel | None

    def check_source(self, source: Source, spec: str) -> None:
        refuse_class_numbers(source, spec)

    def learned(self, train: Source) -> tuple[str, ...]:
        return ("salient",)

    def network(self) -> SaliencyModel:
        data = self.recipe.data
        model = dense_of(create_saliency_model, self.recipe.model, 1, pair(data.size))
        set_statistics(model, data, pair(data.eval_size or data.size))
        return model

    def described(self, about: dict[str, Any]) -> SaliencyModel:
        return described_dense(SaliencyModel, about)

    def sizes(self) -> tuple[int, ...]:
        return self.recipe.data.mixed_sizes

    def readers(self, train: Source, val: Source) -> tuple[TrainSamples, EvalSamples]:
        data, augment = self.recipe.data, self.recipe.augment
        seen: Any = self.build_model().preprocessing

        def at(size: Size) -> TrainTransform:
            return TrainTransform(size, seen.mean, seen.std, augment, data.soft_masks)

        sized = {side: at((side, side)) for side in data.mixed_sizes}
        samples = TrainSamples(train, at(pair(data.size)), sized, augment.cutmix)
        return samples, EvalSamples(val, EvalTransform(seen.input_size, seen.mean, seen.std))

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return saliency_loss(model(batch["image"], deep=True), batch["mask"], self.recipe.loss)

    def new_metric(self, device: torch.device) -> SaliencyMetric:
        return SaliencyMetric(device)

    def draw(self, metric: SaliencyMetric, folder: Path) -> list[Path]:
        return [draw_curves(metric, folder / "curves.png")]
