"""The network of a recipe, or of a checkpoint, with the pictures that it expects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from torch import nn

from volovan.models.dense import DenseConfig, DenseModel, build_dense
from volovan.models.factory import create_model
from volovan.models.preprocessing import Preprocessing
from volovan.room.settings import DenseSettings, RoomRecipe, Size, SourceSettings, TrunkSettings

DenseT = TypeVar("DenseT", bound=DenseModel)


def backbone_of(model: TrunkSettings, outputs: int | None, img_size: Size) -> Any:
    """The backbone of a recipe; outputs None: those of its weights."""
    return create_model(
        model.name,
        num_classes=outputs,
        img_size=img_size,
        drop_path_rate=model.drop_path_rate,
        **_weights(model),
        **model.options,
    )


def dense_of(create: Callable[..., DenseT], model: DenseSettings, classes: int, img_size: Size | None) -> DenseT:
    """The dense network of a recipe; create: `create_segmenter` or its like."""
    options = dict(model.head_options)
    return create(
        model.name,
        model.head,
        classes,
        img_size=img_size,
        drop_path_rate=model.drop_path_rate,
        trunk_options=model.options,
        pyramid=options.pop("pyramid", "detail"),
        head_options=options,
        **_weights(model),
    )


def _weights(model: TrunkSettings) -> dict[str, Any]:
    """What model.weights asks for, as keywords."""
    return {"pretrained": True} if model.weights == "pretrained" else {"weights": model.weights}


def set_statistics(model: Any, data: SourceSettings, size: Size | None = None) -> None:
    """Mean and std of the pictures as the recipe says, else those of the weights; and another size for validation."""
    own: Preprocessing = model.preprocessing
    size = size or own.input_size
    model.preprocessing = replace(own, input_size=size, mean=data.mean or own.mean, std=data.std or own.std)


def described_backbone(about: dict[str, Any]) -> nn.Module:
    """The backbone that a checkpoint describes, with random weights."""
    model = create_model(**about["config"])
    model.preprocessing = Preprocessing.described(about["preprocessing"])
    return model


def described_dense(kind: type[DenseT], about: dict[str, Any]) -> DenseT:
    """The dense network that a checkpoint describes, with random weights."""
    model = build_dense(kind, DenseConfig(**about["config"]))
    model.preprocessing = Preprocessing.described(about["preprocessing"])
    return model


def differences(recipe: RoomRecipe, config: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key of the recipe, value in the config that a checkpoint describes, value in the recipe) of the network."""
    model = recipe.model
    trunk = config.get("trunk", config)
    now = {"name": model.name, "drop_path_rate": model.drop_path_rate, **model.options}
    said = [(f"model.{key}", trunk.get(key), value) for key, value in now.items()]
    if not isinstance(model, DenseSettings):
        return said
    held = {**config["head_options"], "pyramid": config["pyramid"]}
    head = [(f"model.head_options.{key}", held[key], value) for key, value in model.head_options.items() if key in held]
    return [*said, ("model.head", config["head"], model.head), *head]
