"""A detector in use."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from volovan.data.objects.annotated import Annotated
from volovan.data.pictures.palettes import spread
from volovan.data.source import Source
from volovan.data.sources import open_source
from volovan.detect.cut import answering, cut_of
from volovan.detect.data import EvalSamples
from volovan.detect.draw import draw_comparison, draw_found, draw_sheet, thumbnail
from volovan.detect.figures import draw_figures
from volovan.detect.inference import find, find_each, seen_by
from volovan.detect.judge import overlaps
from volovan.detect.metrics import DetectionMetric
from volovan.detect.network import Detector
from volovan.detect.recipe import Recipe, TestSettings, check_test
from volovan.detect.select import Choice
from volovan.detect.written import as_supervision, yolo_lines
from volovan.engine.settings import SettingsError, expand_variables
from volovan.room.cut import Cut
from volovan.room.found import Found, coco_results
from volovan.room.network import described, network_of, with_tuples
from volovan.room.objects_ledger import ledger
from volovan.room.ready import Answer, Ready, ReadyOptions, write_table
from volovan.room.settings import Size, between, pair, parse_size

ALIKE = 0.9
"""IoU of boxes that are one"""


@dataclass(frozen=True)
class Options(ReadyOptions):
    """See `arguments.py`; None: as the run was validated. Pictures keep their shape and fit into the size."""

    score: float | None = None
    nms: float | None = None
    most: int | None = None
    tile: Size | None = None
    overlap: float | None = None
    overlays: Literal["jpg", "png", "none"] = "jpg"
    yolo: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("score", "nms", "overlap"):
            between(f"--{key}", getattr(self, key), 0, 1)
        object.__setattr__(self, "tile", parse_size(self.tile, "--tile"))


@dataclass(frozen=True)
class Objects(Answer):
    """N objects of a picture, the surest first, in its pixels.

    found    boxes (N, 4) as x1, y1, x2, y2, scores (N,), numbers of classes (N,), outlines
    size     (height, width) of the picture
    classes  names of the numbers
    """

    found: Found
    size: Size
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.found)

    @property
    def boxes(self) -> np.ndarray:
        """(N, 4) float64: x1, y1, x2, y2."""
        return self.found.boxes

    @property
    def scores(self) -> np.ndarray:
        """(N,) float64, 0 to 1."""
        return self.found.scores

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64."""
        return self.found.labels

    @property
    def names(self) -> list[str]:
        """The class of each."""
        return [self.classes[number] for number in self.labels]

    @property
    def masks(self) -> np.ndarray | None:
        """(N, H, W) bool, None where the network has none. Made when asked for: they may be large."""
        return as_supervision(self.found, self.size)["mask"]

    def to_supervision(self) -> dict[str, np.ndarray | None]:
        """What `supervision.Detections(**answer.to_supervision())` takes."""
        return as_supervision(self.found, self.size)

    def agrees(self, other: "Objects") -> float:
        """Objects of one class whose boxes cover each other by nine tenths."""
        if not len(self) and not len(other):
            return 1.0
        cover = overlaps(self.boxes, other.boxes, np.zeros(len(other), bool)) >= ALIKE
        alike = cover & (self.labels[:, None] == other.labels)
        return float(alike.any(1).sum() + alike.any(0).sum()) / (len(self) + len(other))

    def row(self) -> dict[str, Any]:
        height, width = self.size
        objects = []
        for entry, box in zip(
            coco_results(self.found, None, self.classes, self.size), self.boxes.tolist(), strict=True
        ):
            own = {"class": entry["category_id"], "score": round(entry["score"], 6), "box": [round(x, 2) for x in box]}
            objects.append(own | ({"mask": entry["segmentation"]} if "segmentation" in entry else {}))
        return {"height": height, "width": width, "objects": objects}

    def cells(self) -> dict[str, str]:
        counts = Counter(self.names)
        size = {"height": str(self.size[0]), "width": str(self.size[1])}
        return {**size, "objects": str(len(self)), **{name: str(counts[name]) for name in self.classes}}

    def draw(self) -> Image.Image:
        return draw_found(self.picture(), self.found, self.classes, spread(len(self.classes)))


