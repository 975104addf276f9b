"""What both tasks of classification share: the network, and how it sees pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from torch import nn

from volovan.classify.recipe import Recipe
from volovan.classify.transforms import EvalTransform, TrainTransform
from volovan.engine.settings import SettingsError
from volovan.models.preprocessing import Preprocessing
from volovan.room.network import backbone_of, described_backbone, set_statistics
from volovan.room.settings import pair
from volovan.room.task import RoomTask


class ClassifierTask(RoomTask):
    """A backbone with as many outputs as there are classes, or numbers."""

    room: ClassVar[str] = "classify"
    kind = "class"
    smaller: ClassVar[str] = "--data.size"
    recipe: Recipe

    def network(self) -> nn.Module:
        data = self.recipe.data
        model = backbone_of(self.recipe.model, len(self.classes), pair(data.size))
        set_statistics(model, data, pair(data.eval_size or data.size))
        model.preprocessing = replace(model.preprocessing, crop_pct=data.crop_pct or model.preprocessing.crop_pct)
        return model

    def described(self, about: dict[str, Any]) -> nn.Module:
        return described_backbone(about)

    def sizes(self) -> tuple[int, ...]:
        return self.recipe.data.mixed_sizes

    def says(self) -> dict[str, Any]:
        return {"eval_mode": self.recipe.data.eval_mode}


def train_transforms(recipe: Recipe, model: nn.Module) -> tuple[TrainTransform, dict[int, TrainTransform]]:
    """The training transform at data.size, and those of data.mixed_sizes by size."""
    seen: Preprocessing = model.preprocessing  # type: ignore[assignment]
    evaluate = eval_transform(seen, recipe.data.eval_mode)

    def at(size: tuple[int, int]) -> TrainTransform:
        return TrainTransform(size, seen.mean, seen.std, recipe.augment, evaluate)

    sizes = recipe.data.mixed_sizes
    least = getattr(model.config, "least_size", 1)
    if sizes and min(sizes) < least:
        raise SettingsError(f"data.mixed_sizes has {min(sizes)}; this model needs {least} pixels at least")
    return at(pair(recipe.data.size)), {side: at((side, side)) for side in sizes}


def eval_transform(seen: Preprocessing, mode: str = "center") -> EvalTransform:
    """The validation transform that a model's `preprocessing` describes."""
    return EvalTransform(seen.input_size, seen.mean, seen.std, seen.crop_pct, seen.interpolation, mode)
