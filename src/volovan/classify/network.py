"""The network of a recipe or of a checkpoint, with the pictures that it expects."""

from __future__ import annotations

from typing import Any

from torch import nn

from volovan.classify.recipe import ModelSettings, Recipe, size_of
from volovan.classify.transforms import EvalTransform, TrainTransform
from volovan.engine.resume import refuse_another_network
from volovan.engine.settings import SettingsError
from volovan.models.factory import create_model
from volovan.models.preprocessing import Preprocessing


def make_network(recipe: Recipe, outputs: int, about: dict[str, Any] | None = None) -> nn.Module:
    """What the recipe asks for, with `outputs` outputs; the mean, std and crop of its weights unless the recipe says.

    about: what a checkpoint says, on resume: weights to start from are not needed again then.
    """
    settings, data = recipe.model, recipe.data
    if about is not None:
        _refuse_another_model(settings, about["config"])
        return build_described(about)
    weights = settings.weights
    published = weights == "pretrained"
    model = create_model(
        settings.name,
        pretrained=published,
        weights=None if published else weights,
        num_classes=outputs,
        img_size=size_of(data.size),
        drop_path_rate=settings.drop_path_rate,
        **settings.options,
    )
    own: Preprocessing = model.preprocessing
    model.preprocessing = Preprocessing(
        input_size=size_of(data.eval_size or data.size),
        mean=data.mean or own.mean,
        std=data.std or own.std,
        interpolation=own.interpolation,
        crop_pct=data.crop_pct or own.crop_pct,
    )
    return model


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
    return at(size_of(recipe.data.size)), {side: at((side, side)) for side in sizes}


def eval_transform(seen: Preprocessing, mode: str = "center") -> EvalTransform:
    """The validation transform that a model's `preprocessing` describes."""
    return EvalTransform(seen.input_size, seen.mean, seen.std, seen.crop_pct, seen.interpolation, mode)


def _refuse_another_model(settings: ModelSettings, config: dict[str, Any]) -> None:
    """SettingsError if the recipe of a run was edited to another network than its checkpoint holds."""
    now = {"name": settings.name, "drop_path_rate": settings.drop_path_rate, **settings.options}
    refuse_another_network((f"model.{key}", config.get(key), value) for key, value in now.items())


def build_described(about: dict[str, Any]) -> nn.Module:
    """The network that a checkpoint describes, with random weights."""
    model = create_model(**about["config"])
    model.preprocessing = Preprocessing.described(about["preprocessing"])
    return model
