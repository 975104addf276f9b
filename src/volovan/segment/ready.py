"""A segmenter in use."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from volovan.data.masks.paletted import class_table, palette_picture
from volovan.data.pictures.tensors import to_tensor
from volovan.data.samples import palette_of
from volovan.data.source import Source
from volovan.data.sources import open_source
from volovan.engine.figures import MOST_CLASSES
from volovan.engine.settings import SettingsError, expand_variables
from volovan.room.cut import Cut
from volovan.room.network import described, network_of, with_tuples
from volovan.room.ready import Answer, Ready, ReadyOptions, write_table
from volovan.room.settings import LEAST, Frame, Size, pair, parse_size
from volovan.room.views import pixels
from volovan.segment.cut import ANSWERS, CUT
from volovan.segment.data import EvalTransform, MaskSamples
from volovan.segment.draw import (
    draw_comparison,
    draw_confusion,
    draw_prediction,
    draw_sheet,
    shares_of,
    thumbnail,
)
from volovan.segment.inference import segment
from volovan.segment.metrics import SegmentationMetric
from volovan.segment.network import Segmenter
from volovan.segment.recipe import Recipe, TestSettings, check_test

Palette = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Options(ReadyOptions):
    """See `arguments.py`; None: as the run was validated. Pictures keep their shape and fit into the size."""

    mode: Literal["whole", "slide"] | None = None
    window: Size | None = None
    stride: Size | None = None
    scales: tuple[float, ...] | None = None
    flip: bool | None = None
    boundary: bool = False
    overlays: Literal["jpg", "png", "none"] = "jpg"

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, least in (("window", LEAST), ("stride", 1)):
            object.__setattr__(self, key, parse_size(getattr(self, key), f"--{key}", least))
        if self.scales is not None:
            object.__setattr__(self, "scales", tuple(self.scales))


@dataclass(frozen=True)
class Mask(Answer):
    """The class of each pixel: (H, W) uint8, the names of the numbers, and their colours."""

    mask: np.ndarray
    classes: tuple[str, ...]
    palette: Palette

    @property
    def shares(self) -> dict[str, float]:
        """Of the picture that each class covers, 0 to 1."""
        return dict(zip(self.classes, shares_of(self.mask, len(self.classes)).tolist(), strict=True))

    def agrees(self, other: "Mask") -> float:
        return float((self.mask == other.mask).mean())

    def row(self) -> dict[str, Any]:
        found = {name: round(share, 6) for name, share in self.shares.items() if share > 0}
        return {"height": self.mask.shape[0], "width": self.mask.shape[1], "shares": found}

    def cells(self) -> dict[str, str]:
        size = {"height": str(self.mask.shape[0]), "width": str(self.mask.shape[1])}
        return {**size, **{name: f"{share:.6f}" for name, share in self.shares.items()}}

    def draw(self) -> Image.Image:
        return draw_prediction(self.picture(), self.mask, self.classes, self.palette)


class ReadySegmenter(Ready[Mask]):
    """See `Ready`. palette: colours of the classes; test: how the run was validated."""

    room: ClassVar[str] = "segment"
    kind, goal = "mask", "miou"
    alone = True
    options: Options = Options()

    def __init__(
        self, name: str, model: Segmenter, classes: Sequence[str], palette: Palette, test: TestSettings
    ) -> None:
        super().__init__(name, model, classes)
        self.palette, self.test = palette, test

    @classmethod
    def described(cls, about: dict[str, Any], name: str) -> Self:
        palette = tuple((red, green, blue) for red, green, blue in about["palette"])
        return cls(
            name, described(Segmenter, about), about["classes"], palette, TestSettings(**with_tuples(about["test"]))
        )

    @classmethod
    def with_weights(cls, variant: str | None, recipe: Recipe | None, weights: str | None) -> Self:
        """The network of a recipe with weights of one's own, such as published ones; the classes are its data's."""
        if recipe is None or weights is None:
            raise SettingsError(f"{variant or 'the recipe'} starts with a new head; name a run, or --weights FILE")
        source = open_source(expand_variables(recipe.data.source), recipe.data.val_split, kind="mask")
        names = source.classes
        model = network_of(Segmenter, recipe, len(names), size=None, weights=weights, classes=names)
        name = f"{recipe.model.name} with {recipe.model.head}, {weights}"
        return cls(name, model, names, palette_of(source), recipe.test)

    cut = CUT

    def answering(self) -> Cut:
        """The class (B, H, W) uint8 of each pixel of the pictures that the file is given."""
        return ANSWERS

    def says(self) -> dict[str, Any]:
        return {"palette": [list(colour) for colour in self.palette], "test": asdict(self.test)}

    def check(self) -> None:
        check_test(self.how())

    def how(self) -> TestSettings:
        """The settings of the run, with what the options say instead."""
        own = self.options
        said: dict[str, Any] = {"mode": own.mode or ("slide" if own.window or own.stride else None), "flip": own.flip}
        said |= {"window": own.window, "stride": own.stride, "scales": own.scales}
        test = replace(self.test, **{key: value for key, value in said.items() if value is not None})
        if own.window and not own.stride:
            height, width = own.window
            test = replace(test, stride=(max(1, height * 2 // 3), max(1, width * 2 // 3)))
        if isinstance(own.size, Frame) and test.mode == "slide":  # pictures keep their size
            (height, width), (down, across), window = pair(test.window), pair(test.stride), pair(own.size)
            stride = max(1, down * window[0] // height), max(1, across * window[1] // width)
            return replace(test, window=window, stride=stride)
        if own.size is not None:
            test = replace(test, size=None if own.size == "native" else own.size)
        return test

    def transform(self) -> Callable[[Image.Image], Tensor]:
        return pixels

    def answers(self, images: Tensor, sizes: Sequence[Size], seen: Sequence[dict[str, Any]]) -> list[Mask]:
        found = []
        for picture, size, own in zip(images, sizes, seen, strict=True):
            shown = picture.cpu().numpy()
            image = to_tensor(shown, self.preprocessing.mean, self.preprocessing.std).to(self.device)
            mask = segment(self.model, image, size, self.how()).cpu().numpy()
            own = {**own, "picture": partial(Image.fromarray, shown)}  # it is here: not read again
            found.append(Mask(mask, self.classes, self.palette, **own))
        return found

    def columns(self) -> list[str]:
        return ["mask", "height", "width", *self.classes]

    def files(self, answer: Mask) -> dict[str, tuple[str, Image.Image]]:
        files = {"mask": ("masks/{}.png", palette_picture(answer.mask, self.palette))}
        if self.options.overlays != "none":
            files["overlay"] = (f"overlays/{{}}.{self.options.overlays}", answer.draw())
        return files

    def papers(self) -> dict[str, str]:
        """What the numbers in the masks mean, as data.class_files reads it: they can be opened as labels again."""
        return class_table(self.classes, self.palette)

    def thumbnail(self, answer: Mask) -> tuple[Image.Image, str, np.ndarray]:
        small = thumbnail(answer.picture(), answer.mask, self.palette)
        return small, Path(answer.name).name, shares_of(answer.mask, len(self.classes))

    def sheet(self, thumbnails: Sequence[tuple[Image.Image, str, np.ndarray]]) -> Image.Image:
        return draw_sheet(thumbnails, self.classes, self.palette)

    def reader(self, source: Source) -> MaskSamples:
        return MaskSamples(source, EvalTransform(self.preprocessing.mean, self.preprocessing.std), self.classes)

    def metric(self, device: torch.device, samples: MaskSamples) -> SegmentationMetric:
        how, count = partial(segment, test=self.how()), len(self.classes)
        return SegmentationMetric(count, device, how, self.options.boundary, pictures=True, absent=samples.absent)

    def conditions(self) -> str:
        """Such as "(whole, into 2048x512, scales 0.5 1, mirrored too)"."""
        test = self.how()
        (height, width), (down, across) = pair(test.window), pair(test.stride)
        words = ["whole" if test.mode == "whole" else f"windows of {height}x{width} by {down}x{across}"]
        if test.size:
            words.append(f"into {max(test.size)}x{min(test.size)}")
        if len(test.scales) > 1 or test.scales[0] != 1:
            words.append(f"scales {' '.join(f'{scale:g}' for scale in test.scales)}")
        return f"({', '.join([*words, 'mirrored too'] if test.flip else words)})"

    def table(self, metric: SegmentationMetric) -> list[str]:
        lines = [f"  {name:14s} {value:7.2f} %" for name, value in metric.finish().items()]
        if len(self.classes) > MOST_CLASSES:
            return lines
        table = metric.per_class()
        width = max(14, *(len(name) for name in self.classes))
        lines += ["", f"  {'class':{width}s}" + "".join(f"{name:>14s}" for name in table)]
        for number, name in enumerate(self.classes):
            lines.append(f"  {name:{width}s}" + "".join(f"{values[number]:14.2f}" for values in table.values()))
        return lines

    def facts(self, metric: SegmentationMetric) -> dict[str, Any]:
        return {"test": asdict(self.how())}

    def report(self, metric: SegmentationMetric, source: Source, folder: Path) -> list[str]:
        table = metric.per_class()
        drawn = draw_confusion(metric.totals["confusion"].cpu(), self.classes, folder, self.palette)
        rows = ([name, *map("{:.3f}".format, row)] for name, *row in zip(self.classes, *table.values(), strict=True))
        return [write_table(folder / "per_class.csv", ("class", *table), rows), *(path.name for path in drawn)]

    def truth(self, source: Source, index: int) -> np.ndarray:
        return self.reader(source).mask(index)

    def compare(self, answer: Mask, target: np.ndarray, said: str) -> Image.Image:
        title = f"{answer.name}    {said}"
        return draw_comparison(answer.picture(), answer.mask, target, self.classes, self.palette, title)
