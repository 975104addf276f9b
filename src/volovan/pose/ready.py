"""A pose network in use: the points of objects, whose boxes come from a detector, a file, or are the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from volovan.data.objects.annotated import Annotated
from volovan.data.objects.skeleton import Skeleton
from volovan.data.source import Source
from volovan.engine.settings import SettingsError
from volovan.pose.boxes import Finder, boxes_of_detector, boxes_of_file, whole_picture
from volovan.pose.data import EvalSamples
from volovan.pose.draw import draw_comparison, draw_figures, draw_poses, draw_sheet, thumbnail
from volovan.pose.found import Boxes, Poses
from volovan.pose.inference import Reading, annotated_boxes, find_points
from volovan.pose.metrics import PoseMetric
from volovan.pose.network import PoseModel
from volovan.pose.recipe import Recipe, TestSettings, check_test
from volovan.pose.written import ledger
from volovan.room.cut import whole
from volovan.room.network import described
from volovan.room.ready import Answer, Ready, ReadyOptions, write_table
from volovan.room.settings import Size, between
from volovan.room.views import pixels


@dataclass(frozen=True)
class Options(ReadyOptions):
    """See `arguments.py`; None: as the run was validated."""

    detector: str | None = None
    detector_class: str | None = None
    detector_score: float | None = None
    boxes: str | None = None
    flip: bool | None = None
    coding: Literal["plain", "dark"] | None = None
    score: float | None = None
    overlays: Literal["jpg", "png", "none"] = "jpg"

    def __post_init__(self) -> None:
        super().__post_init__()
        between("--score", self.score, 0, 1)
        between("--detector-score", self.detector_score, 0, 1)
        if self.detector and self.boxes:
            raise SettingsError("--detector and --boxes both say where objects are; give one of them")
        for key in ("detector_class", "detector_score"):
            if getattr(self, key) is not None and not self.detector:
                raise SettingsError(f"--{key.replace('_', '-')} belongs to --detector; name a run of detection with it")
        if self.size == "native":
            raise SettingsError(
                "--size native: an object is brought to one size; give height and width, or leave it out"
            )


@dataclass(frozen=True)
class Posed(Answer):
    """N objects of a picture with K points each, the surest first, in its pixels.

    found     see `Poses`
    size      (height, width) of the picture
    skeleton  names of the points, and the lines between them
    objects   names of the classes
    sure      from which on a point is drawn
    """

    found: Poses
    size: Size
    skeleton: Skeleton
    objects: tuple[str, ...]
    sure: float

    def __len__(self) -> int:
        return len(self.found)

    @property
    def points(self) -> np.ndarray:
        """(N, K, 3) float64: x, y and how sure, 0 to 1."""
        return self.found.points

    @property
    def scores(self) -> np.ndarray:
        """(N,) float64, 0 to 1."""
        return self.found.scores

    @property
    def boxes(self) -> np.ndarray:
        """(N, 4) float64: x1, y1, x2, y2 in which points were looked for."""
        return self.found.boxes

    @property
    def names(self) -> list[str]:
        """The class of each."""
        return [self.objects[number] for number in self.found.labels]

    def agrees(self, other: Posed) -> float:
        """Points that lie within a hundredth of the longer side of the picture, of those that either is sure of."""
        if len(self) != len(other):
            return 0.0
        away = np.abs(self.points[..., :2] - other.points[..., :2]).max(axis=-1, initial=0)
        away = away[np.maximum(self.points[..., 2], other.points[..., 2]) >= self.sure]
        return float((away <= max(self.size) / 100).mean()) if away.size else 1.0

    def row(self) -> dict[str, Any]:
        height, width = self.size
        objects = [
            {
                "class": name,
                "score": round(float(score), 6),
                "box": [round(side, 2) for side in box],
                "points": {
                    point: [round(value, 3) for value in place]
                    for point, place in zip(self.skeleton.names, places, strict=True)
                },
            }
            for name, score, box, places in zip(
                self.names, self.scores, self.boxes.tolist(), self.points.tolist(), strict=True
            )
        ]
        return {"height": height, "width": width, "objects": objects}

    def cells(self) -> dict[str, str]:
        return {"height": str(self.size[0]), "width": str(self.size[1]), "objects": str(len(self))}

    def draw(self) -> Image.Image:
        return draw_poses(self.picture(), self.found, self.skeleton, self.objects, self.sure)


class ReadyPose(Ready[Posed]):
    """See `Ready`.

    reading  how the maps are made and read
    objects  names of the classes of objects
    test     how the run was validated
    finder   where the objects of a picture are; None: as annotated in validation, the picture itself in prediction
    """

    room: ClassVar[str] = "pose"
    kind, goal = "points", "ap"
    options: Options = Options()
    model: PoseModel
    finder: Finder | None = None

    def __init__(
        self, name: str, model: PoseModel, reading: Reading, objects: Sequence[str], test: TestSettings
    ) -> None:
        super().__init__(name, model, reading.skeleton.names)
        self.reading, self.objects, self.test = reading, tuple(objects), test

    @classmethod
    def described(cls, about: dict[str, Any], name: str) -> Self:
        said, test = about["reading"], TestSettings(**about["test"])
        skeleton = Skeleton(**{key: _frozen(value) for key, value in said["skeleton"].items()})
        reading = Reading(**{**said, "size": tuple(said["size"]), "skeleton": skeleton})
        return cls(name, described(PoseModel, about), reading, about["objects"], test)

    @classmethod
    def with_weights(cls, variant: str | None, recipe: Recipe | None, weights: str | None) -> Self:
        raise SettingsError(
            f"{variant or 'the recipe'} has no pose network that says which points it places; name a run of "
            "`volovan fit`, whose recipe may start from --model.weights FILE"
        )

    def using(self, **options: Any) -> Self:
        """See `Ready.using`. detector, boxes: where objects are; `finder` takes a function of one's own."""
        other = super().using(**options)
        asked = other.options
        if options.keys() & {"detector", "detector_class", "detector_score", "boxes"}:
            other.finder = None
            if asked.boxes:
                other.finder = boxes_of_file(asked.boxes, self.objects)
            elif asked.detector:
                network = self.open_other(asked.detector).to(self.device).fused()
                other.finder = boxes_of_detector(network, self.objects, asked.detector_class, asked.detector_score)
        return other

    cut = whole("heat_maps")

    def says(self) -> dict[str, Any]:
        return {"test": asdict(self.test), "reading": asdict(self.reading), "objects": list(self.objects)}

    def check(self) -> None:
        check_test(self.how())

    def how(self) -> TestSettings:
        """The settings of the run, with what the options say instead."""
        own = self.options
        said: dict[str, Any] = {"flip": own.flip, "coding": own.coding, "shown": own.score}
        return replace(self.test, **{key: value for key, value in said.items() if value is not None})

    def seen(self) -> Reading:
        """The same of how objects come to the network."""
        return self.reading if self.options.size is None else replace(self.reading, size=self.options.size)

    def transform(self) -> Callable[[Image.Image], Tensor]:
        return pixels

    def answers(self, images: Tensor, sizes: Sequence[Size], seen: Sequence[dict[str, Any]]) -> list[Posed]:
        how = self.how()
        boxes = self.boxes_in(list(images), [own["name"] for own in seen])
        found = find_points(self.model, list(images), boxes, self.seen(), how)
        return [
            Posed(found=one, size=size, skeleton=self.reading.skeleton, objects=self.objects, sure=how.shown, **own)
            for one, size, own in zip(found, sizes, seen, strict=True)
        ]

    def boxes_in(self, pictures: Sequence[Tensor], names: Sequence[str]) -> list[Boxes]:
        """Where the objects of pictures (H, W, 3) uint8 are."""
        finder = self.finder or whole_picture
        return [
            finder(Image.fromarray(picture.cpu().numpy()), name) for picture, name in zip(pictures, names, strict=True)
        ]

    def columns(self) -> list[str]:
        return ["height", "width", "objects"]

    def files(self, answer: Posed) -> dict[str, tuple[str, Image.Image | str]]:
        if self.options.overlays == "none":
            return {}
        return {"overlay": (f"overlays/{{}}.{self.options.overlays}", answer.draw())}

    @contextmanager
    def ledger(self, folder: Path) -> Iterator[Callable[[Posed, dict[str, str]], None]]:
        """coco.json, a data set of COCO with scores, and points.csv, a row for each point."""
        with ledger(folder, self.objects, self.reading.skeleton, self.how().shown) as book:
            yield lambda answer, paths: book.add(answer.name, answer.size, answer.found)

    def thumbnail(self, answer: Posed) -> Any:
        return (
            thumbnail(answer.picture(), answer.found, answer.skeleton, answer.sure),
            Path(answer.name).name,
            len(answer),
        )

    def sheet(self, thumbnails: Sequence[Any]) -> Image.Image:
        return draw_sheet(thumbnails)

    def reader(self, source: Source) -> EvalSamples:
        return EvalSamples(source, self.transform(), self.classes, self.objects)

    def metric(self, device: torch.device, samples: EvalSamples) -> PoseMetric:
        return PoseMetric(self.objects, self.reading.skeleton, self._find, device)

    def _find(self, model: Any, batch: dict[str, Any]) -> list[Poses]:
        """Points in the boxes of the finder, else in those that were annotated."""
        if self.finder is None:
            boxes = [annotated_boxes(there) for there in batch["annotated"]]
        else:
            boxes = self.boxes_in(batch["image"], batch["name"])
        return find_points(model, batch["image"], boxes, self.seen(), self.how())

    def conditions(self) -> str:
        """Such as "(objects at 256x192, annotated boxes, flip test)"."""
        height, width = self.seen().size
        boxes = "annotated boxes"
        if self.finder is not None:
            boxes = f"boxes of {self.options.detector or self.options.boxes or 'a function'}"
        return f"(objects at {height}x{width}, {boxes}{', flip test' if self.how().flip else ''})"

    def table(self, metric: PoseMetric) -> list[str]:
        figures = metric.finish()
        lines = ["        AP   AP50   AP75      M      L     AR    PCK"]
        names = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "pck")
        return [*lines, "   " + "".join(f"{figures[name]:7.3f}" for name in names)]

    def facts(self, metric: PoseMetric) -> dict[str, Any]:
        return {"test": asdict(self.how()), "boxes": self.options.detector or self.options.boxes or "annotated"}

    def report(self, metric: PoseMetric, source: Source, folder: Path) -> list[str]:
        table = metric.per_point()
        rows = (
            [name, *(f"{value:.6g}" for value in row)] for name, *row in zip(self.classes, *table.values(), strict=True)
        )
        return [
            write_table(folder / "per_point.csv", ("point", *table), rows),
            *(path.name for path in draw_figures(metric, folder)),
        ]

    def truth(self, source: Source, index: int) -> Annotated:
        return self.reader(source).there(index)

    def compare(self, answer: Posed, target: Annotated, said: str) -> Image.Image:
        found = answer.found
        if self.finder is None:  # the answer is of the picture as a whole
            boxes, pictures = [annotated_boxes(target)], [pixels(answer.picture())]
            (found,) = find_points(self.model, pictures, boxes, self.seen(), self.how())
        title = f"{answer.name}    {said}"
        return draw_comparison(answer.picture(), found, target, self.reading.skeleton, answer.sure, title)


def _frozen(value: Any) -> Any:
    """JSON's lists as tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
