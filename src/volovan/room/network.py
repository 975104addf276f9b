"""The network of a recipe, or of a checkpoint, with the pictures that it expects."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from volovan.engine.settings import SettingsError
from volovan.models.config import ConfigError
from volovan.models.dense import DenseConfig, DenseModel, build_dense
from volovan.models.factory import create_dense, create_model
from volovan.models.preprocessing import Preprocessing
from volovan.models.variants import find_config
from volovan.models.weights.find import Weights
from volovan.room.settings import DenseSettings, RoomRecipe, Size, SizedSettings, pair

Kind = type[DenseModel] | None
"""of a network: a dense one, or None for a backbone alone"""


def network_of(
    kind: Kind,
    recipe: RoomRecipe,
    outputs: int | None,
    *,
    size: Size | None,
    weights: str | Weights | None,
    classes: Sequence[str] | None = None,
) -> Any:
    """The network of a recipe, with other weights perhaps.

    outputs  None: those of the weights, of a backbone alone
    size     (height, width) that it is built for
    classes  names of the outputs, where there are some: rows of a head in the weights follow them
    """
    model: Any = recipe.model
    how: dict[str, Any] = {"pretrained": True} if weights == "pretrained" else {"weights": weights}
    how |= {"num_classes": outputs, "classes": classes, "img_size": size, "drop_path_rate": model.drop_path_rate}
    try:
        if kind is None:
            made: Any = create_model(model.name, **how, **model.options)
        else:
            head = dict(model.head_options)
            how |= {"pyramid": head.pop("pyramid", "detail"), "trunk_options": model.options, "head_options": head}
            made = create_dense(kind, model.name, model.head, **how)
    except ConfigError as error:
        raise SettingsError(f"model: {error}") from error
    own, data = made.preprocessing, recipe.data
    seen = pair(data.eval_size or data.size) if isinstance(data, SizedSettings) else own.input_size
    made.preprocessing = replace(own, input_size=seen, mean=data.mean or own.mean, std=data.std or own.std)
    return made


def describe(room: str, model: Any, classes: Sequence[str], more: dict[str, Any]) -> dict[str, Any]:
    """What a network in use must be told to be made again (`Ready.described`), as JSON has it: a room adds more."""
    return {
        "task": room,
        "config": asdict(model.config),
        "preprocessing": asdict(model.preprocessing),
        "classes": list(classes),
        **more,
    }


def described(kind: Kind, about: dict[str, Any]) -> Any:
    """The network that a checkpoint describes, with random weights."""
    config = about["config"]
    model: Any = create_model(**config) if kind is None else build_dense(kind, DenseConfig(**config))
    model.preprocessing = Preprocessing.described(about["preprocessing"])
    return model


def with_tuples(said: dict[str, Any]) -> dict[str, Any]:
    """Settings as a checkpoint's JSON has them, with tuples for its lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}


def differences(recipe: RoomRecipe, config: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key of the recipe, value in the config that a checkpoint describes, value in the recipe) of the network."""
    model = recipe.model
    base = find_config(model.name)
    trunk = base.renamed(config.get("trunk", config))
    now = {"name": model.name, "drop_path_rate": model.drop_path_rate, **base.renamed(model.options)}
    said = [(f"model.{key}", trunk.get(key), value) for key, value in now.items()]
    if not isinstance(model, DenseSettings):
        return said
    held = {**config["head_options"], "pyramid": config["pyramid"]}
    head = [(f"model.head_options.{key}", held[key], value) for key, value in model.head_options.items() if key in held]
    return [*said, ("model.head", config["head"], model.head), *head]


def freeze_norms(trunk: nn.Module) -> None:
    """Its BatchNorms learn no more: the engine keeps statistics whose weights do not learn."""
    for module in trunk.modules():
        if isinstance(module, _BatchNorm):
            module.requires_grad_(False)


@dataclass(frozen=True)
class Example:
    """A network of a recipe with random weights, and what a forward pass of a training step is, for a rehearsal.

    size      (height, width) of its pictures
    pictures  at least so many at once
    forward   keywords of the call
    """

    model: nn.Module
    size: Size
    pictures: int = 1
    forward: dict[str, Any] = field(default_factory=dict)
