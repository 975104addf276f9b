"""Training, samples and score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from volovan.data.tensors import to_tensor
from volovan.room.network import backbone_of, described_backbone, set_statistics
from volovan.room.ready import PictureScore
from volovan.room.rehearsal import Example
from volovan.room.settings import pair
from volovan.room.task import RoomTask

COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Squash:
    """A picture at the size of the network."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, picture: Image.Image) -> Tensor:
        return to_tensor(picture.resize((self.size, self.size)), self.mean, self.std)


class Samples:
    """Pictures with their mean colour, 0 to 1."""

    def __init__(self, source: Any, transform: Squash) -> None:
        self.source, self.transform = source, transform

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def read(self, index: int) -> dict[str, Any]:
        picture = self.source.load(index)
        colour = torch.from_numpy(np.asarray(picture, dtype=np.float32).mean((0, 1)) / 255)
        return {"index": index, "image": self.transform(picture), "colour": colour}

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        batch = {key: [sample[key] for sample in samples] for key in ("index", "image", "colour")}
        return batch | {key: torch.stack(batch[key]) for key in ("image", "colour")}


class ColourMetric:
    """Mean absolute error."""

    def __init__(self, device: torch.device) -> None:
        self.totals = {"count": torch.zeros(1, device=device), "error": torch.zeros(1, device=device)}
        self.rows: dict[int, PictureScore] = {}

    def update(self, model: nn.Module, batch: dict[str, Any]) -> None:
        errors = (model(batch["image"]).float() - batch["colour"]).abs().mean(1)
        self.totals["count"] += len(errors)
        self.totals["error"] += errors.sum()
        for index, error in zip(batch["index"], errors.tolist(), strict=True):
            self.rows[index] = PictureScore(index, -error, f"off by {error:.3f}")

    def finish(self) -> dict[str, float]:
        return {"mae": float(self.totals["error"] / self.totals["count"])}


class ColourTask(RoomTask):
    """See `RoomTask`."""

    room, kind, smaller, goal = "colour", "class", "--data.size", "-mae"

    def learned(self, train: Any) -> tuple[str, ...]:
        return COLOURS

    def network(self) -> nn.Module:
        model = backbone_of(self.recipe.model, len(COLOURS), pair(self.recipe.data.size))
        set_statistics(model, self.recipe.data, pair(self.recipe.data.size))
        return model

    def described(self, about: dict[str, Any]) -> nn.Module:
        return described_backbone(about)

    def readers(self, train: Any, val: Any) -> tuple[Samples, Samples]:
        seen: Any = self.build_model().preprocessing
        transform = Squash(self.recipe.data.size, seen.mean, seen.std)
        return Samples(train, transform), Samples(val, transform)

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
    return Example(backbone_of(replace(recipe.model, weights=None), len(COLOURS), size).eval(), size)
