"""The segmentation task: network, loss, metric and pictures behind the engine's protocol."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from volovan.data.masks.teaching import useless_masks
from volovan.data.samples import palette_of
from volovan.data.source import Source
from volovan.engine.settings import SettingsError
from volovan.room.task import RoomTask
from volovan.segment.data import EvalTransform, MaskSamples, TrainTransform, count_pixels
from volovan.segment.draw import draw_confusion
from volovan.segment.inference import segment
from volovan.segment.losses import balanced_weights, segmentation_loss
from volovan.segment.metrics import SegmentationMetric
from volovan.segment.network import Segmenter
from volovan.segment.recipe import Recipe


class SegmentTask(RoomTask):
    """A class for every pixel."""

    room: ClassVar[str] = "segment"
    net: ClassVar = Segmenter
    kind = "mask"
    smaller: ClassVar[str] = "--augment.crop"
    goal = "miou"
    recipe: Recipe
    model: Segmenter | None
    absent: tuple[int, ...] = ()
    """classes that the validation data do not know"""

    def check_source(self, source: Source, spec: str, split: str) -> None:
        if why := useless_masks(spec, source, split):
            raise SettingsError(why)

    def readers(self, train: Source, val: Source) -> tuple[MaskSamples, MaskSamples]:
        self.palette = palette_of(train)
        seen: Any = self.build_model().preprocessing
        samples = MaskSamples(train, TrainTransform(self.recipe.augment, seen.mean, seen.std), self.classes)
        self.weight = self.class_weights(samples)
        judged = MaskSamples(val, EvalTransform(seen.mean, seen.std), self.classes)
        self.absent = judged.absent
        return samples, judged

    def class_weights(self, samples: MaskSamples) -> Tensor | None:
        """(K,) as loss.class_weights asks."""
        asked, count = self.recipe.loss.class_weights, len(self.classes)
        if asked == "none":
            return None
        if asked == "balanced":
            return balanced_weights(count_pixels(samples)[:count])
        if len(asked) != count:
            raise SettingsError(
                f"loss.class_weights has {len(asked)} numbers, but the data have {count} classes; give one for each"
            )
        return torch.tensor(asked)

    def loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        images, masks = batch["image"], batch["mask"]
        if isinstance(images, list):
            sizes = sorted({f"{image.shape[1]}x{image.shape[2]}" for image in images})
            raise SettingsError(f"pictures of a batch have sizes {', '.join(sizes)}; set augment.crop to a window")
        weight = None if self.weight is None else self.weight.to(images.device)
        return segmentation_loss(model(images, deep=True), masks, self.recipe.loss, weight)

    def new_metric(self, device: torch.device) -> SegmentationMetric:
        how = partial(segment, test=self.recipe.test)
        return SegmentationMetric(len(self.classes), device, how, absent=self.absent)

    def says(self) -> dict[str, Any]:
        return {"palette": [list(colour) for colour in self.palette], "test": asdict(self.recipe.test)}

    def draw(self, metric: SegmentationMetric, folder: Path) -> list[Path]:
        return draw_confusion(metric.totals["confusion"].cpu(), self.classes, folder, self.palette)
