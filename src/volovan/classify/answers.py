"""What a classifier says of one picture: the best classes, all that apply, or numbers."""

from dataclasses import dataclass
from math import isclose
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image

from volovan.data.lists.targets import SEPARATOR
from volovan.data.pictures.sheet import contact_sheet
from volovan.room.ready import CELL, Answer


@dataclass(frozen=True)
class _Spoken(Answer):
    """An answer that a caption can say."""

    def caption(self) -> str:
        raise NotImplementedError

    def draw(self) -> Image.Image:
        """The picture above what is said of it."""
        return contact_sheet([self.picture()], [[self.caption(), Path(self.name).name]], cell=CELL)


@dataclass(frozen=True)
class _Named(_Spoken):
    """Some of the classes, the most probable first."""

    classes: tuple[str, ...]
    numbers: tuple[int, ...]
    probabilities: tuple[float, ...]

    def listed(self) -> list[dict[str, Any]]:
        triples = zip(self.classes, self.numbers, self.probabilities, strict=True)
        return [{"class": name, "number": number, "probability": value} for name, number, value in triples]


@dataclass(frozen=True)
class Best(_Named):
    """The most probable classes, best first."""

    def agrees(self, other: "Best") -> float:
        return float(self.numbers[0] == other.numbers[0])

    def row(self) -> dict[str, Any]:
        return {"top": self.listed()}

    def cells(self) -> dict[str, str]:
        cells: dict[str, str] = {}
        for rank, (name, value) in enumerate(zip(self.classes, self.probabilities, strict=True), 1):
            cells |= {f"class{rank}": name, f"probability{rank}": f"{value:.6f}"}
        return cells

    def caption(self) -> str:
        return f"{100 * self.probabilities[0]:.0f} %  {self.classes[0]}"


@dataclass(frozen=True)
class Labels(_Named):
    """All classes that apply, the most probable first."""

    def agrees(self, other: "Labels") -> float:
        either = {*self.numbers, *other.numbers}
        return len({*self.numbers} & {*other.numbers}) / len(either) if either else 1.0

    def row(self) -> dict[str, Any]:
        return {"labels": self.listed()}

    def cells(self) -> dict[str, str]:
        probabilities = SEPARATOR.join(f"{value:.6f}" for value in self.probabilities)
        return {"labels": SEPARATOR.join(self.classes), "probabilities": probabilities}

    def caption(self) -> str:
        return ", ".join(self.classes) or "none"


@dataclass(frozen=True)
class Numbers(_Spoken):
    """One or more numbers, in the units of the training data."""

    values: dict[str, float]

    def agrees(self, other: "Numbers") -> float:
        """Numbers that differ by a thousandth at most."""
        pairs = zip(self.values.values(), other.values.values(), strict=True)
        return fmean(isclose(own, their, rel_tol=1e-3, abs_tol=1e-6) for own, their in pairs)

    def row(self) -> dict[str, Any]:
        return {"values": self.values}

    def cells(self) -> dict[str, str]:
        return {name: f"{value:.6g}" for name, value in self.values.items()}

    def caption(self) -> str:
        return ", ".join(f"{value:.4g}" for value in self.values.values())
