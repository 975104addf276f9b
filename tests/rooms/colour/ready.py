"""The network in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from volovan.data.pictures.sheet import contact_sheet
from volovan.engine.settings import SettingsError
from volovan.room.cut import whole
from volovan.room.network import described
from volovan.room.ready import Answer, Ready, ReadyOptions
from volovan.room.settings import Size, at_least

from .task import COLOURS, ColourMetric, ColourSamples, Squash


@dataclass(frozen=True)
class Options(ReadyOptions):
    """digits: behind the point."""

    digits: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("--digits", self.digits, 1)


@dataclass(frozen=True)
class Colour(Answer):
    """Red, green and blue, 0 to 1."""

    colour: tuple[float, ...]
    digits: int

    def row(self) -> dict[str, Any]:
        return {name: round(value, self.digits) for name, value in zip(COLOURS, self.colour, strict=True)}

    def cells(self) -> dict[str, str]:
        return {name: f"{value:.{self.digits}f}" for name, value in zip(COLOURS, self.colour, strict=True)}

    def draw(self) -> Image.Image:
        return contact_sheet([self.picture()], [[" ".join(self.cells().values())]], cell=112)


class ReadyColour(Ready[Colour]):
    """See `Ready`."""

    room, kind, goal = "colour", "class", "mae"
    options = Options()

    cut = whole("logits")

    @classmethod
    def described(cls, about: dict[str, Any], name: str) -> Self:
        return cls(name, described(None, about), about["classes"])

    @classmethod
    def with_weights(cls, variant: str | None, recipe: Any, weights: str | None) -> Self:
        raise SettingsError("no colour networks are published; name a run")

    def transform(self) -> Squash:
        seen, asked = self.preprocessing, self.options.size
        return Squash(asked or seen.input_size, seen.mean, seen.std)

    def answers(self, images: Tensor, sizes: Sequence[Size], seen: Sequence[dict[str, Any]]) -> list[Colour]:
        values = self.model(images).float().tolist()
        return [Colour(tuple(value), self.options.digits, **own) for value, own in zip(values, seen, strict=True)]

    def columns(self) -> list[str]:
        return list(COLOURS)

    def reader(self, source: Any) -> ColourSamples:
        return ColourSamples(source, self.transform())

    def metric(self, device: torch.device, samples: ColourSamples) -> ColourMetric:
        return ColourMetric(device)

    def conditions(self) -> str:
        return f"at {self.transform().size}"

    def table(self, metric: ColourMetric) -> list[str]:
        return [f"  mae {metric.finish()['mae']:.4f}"]

    def compare(self, answer: Colour, target: Any, said: str) -> Image.Image:
        return contact_sheet([answer.picture()], [[said]], cell=112)
