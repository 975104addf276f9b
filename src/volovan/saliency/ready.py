"""A saliency network in use: maps, cut-outs, the box of the object."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from volovan.data.pictures.sheet import contact_sheet
from volovan.data.source import Source
from volovan.engine.settings import SettingsError
from volovan.models.weights.dense import holds_head
from volovan.room.cut import Cut, answers, whole
from volovan.room.network import described, network_of
from volovan.room.ready import Answer, Ready, ReadyOptions, write_table
from volovan.room.settings import Size
from volovan.saliency.cutouts import OBJECT, Box, cut_out, object_box, parse_background
from volovan.saliency.data import EvalSamples, EvalTransform
from volovan.saliency.draw import beside, draw_curves, framed, on_checkerboard
from volovan.saliency.metrics import SaliencyMetric, saliency_maps
from volovan.saliency.network import SaliencyModel
from volovan.saliency.recipe import Recipe

THUMBNAIL = 320
"""pixels of the longer side that a picture keeps until the sheet is drawn"""


@dataclass(frozen=True)
class Options(ReadyOptions):
    """See `arguments.py`. Pictures are squashed to the size, unless they keep their own."""

    threshold: float | None = None
    crop: bool = False
    background: str = "transparent"
    maps: Literal["8bit", "float"] = "8bit"
    stretch: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise SettingsError(f"--threshold is {self.threshold}; above 0, up to 1, is expected, such as 0.5")
        parse_background(self.background)


@dataclass(frozen=True)
class Salient(Answer):
    """map (H, W) uint8: how salient each pixel is; threshold: from which on it counts as object."""

    map: np.ndarray
    options: Options

    @property
    def threshold(self) -> float:
        return OBJECT if self.options.threshold is None else self.options.threshold

    @property
    def share(self) -> float:
        """Of the picture that is object."""
        return float((self.map >= 255 * self.threshold).mean())

    @property
    def box(self) -> Box | None:
        """(left, top, right, bottom), half open, around the object; None where there is none."""
        return object_box(self.map, self.threshold)

    @cached_property
    def cutout(self) -> Image.Image:
        """The object alone, with alpha or on a colour."""
        options = self.options
        ground = parse_background(options.background)
        return cut_out(self.picture(), self.map, options.threshold, options.crop, ground)

    def agrees(self, other: "Salient") -> float:
        """Pixels that differ by 2 of 255 at most."""
        return float((np.abs(self.map.astype(int) - other.map) <= 2).mean())

    def row(self) -> dict[str, Any]:
        box = self.box
        sides = dict(zip(("left", "top", "right", "bottom"), box, strict=True)) if box else {}
        return {"share": round(self.share, 4), **sides}

    def cells(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.row().items()}

    def parts(self) -> list[Image.Image]:
        """Picture, map and cut-out; what is transparent lies on a checkerboard."""
        cutout = self.cutout
        shown = on_checkerboard(cutout) if cutout.mode == "RGBA" else cutout
        return [self.picture(), framed(Image.fromarray(self.map)), shown]

    def draw(self) -> Image.Image:
        return beside(self.parts())


class ReadySaliency(Ready[Salient]):
    """See `Ready`."""

    room: ClassVar[str] = "saliency"
    kind, goal = "map", "-mae"
    options: Options = Options()

    @classmethod
    def described(cls, about: dict[str, Any], name: str) -> Self:
        return cls(name, described(SaliencyModel, about), ("salient",))

    @classmethod
    def with_weights(cls, variant: str | None, recipe: Recipe | None, weights: str | None) -> Self:
        """The network of a recipe with the weights of a whole saliency network."""
        if recipe is None or weights is None or not holds_head(SaliencyModel, weights):
            found = "no weights" if weights is None else f"{weights}, which holds no saliency network"
            word = variant or "the recipe"
            raise SettingsError(f"{word} has {found}; none are published: name a run, or a file of one with --weights")
        model = network_of(SaliencyModel, recipe, 1, size=recipe.network_size(), weights=weights)
        return cls(f"{recipe.model.name} with {recipe.model.head}, {weights}", model, ("salient",))

    cut = whole("logits")

    def answering(self) -> Cut:
        """How salient (B, H, W) uint8 each pixel is of the pictures that the file is given."""
        return answers(lambda model, images: ((255 * model(images)[:, 0].sigmoid()).round().to(torch.uint8),), "map")

    @property
    def alone(self) -> bool:
        return bool(self.options.size == "native")

    def transform(self) -> EvalTransform:
        seen, asked = self.preprocessing, self.options.size
        size = None if asked == "native" else asked or seen.input_size
        return EvalTransform(size, seen.mean, seen.std)

    def answers(self, images: Tensor, sizes: Sequence[Size], seen: Sequence[dict[str, Any]]) -> list[Salient]:
        maps = saliency_maps(self.model, images, sizes)
        greys = ((255 * one).round().byte().cpu().numpy() for one in maps)
        return [Salient(grey, self.options, **own) for grey, own in zip(greys, seen, strict=True)]

    def columns(self) -> list[str]:
        return ["mask", "cutout", "share", "left", "top", "right", "bottom"]

    def files(self, answer: Salient) -> dict[str, tuple[str, Image.Image]]:
        mask = Image.fromarray(answer.map)
        return {"mask": ("masks/{}.png", mask), "cutout": ("cutouts/{}.png", answer.cutout)}

    def thumbnail(self, answer: Salient) -> tuple[str, list[Image.Image]]:
        parts = [part.copy() for part in answer.parts()]
        for part in parts:
            part.thumbnail((THUMBNAIL, THUMBNAIL))
        return Path(answer.name).name, parts

    def sheet(self, thumbnails: Sequence[tuple[str, list[Image.Image]]]) -> Image.Image:
        images = [part for _, parts in thumbnails for part in parts]
        captions = [caption for name, _ in thumbnails for caption in (name, "map", "cut-out")]
        return contact_sheet(images, captions, columns=min(2, len(thumbnails)) * 3, cell=200)

    def reader(self, source: Source) -> EvalSamples:
        return EvalSamples(source, self.transform())

    def metric(self, device: torch.device, samples: EvalSamples) -> SaliencyMetric:
        options = self.options
        return SaliencyMetric(device, structure=True, quantise=options.maps == "8bit", stretch=options.stretch)

    def conditions(self) -> str:
        size = self.transform().size
        maps = "8 bits" if self.options.maps == "8bit" else "float"
        stretched = ", stretched to 0 .. 1" if self.options.stretch else ""
        return f"at {'x'.join(map(str, size)) if size else 'their own sizes'}, maps in {maps}{stretched}"

    def table(self, metric: SaliencyMetric) -> list[str]:
        return [f"  {name:12s}{value:9.4f}" for name, value in metric.finish().items()]

    def facts(self, metric: SaliencyMetric) -> dict[str, Any]:
        return {"maps": self.options.maps, "stretch": self.options.stretch}

    def report(self, metric: SaliencyMetric, source: Source, folder: Path) -> list[str]:
        rows = ([source.name(row.index), *map("{:.6f}".format, row.values.values())] for row in metric.rows.values())
        table = write_table(folder / "per_picture.csv", ["picture", *metric.own_measures()], rows)
        return [table, draw_curves(metric, folder / "curves.png").name]

    def compare(self, answer: Salient, target: np.ndarray, said: str) -> Image.Image:
        images = [answer.picture(), framed(Image.fromarray(target)), framed(Image.fromarray(answer.map))]
        return contact_sheet(images, [Path(answer.name).name, "mask", said], columns=3, cell=300)
