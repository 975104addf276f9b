"""The detection task: network, loss, metric and pictures behind the engine's protocol."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from volovan.data.errors import BadImage
from volovan.data.objects.annotated import Annotated
from volovan.data.objects.teaching import useless_objects
from volovan.data.pictures.palettes import spread
from volovan.data.source import Source
from volovan.detect.data import (
    EvalSamples,
    TrainSamples,
    TrainTransform,
    rasters,
    shapes_of,
    taught_on,
    without_outline,
)
from volovan.detect.figures import draw_figures
from volovan.detect.inference import find, seen_by
from volovan.detect.metrics import DetectionMetric
from volovan.detect.network import Detector
from volovan.detect.objects import Objects, Outline
from volovan.detect.recipe import Recipe
from volovan.engine.settings import SettingsError
from volovan.engine.task import TaskData
from volovan.room.network import freeze_norms
from volovan.room.task import RoomTask


class DetectTask(RoomTask):
    """Boxes around objects, and their masks."""

    room: ClassVar[str] = "detect"
    net: ClassVar = Detector
    kind = "boxes"
    smaller: ClassVar[str] = "--augment.resize"
    headline: ClassVar = ("ap", "ap50", "ap75", "mask_ap", "mask_ap50", "mask_ap75")
    goal = "ap"
    recipe: Recipe
    model: Detector | None

    def check_source(self, source: Source, spec: str, split: str) -> None:
        if why := useless_objects(spec, source, split):
            raise SettingsError(why)
        if self.outlined:
            self.refuse_boxes_alone(source, spec)

    @property
    def outlined(self) -> bool:
        """Whether the recipe needs the outlines of objects."""
        head = Detector.find_head(self.recipe.model.head).build
        return getattr(head, "masks", False) or self.recipe.augment.copy_paste > 0

    def refuse_boxes_alone(self, source: Source, spec: str) -> None:
        """SettingsError where the first picture with objects has one without outline; others stop the loader."""
        for index in range(len(source)):
            try:
                there = source.target(index)
            except BadImage:
                continue
            if why := without_outline(there, source.classes):
                raise SettingsError(f"{spec}: {source.name(index)}: {why}")
            if len(there):
                return

    def build_data(self) -> TaskData:
        data = super().build_data()
        reader: Any = data.train
        groups = shapes_of(reader.source) if self.recipe.data.by_shape else None
        return TaskData(data.train, data.val, data.notes, groups=groups)

    def readers(self, train: Source, val: Source) -> tuple[TrainSamples, EvalSamples]:
        data, augment, net = self.recipe.data, self.recipe.augment, self.build_model()
        mean, std = net.preprocessing.mean, net.preprocessing.std
        taught = TrainTransform(augment, mean, std)
        samples = TrainSamples(taught_on(train, data.empty, data.repeat), taught, self.classes, self.outlined)
        judged = EvalSamples(val, seen_by(net, self.recipe.test), self.classes, net.masks)
        return samples, judged

    def build_model(self) -> Detector:
        """With frozen BatchNorm, where it is asked for."""
        model: Any = super().build_model()
        if self.recipe.model.frozen_norm:
            freeze_norms(model.trunk)
        return model

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        images = batch["image"]
        found: dict[str, Tensor] = model(
            images, [objects_of(there, images.device) for there in batch["annotated"]], batch["size"]
        )
        return found

    def new_metric(self, device: torch.device) -> DetectionMetric:
        test, masks = self.recipe.test, self.build_model().masks
        return DetectionMetric(self.classes, partial(find, test=test), masks, score=test.shown, device=device)

    def says(self) -> dict[str, Any]:
        return {"test": asdict(self.recipe.test)}

    def draw(self, metric: DetectionMetric, folder: Path) -> list[Path]:
        return draw_figures(metric, folder, spread(len(self.classes)))


def objects_of(there: Annotated, device: torch.device) -> Objects:
    """For the loss, from what the reader gives."""
    outlines = [Outline(torch.from_numpy(own.mask).to(device), own.x, own.y) for own in rasters(there)]
    boxes = torch.from_numpy(there.boxes.astype(np.float32)).to(device)
    return Objects(boxes, torch.from_numpy(there.labels).to(device), outlines)