class ReadyDetector(Ready[Objects]):
    """See `Ready`. test: how the run was validated."""

    room: ClassVar[str] = "detect"
    kind, goal = "boxes", "ap"
    options: Options = Options()
    model: Detector

    def __init__(self, name: str, model: Detector, classes: Sequence[str], test: TestSettings) -> None:
        super().__init__(name, model, classes)
        self.test, self.palette = test, spread(len(self.classes))

    @classmethod
    def described(cls, about: dict[str, Any], name: str) -> Self:
        return cls(name, described(Detector, about), about["classes"], TestSettings(**with_tuples(about["test"])))

    @classmethod
    def with_weights(cls, variant: str | None, recipe: Recipe | None, weights: str | None) -> Self:
        """The network of a recipe with weights of one's own, such as published ones; the classes are its data's."""
        if recipe is None or weights is None:
            raise SettingsError(f"{variant or 'the recipe'} starts with a new head; name a run, or --weights FILE")
        names = open_source(expand_variables(recipe.data.source), recipe.data.val_split, cls.kind).classes
        model = network_of(Detector, recipe, len(names), size=None, weights=weights, classes=names)
        return cls(f"{recipe.model.name} with {recipe.model.head}, {weights}", model, names, recipe.test)

    @property
    def cut(self) -> Cut:
        return cut_of(self.model, self._choice())

    def answering(self) -> Cut:
        """Objects, the surest first: boxes (B, M, 4) in pixels of what the file is given, scores (B, M), 0 where there
        is none, labels (B, M), and masks (B, M, 28, 28) within the boxes."""
        return answering(self.model, self._choice())

    def _choice(self) -> Choice:
        test = self.how()
        return self.model.choose(least=test.score, overlap=test.overlap, most=test.most)

    def says(self) -> dict[str, Any]:
        return {"test": asdict(self.test)}

    def check(self) -> None:
        check_test(self.how())

    def how(self) -> TestSettings:
        """The settings of the run, with what the options say instead."""
        own = self.options
        said: dict[str, Any] = {
            "overlap": own.nms,
            "most": own.most,
            "shown": own.score,
            "tile": own.tile,
            "tile_overlap": own.overlap,
        }
        test = replace(self.test, **{key: value for key, value in said.items() if value is not None})
        if own.score is not None and own.score < self.model.choose(least=test.score).least:
            test = replace(test, score=own.score)
        if own.size is not None:
            test = replace(test, size=None if own.size == "native" else own.size)
        return test

    @property
    def alone(self) -> bool:
        """Tiles of one picture are batches already."""
        return self.how().tile is not None

    def transform(self) -> Callable[[Image.Image], Tensor]:
        return seen_by(self.model, self.how())

    def answers(self, images: Tensor, sizes: Sequence[Size], seen: Sequence[dict[str, Any]]) -> list[Objects]:
        how = self.how()
        found = find_each(self.model, list(images), sizes, how)
        return [
            Objects(found=one.above(how.shown), size=size, classes=self.classes, **own)
            for one, size, own in zip(found, sizes, seen, strict=True)
        ]

    def columns(self) -> list[str]:
        return ["height", "width", "objects", *self.classes]

    def files(self, answer: Objects) -> dict[str, tuple[str, Image.Image | str]]:
        files: dict[str, tuple[str, Image.Image | str]] = {}
        if self.options.overlays != "none":
            files["overlay"] = (f"overlays/{{}}.{self.options.overlays}", answer.draw())
        if self.options.yolo:
            files["labels"] = ("labels/{}.txt", "".join(f"{line}\n" for line in yolo_lines(answer.found, answer.size)))
        return files

    def papers(self) -> dict[str, str]:
        """The names of the numbers in labels of YOLO."""
        return {"classes.txt": "".join(f"{name}\n" for name in self.classes)} if self.options.yolo else {}

    @contextmanager
    def ledger(self, folder: Path) -> Iterator[Callable[[Objects, dict[str, str]], None]]:
        """coco.json, a data set of COCO with scores, and objects.csv, a row for each object."""
        with ledger(folder, self.classes) as book:
            yield lambda answer, paths: book.add(answer.name, answer.size, answer.found)

    def thumbnail(self, answer: Objects) -> Any:
        return thumbnail(answer.picture(), answer.found, self.palette), Path(answer.name).name, answer.labels

    def sheet(self, thumbnails: Sequence[Any]) -> Image.Image:
        return draw_sheet(thumbnails, self.classes, self.palette)

    def reader(self, source: Source) -> EvalSamples:
        return EvalSamples(source, self.transform(), self.classes, self.model.masks)

    def metric(self, device: torch.device, samples: EvalSamples) -> DetectionMetric:
        test, masks = self.how(), self.model.masks
        return DetectionMetric(self.classes, partial(find, test=test), masks, score=test.shown, device=device)

    def conditions(self) -> str:
        """Such as "(into 1333x800)"."""
        test = self.how()
        size = "as they are" if test.size is None else f"into {max(test.size)}x{min(test.size)}"
        return f"({size})" if test.tile is None else f"(tiles of {'x'.join(map(str, pair(test.tile)))}, each {size})"

    def table(self, metric: DetectionMetric) -> list[str]:
        figures = metric.finish()
        lines = ["              AP   AP50   AP75      S      M      L"]
        for prefix in ("", "mask_") if metric.masks else ("",):
            values = (
                figures[f"{prefix}{name}"] for name in ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
            )
            lines.append(f"  {'masks' if prefix else 'boxes':8s}" + "".join(f"{value:7.2f}" for value in values))
        return lines

    def facts(self, metric: DetectionMetric) -> dict[str, Any]:
        return {"test": asdict(self.how())}

    def report(self, metric: DetectionMetric, source: Source, folder: Path) -> list[str]:
        table = metric.per_class()
        rows = (
            [name, *(f"{value:.6g}" for value in row)] for name, *row in zip(self.classes, *table.values(), strict=True)
        )
        return [
            write_table(folder / "per_class.csv", ("class", *table), rows),
            *(path.name for path in draw_figures(metric, folder, self.palette)),
        ]

    def truth(self, source: Source, index: int) -> Annotated:
        return self.reader(source).there(index)

    def compare(self, answer: Objects, target: Annotated, said: str) -> Image.Image:
        title = f"{answer.name}    {said}"
        shown = self.how().shown
        return draw_comparison(answer.picture(), answer.found, target, self.classes, self.palette, title, shown)
