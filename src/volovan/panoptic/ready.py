"""A panoptic network in use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from volovan.data.masks.coding import MAX_CLASSES
from volovan.data.masks.paletted import class_table, palette_picture
from volovan.data.panoptic.segments import Panoptic
from volovan.data.pictures.palettes import Colour
from volovan.data.samples import palette_of, things_of
from volovan.data.source import Source
from volovan.data.sources import open_source
from volovan.engine.settings import SettingsError, expand_variables
from volovan.panoptic.arguments import ALSO
from volovan.panoptic.cut import CUT
from volovan.panoptic.data import EvalSamples
from volovan.panoptic.draw import draw_comparison, draw_figures, draw_segments, draw_sheet, thumbnail
from volovan.panoptic.inference import Answers, FoundSegments, find_each
from volovan.panoptic.metrics import PanopticMetric, compare
from volovan.panoptic.network import PanopticModel
from volovan.panoptic.recipe import Recipe, TestSettings, check_test
from volovan.panoptic.written import FOLDER, ids_picture, ledger, table_rows
from volovan.room import objects_ledger
from volovan.room.found import Found
from volovan.room.network import described, network_of, with_tuples
from volovan.room.ready import Answer, Ready, ReadyOptions, write_table
from volovan.room.settings import Size, between
from volovan.room.views import Fitted


@dataclass(frozen=True)
class Options(ReadyOptions):
    """See `arguments.py`; None: as the run was validated. Pictures keep their shape and fit into the size."""

    score: float | None = None
    visible: float | None = None
    also: tuple[str, ...] | None = None
    overlays: Literal["jpg", "png", "none"] = "jpg"

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("score", "visible"):
            between(f"--{key}", getattr(self, key), 0, 1)
        if self.also is not None:
            object.__setattr__(self, "also", tuple(self.also))
            if strange := [word for word in self.also if word not in ALSO]:
                raise SettingsError(f"--also {strange[0]} is not known; give {' or '.join(ALSO)}")


@dataclass(frozen=True)
class Segmented(Answer):
    """What every pixel of a picture belongs to.

    found    ids (H, W) and the class of each, scores; see `FoundSegments`
    classes  names of the numbers
    things   of each class whether it is counted
    palette  of each class a colour
    objects  things that may overlap, where they were asked for: boxes, scores, masks
    mask     (H, W) uint8 class of each pixel, where it was asked for
    """

    found: FoundSegments
    classes: tuple[str, ...]
    things: tuple[bool, ...]
    palette: tuple[Colour, ...]
    objects: Found | None = None
    mask: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.found.scores)

    @property
    def ids(self) -> np.ndarray:
        """(H, W) int32: the segment of each pixel, 0 where nothing is sure; segments count from 1."""
        return self.found.panoptic.ids

    @property
    def names(self) -> list[str]:
        """The class of each segment."""
        return [self.classes[segment.label] for segment in self.found.panoptic.segments]

    @property
    def scores(self) -> np.ndarray:
        """(N,) float32, 0 to 1."""
        return self.found.scores

    @property
    def size(self) -> Size:
        height, width = self.ids.shape
        return height, width

    def agrees(self, other: Segmented) -> float:
        """Pixels of segments that cover each other by half at least, of one class."""
        own, their = self.found.panoptic, other.found.panoptic
        labels = [[-1, *(segment.label for segment in one.segments)] for one in (own, their)]
        pairs, counts = np.unique(np.stack((own.ids, their.ids)).reshape(2, -1), axis=1, return_counts=True)
        areas = [np.bincount(one.ids.reshape(-1), minlength=len(one.segments) + 1) for one in (own, their)]
        alike = [
            int(count)
            for (a, b), count in zip(pairs.T.tolist(), counts.tolist(), strict=True)
            if labels[0][a] == labels[1][b] and 2 * count >= areas[0][a] + areas[1][b] - count
        ]
        return sum(alike) / own.ids.size

    def row(self) -> dict[str, Any]:
        height, width = self.size
        rows = table_rows(self.found, self.classes, self.things)
        segments = [
            {
                "id": row["segment"],
                "class": row["class"],
                "thing": bool(row["thing"]),
                "score": row["score"],
                "pixels": row["pixels"],
                "box": [row[side] for side in ("x1", "y1", "x2", "y2")],
            }
            for row in rows
        ]
        return {"height": height, "width": width, "segments": segments}

    def cells(self) -> dict[str, str]:
        """Of things how many, of stuff its share of the picture."""
        counts = Counter(self.names)
        one, areas = self.found.panoptic, self.found.panoptic.areas().tolist()
        covered = {self.classes[segment.label]: area for segment, area in zip(one.segments, areas, strict=True)}
        cells = {"height": str(self.size[0]), "width": str(self.size[1]), "segments": str(len(self))}
        for name, thing in zip(self.classes, self.things, strict=True):
            cells[name] = str(counts[name]) if thing else f"{covered.get(name, 0) / self.ids.size:.6f}"
        return cells

    def draw(self) -> Image.Image:
        scores = self.found.scores.tolist()
        return draw_segments(self.picture(), self.found.panoptic, scores, self.classes, self.palette, self.things)


class ReadyPanoptic(Ready[Segmented]):
    """See `Ready`. things: of each class whether it is counted; palette: colours; test: how the run was validated."""

    room: ClassVar[str] = "panoptic"
    kind, goal = "panoptic", "pq"
    options: Options = Options()
    model: PanopticModel

    def __init__(
        self,
        name: str,
        model: PanopticModel,
        classes: Sequence[str],
        things: Sequence[bool],
        palette: Sequence[Colour],
        test: TestSettings,
    ) -> None:
        super().__init__(name, model, classes)
        self.things, self.palette, self.test = tuple(things), tuple(palette), test

    @classmethod
    def described(cls, about: dict[str, Any], name: str) -> Self:
        palette = [(red, green, blue) for red, green, blue in about["palette"]]
        model = described(PanopticModel, about)
        return cls(name, model, about["classes"], about["things"], palette, TestSettings(**with_tuples(about["test"])))

    @classmethod
    def with_weights(cls, variant: str | None, recipe: Recipe | None, weights: str | None) -> Self:
        """The network of a recipe with weights of one's own, such as published ones; the classes are its data's."""
        if recipe is None or weights is None:
            raise SettingsError(f"{variant or 'the recipe'} starts with a new head; name a run, or --weights FILE")
        source = open_source(expand_variables(recipe.data.source), recipe.data.val_split, cls.kind)
        names = source.classes
        model = network_of(PanopticModel, recipe, len(names), size=None, weights=weights, classes=names)
        name = f"{recipe.model.name} with {recipe.model.head}, {weights}"
        return cls(name, model, names, things_of(source), palette_of(source), recipe.test)

    cut = CUT

    def says(self) -> dict[str, Any]:
        palette = [list(colour) for colour in self.palette]
        return {"test": asdict(self.test), "things": list(self.things), "palette": palette}

    def check(self) -> None:
        check_test(self.how())
        if "semantic" in (self.options.also or ()) and len(self.classes) > MAX_CLASSES:
            raise SettingsError(
                f"--also semantic: a mask holds {MAX_CLASSES} classes at most, {self.name} has {len(self.classes)}; "
                "leave semantic out"
            )

    def how(self) -> TestSettings:
        """The settings of the run, with what the options say instead."""
        own = self.options
        said: dict[str, Any] = {"score": own.score, "visible": own.visible}
        test = replace(self.test, **{key: value for key, value in said.items() if value is not None})
        if own.size is not None:
            test = replace(test, size=None if own.size == "native" else own.size)
        return test

    def transform(self) -> Callable[[Image.Image], Tensor]:
        return Fitted(self.how().size, self.preprocessing.mean, self.preprocessing.std)

    def answers(self, images: Tensor, sizes: Sequence[Size], seen: Sequence[dict[str, Any]]) -> list[Segmented]:
        found = find_each(self.model, list(images), sizes, self.things, self.how(), self.options.also or ())
        return [
            Segmented(
                found=one.segments,
                classes=self.classes,
                things=self.things,
                palette=self.palette,
                objects=one.objects and one.objects.above(self.how().shown),
                mask=one.classes,
                **own,
            )
            for one, own in zip(found, seen, strict=True)
        ]

    def columns(self) -> list[str]:
        masks = ["mask"] if "semantic" in (self.options.also or ()) else []
        return ["panoptic", *masks, "height", "width", "segments", *self.classes]

    def files(self, answer: Segmented) -> dict[str, tuple[str, Image.Image | str]]:
        files: dict[str, tuple[str, Image.Image | str]] = {
            "panoptic": (f"{FOLDER}/{{}}.png", ids_picture(answer.ids)),
        }
        if answer.mask is not None:
            files["mask"] = ("masks/{}.png", palette_picture(answer.mask, self.palette))
        if self.options.overlays != "none":
            files["overlay"] = (f"overlays/{{}}.{self.options.overlays}", answer.draw())
        return files

    def papers(self) -> dict[str, str]:
        """What the numbers in masks of classes mean, as data.class_files reads it."""
        return class_table(self.classes, self.palette) if "semantic" in (self.options.also or ()) else {}

    @contextmanager
    def ledger(self, folder: Path) -> Iterator[Callable[[Segmented, dict[str, str]], None]]:
        """panoptic.json, a data set of COCO with scores, and segments.csv; with instance answers coco.json and
        objects.csv."""
        with ExitStack() as stack:
            book = stack.enter_context(ledger(folder, self.classes, self.things, self.palette))
            objects = None
            if "instance" in (self.options.also or ()):
                objects = stack.enter_context(objects_ledger.ledger(folder, self.classes))

            def note(answer: Segmented, paths: dict[str, str]) -> None:
                book.add(answer.name, answer.size, answer.found, paths["panoptic"])
                if objects is not None and answer.objects is not None:
                    objects.add(answer.name, answer.size, answer.objects)

            yield note

    def thumbnail(self, answer: Segmented) -> Any:
        small = thumbnail(answer.picture(), answer.found.panoptic, self.palette, self.things)
        return small, Path(answer.name).name, [segment.label for segment in answer.found.panoptic.segments]

    def sheet(self, thumbnails: Sequence[Any]) -> Image.Image:
        return draw_sheet(thumbnails, self.classes, self.palette)

    def reader(self, source: Source) -> EvalSamples:
        return EvalSamples(source, self.transform(), self.classes, self.things)

    def judged(self) -> tuple[str, ...]:
        """What `volovan validate` judges besides segments: what was asked for, else all that can be."""
        if self.options.also is not None:
            return self.options.also
        possible = {"instance": any(self.things), "semantic": len(self.classes) <= MAX_CLASSES}
        return tuple(name for name in ALSO if possible[name])

    def metric(self, device: torch.device, samples: EvalSamples) -> PanopticMetric:
        return PanopticMetric(self.classes, self.things, self._find, device, self.judged())

    def _find(self, model: Any, batch: dict[str, Any]) -> list[Answers]:
        return find_each(model, batch["image"], batch["picture_size"], self.things, self.how(), self.judged())

    def conditions(self) -> str:
        """Such as "(into 1333x800)"."""
        test = self.how()
        return "(as they are)" if test.size is None else f"(into {max(test.size)}x{min(test.size)})"

    def table(self, metric: PanopticMetric) -> list[str]:
        figures = metric.finish()
        lines = ["              PQ     SQ     RQ"]
        for group, name in (("", "all"), ("_things", "things"), ("_stuff", "stuff")):
            values = "".join(f"{figures[key + group]:7.3f}" for key in ("pq", "sq", "rq"))
            lines.append(f"  {name:8s}{values}")
        if "instance" in metric.also:
            lines.append(f"  AP of objects by their masks {figures['mask_ap']:.3f}")
        if "semantic" in metric.also:
            lines.append(f"  mIoU of classes {figures['miou']:.3f}")
        return lines

    def facts(self, metric: PanopticMetric) -> dict[str, Any]:
        return {"test": asdict(self.how())}

    def report(self, metric: PanopticMetric, source: Source, folder: Path) -> list[str]:
        table = metric.per_class()
        rows = (
            [name, *(f"{value:.6g}" for value in row)] for name, *row in zip(self.classes, *table.values(), strict=True)
        )
        return [
            write_table(folder / "per_class.csv", ("class", *table), rows),
            *(path.name for path in draw_figures(metric, folder)),
        ]

    def truth(self, source: Source, index: int) -> Panoptic:
        return self.reader(source).there(index)

    def compare(self, answer: Segmented, target: Panoptic, said: str) -> Image.Image:
        found, own = answer.found.panoptic, compare(answer.found.panoptic, target, len(self.classes))
        counts = [(int(tp), int(fp), int(fn)) for tp, fp, fn in zip(own.tp, own.fp, own.fn, strict=True)]
        title = f"{answer.name}    {said}"
        return draw_comparison(answer.picture(), found, target, self.classes, self.palette, self.things, counts, title)
