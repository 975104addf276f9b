"""Training, samples and score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from volovan.data.pictures.tensors import to_tensor
from volovan.room.data import Samples
from volovan.room.network import Example, network_of
from volovan.room.ready import PictureScore, zeros
from volovan.room.settings import Size, pair
from volovan.room.task import RoomTask

COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Squash:
    """A picture at the size of the network."""

    size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, picture: Image.Image) -> Tensor:
        return to_tensor(picture.resize(self.size[::-1]), self.mean, self.std)


class ColourSamples(Samples):
    """Pictures with their mean colour, 0 to 1."""

    def read(self, index: int, size: int | None = None) -> dict[str, Any]:
        picture = self.source.load(index)
        colour = torch.from_numpy(np.asarray(picture, dtype=np.float32).mean((0, 1)) / 255)
        return {"index": index, "image": self.at(size)(picture), "colour": colour}


class ColourMetric:
    """Mean absolute error."""

    def __init__(self, device: torch.device) -> None:
        self.totals = zeros({"count": 1, "error": 1}, device)
        self.rows: dict[int, PictureScore] = {}

    def update(self, model: nn.Module, batch: dict[str, Any]) -> None:
        errors = (model(batch["image"]).float() - batch["colour"]).abs().mean(1)
        self.totals["count"] += len(errors)
        self.totals["error"] += errors.sum()
        for index, error in zip(batch["index"].tolist(), errors.tolist(), strict=True):
            self.rows[index] = PictureScore(index, -error, f"off by {error:.3f}")

    def finish(self) -> dict[str, float]:
        return {"mae": float(self.totals["error"] / self.totals["count"])}


class ColourTask(RoomTask):
    """See `RoomTask`."""

    room, kind, smaller, goal = "colour", "class", "--data.size", "-mae"

    def learned(self, train: Any) -> tuple[str, ...]:
        return COLOURS

    def readers(self, train: Any, val: Any) -> tuple[ColourSamples, ColourSamples]:
        seen: Any = self.build_model().preprocessing

        def at(size: Size) -> Squash:
            return Squash(size, seen.mean, seen.std)

        return ColourSamples(train, *self.at_sizes(at)), ColourSamples(val, at(seen.input_size))

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return (model(batch["image"]).float() - batch["colour"]).square().mean()

    def new_metric(self, device: torch.device) -> ColourMetric:
        return ColourMetric(device)


def stand_in(recipe: Any, folder: Path, classes: int, batch: int, pictures: int) -> Iterator[str]:
    """Data for a rehearsal."""
    yield f"generated pictures for {recipe.data.source}"
    recipe.data.source, recipe.data.val = f"generated:2x{pictures}", f"generated:2x{batch}"


def example(recipe: Any, classes: int) -> Example:
    """The network of a recipe with random weights."""
    size = pair(recipe.data.size)
    return Example(network_of(None, recipe, len(COLOURS), size=size, weights=None).eval(), size)
