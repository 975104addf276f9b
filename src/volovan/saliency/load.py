"""A saliency network that is ready to use, from whatever the user names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from volovan.engine.settings import SettingsError
from volovan.files.checkpoint import CheckpointError, read_checkpoint
from volovan.files.runs import best_checkpoint
from volovan.models.variants import list_models
from volovan.models.weights.dense import holds_head
from volovan.saliency.network import SaliencyModel, create_saliency_model
from volovan.saliency.recipe import Recipe
from volovan.saliency.task import build_described, make_network
from volovan.saliency.transforms import EvalTransform

LARGEST = 8192
"""pixels of a side that --size takes; more would only run out of memory, slowly"""


@dataclass
class Ready:
    """Network in eval mode on its device, and the transform of its pictures."""

    name: str
    model: SaliencyModel
    transform: EvalTransform

    def resized(self, words: list[Any] | None) -> Ready:
        """The same at another input size: --size 384, --size 384 512 (height, width) or --size native."""
        if not words:
            return self
        size = None if list(map(str, words)) == ["native"] else parse_size(words)
        return replace(self, transform=EvalTransform(size, self.transform.mean, self.transform.std))


def load_saliency(
    spec: str, weights: str | None = None, device: torch.device | str = "cpu", recipe: Recipe | None = None
) -> Ready:
    """From a run folder (its best checkpoint), a checkpoint file of a run, a recipe, or the name of a trunk.

    weights  for a recipe or a trunk's name: a file of a whole network, or a run folder
    """
    path = Path(spec)
    if path.is_dir():
        return _from_checkpoint(best_checkpoint(path), device)
    if path.suffix == ".safetensors" and path.is_file():
        return _from_checkpoint(path, device)
    if recipe is None and spec not in list_models():
        raise SettingsError(
            f"{spec!r} is no run folder, no .safetensors checkpoint and no model; `volovan models` lists the models"
        )
    if weights is None or not holds_head(SaliencyModel, weights):
        found = "no weights" if weights is None else f"{weights}, which holds no saliency network"
        raise SettingsError(f"{spec} has {found}; none are published: name a run, or a file of one with --weights")
    if recipe is None:
        return _ready(spec, create_saliency_model(spec, weights=weights), device)
    recipe.model.weights = weights
    return _ready(spec, make_network(recipe), device)


def _from_checkpoint(path: Path, device: torch.device | str) -> Ready:
    tree = read_checkpoint(path)
    about: dict[str, Any] = tree.get("task", {})
    if about.get("task") != "saliency":
        raise CheckpointError(f"{path} is no checkpoint of a saliency run")
    model = build_described(about)
    model.load_state_dict(tree["ema"] if "ema" in tree else tree["model"])
    return _ready(str(path), model, device)


def _ready(name: str, model: SaliencyModel, device: torch.device | str) -> Ready:
    model = model.eval().requires_grad_(False).to(device)
    seen = model.preprocessing
    return Ready(name, model, EvalTransform(seen.input_size, seen.mean, seen.std))


def parse_size(words: list[Any]) -> tuple[int, int]:
    """--size 384 or --size 384 512 -> (height, width)."""
    said = " ".join(map(str, words))
    if len(words) > 2 or not all(str(word).isdigit() for word in words):
        raise SettingsError(f"--size {said}: one number, height and width, or `native` are expected")
    numbers = [int(word) for word in words]
    if not 32 <= min(numbers) <= max(numbers) <= LARGEST:
        raise SettingsError(f"--size {said}: sides from 32 to {LARGEST} pixels are expected")
    return numbers[0], numbers[-1]
