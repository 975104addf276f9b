"""A segmenter that is ready to use, from whatever the user names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from volovan.data.masks import MaskSource
from volovan.engine.settings import SettingsError
from volovan.files.checkpoint import CheckpointError, read_checkpoint
from volovan.files.runs import best_checkpoint
from volovan.models.preprocessing import Preprocessing
from volovan.segment.network import Segmenter
from volovan.segment.recipe import Recipe, TestSettings
from volovan.segment.task import build_described, make_network


@dataclass
class ReadySegmenter:
    """Network in eval mode, what its outputs are called and drawn with, and how pictures are put through it."""

    name: str
    model: Segmenter
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    test: TestSettings

    @property
    def preprocessing(self) -> Preprocessing:
        return self.model.preprocessing


def load_segmenter(spec: str, device: torch.device | str = "cpu") -> ReadySegmenter:
    """From a run folder (its best checkpoint), or a checkpoint file of a run."""
    path = Path(spec)
    if path.is_dir():
        path = best_checkpoint(path)
    elif not (path.suffix == ".safetensors" and path.is_file()):
        raise SettingsError(f"{spec!r} is no run folder and no .safetensors checkpoint of a run")
    tree = read_checkpoint(path)
    about: dict[str, Any] = tree.get("task", {})
    if about.get("task") != "segment":
        raise CheckpointError(f"{path} is no checkpoint of a segmentation run")
    model = build_described(about)
    model.load_state_dict(tree["ema"] if "ema" in tree else tree["model"])
    palette = tuple((red, green, blue) for red, green, blue in about["palette"])
    return _ready(str(path), model, tuple(about["classes"]), palette, _test_of(about["test"]), device)


def segmenter_of_recipe(
    recipe: Recipe, weights: str, source: MaskSource, device: torch.device | str = "cpu"
) -> ReadySegmenter:
    """The network of a recipe with weights of one's own, such as published ones; the classes are those of the data."""
    recipe.model.weights = weights
    model = make_network(recipe, source.classes)
    name = f"{recipe.model.name} with {recipe.model.head}, {weights}"
    return _ready(name, model, source.classes, source.palette, recipe.test, device)


def _ready(
    name: str,
    model: Segmenter,
    classes: tuple[str, ...],
    palette: tuple[tuple[int, int, int], ...],
    test: TestSettings,
    device: torch.device | str,
) -> ReadySegmenter:
    return ReadySegmenter(name, model.eval().requires_grad_(False).to(device), classes, palette, test)


def _test_of(about: dict[str, Any]) -> TestSettings:
    """The settings as the checkpoint has them; JSON knows no tuples."""
    kept: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in about.items()}
    return TestSettings(**kept)
