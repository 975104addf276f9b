"""What check_data says of objects in boxes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from volovan.data.checks.report import TURNED, Report, Sample, SplitReport, class_lines, table_lines
from volovan.data.checks.sizes import AREAS, sizes_figure
from volovan.data.errors import BadImage
from volovan.data.objects.annotated import Annotated
from volovan.data.objects.overlay import Mark, painted
from volovan.data.objects.teaching import useless_objects
from volovan.data.pictures.palettes import Colour
from volovan.data.samples import may_be_turned, palette_of, picture_size_of, skeleton_of, unpaired_of
from volovan.data.source import Source

SAME = 0.95
"""IoU from which on two objects of a class are one that was annotated twice"""
AGREEING = 0.9
"""IoU of a box with that around its outline, from which on they agree"""
_AT_ONCE = 256  # objects that are compared with all others
_ROUNDED = 1.0  # pixels by which corners differ that were rounded
_TINY, _TINY_SEEN = 4, 8  # side of a square of few pixels, in the picture and in what the network sees
_FLAWS = {  # what is said of single objects
    "outside": "Objects outside of their picture, which are not learned",
    "cut": "Objects that reach over the edge of their picture, where they are cut",
    "empty": "Objects whose box has no area, which are not learned",
    "twice": f"Objects that repeat another one of their class (IoU above {SAME:g})",
    "tiny": f"Objects smaller than {_TINY} x {_TINY} pixels",
    "disagreeing": f"Objects whose box is not that around their outline (IoU below {AGREEING:g})",
    "bare": "Pictures with objects that have no outline, where others have one",
}
_SPOILING = {
    "outside": "objects outside of their picture",
    "empty": "objects without area",
    "twice": "objects annotated twice",
    "disagreeing": "objects whose box and outline disagree",
}


@dataclass
class BoxSplit(SplitReport):
    """Of each class objects that are no crowds, pictures that show some, and their sizes: [small, medium, large] as
    COCO counts them.

    per_picture  objects of each picture
    crowds       objects that are crowds; cut: that reach over the edge; unseen: too small where the network sees them;
                 outlined: that have an outline
    """

    objects: dict[str, int] = field(default_factory=dict)
    pictures: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, list[int]] = field(default_factory=dict)
    per_picture: list[int] = field(default_factory=list)
    crowds: int = 0
    cut: int = 0
    unseen: int = 0
    outlined: int = 0

    def __post_init__(self) -> None:
        """measured: not for JSON; of each class (N, 4): width, height, area, share of the picture."""
        self.measured: dict[str, list[np.ndarray]] = {}

    @property
    def samples_of(self) -> dict[str, int]:
        return self.pictures


@dataclass(frozen=True)
class Looked:
    """What is kept of a picture with objects. flaws: (kind, sentence); measured: as `BoxSplit`; doubtful: whether it
    may be turned."""

    flaws: list[tuple[str, str]]
    labels: np.ndarray
    crowd: np.ndarray
    measured: np.ndarray
    scale: float
    outlined: int
    doubtful: bool


@dataclass
class BoxReport(Report[BoxSplit]):
    """Of objects in boxes, perhaps with outlines."""

    bad_objects: list[Sample] = field(default_factory=list)  # annotations that cannot be used, label: None
    unpaired: list[str] = field(default_factory=list)
    flaws: dict[str, list[Sample]] = field(default_factory=dict)
    turned: list[Sample] = field(default_factory=list)  # by EXIF, and nothing tells whether their objects are

    grid = (15, 3, 400)
    shown_as = "objects over pictures (dashed: crowds)"
    usual_size = 800
    flaws_said: ClassVar[dict[str, str]] = _FLAWS
    spoiling: ClassVar[dict[str, str]] = _SPOILING

    def __post_init__(self) -> None:
        """bare: not for JSON; pictures with an object that has no outline, as long as none has one."""
        self.bare: list[Sample] = []
        self.palette: dict[str, Colour] = {}

    def begin(self, split: str, source: Source, checked: int) -> BoxSplit:
        self.unpaired = list(dict.fromkeys([*self.unpaired, *unpaired_of(source)]))
        self.palette = dict(zip(source.classes, palette_of(source), strict=True))
        return BoxSplit(len(source), checked)

    def look(self, source: Source, index: int) -> Looked:
        found, (width, height) = source.target(index), picture_size_of(source, index)
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]).clip(0)
        measured = np.column_stack((sides, found.areas, found.areas / (width * height)))
        return Looked(
            flaws=[*_flaws(found, source.classes, width, height)],
            labels=found.labels,
            crowd=found.crowd,
            measured=measured,
            scale=self.size / min(width, height),
            outlined=sum(shape is not None for shape in found.shapes),
            doubtful=len(found) > 0 and may_be_turned(source, index),
        )

    def add(self, sample: Sample, found: Looked) -> None:
        summary = self.splits[sample.split]
        if found.doubtful:
            self.turned.append(sample)
        for kind, sentence in found.flaws:
            of_kind = self.bare if kind == "bare" else self.flaws.setdefault(kind, [])
            of_kind.append(Sample(sample.split, sample.name, None, sentence))
            summary.cut += kind == "cut"
        known = ~found.crowd
        summary.per_picture.append(int(known.sum()))
        summary.crowds += int(found.crowd.sum())
        summary.outlined += found.outlined
        if self.bare and any(split.outlined for split in self.splits.values()):
            self.flaws.setdefault("bare", []).extend(self.bare)
            self.bare = []
        summary.unseen += int((known & (found.measured[:, :2].prod(axis=1) * found.scale**2 < _TINY_SEEN**2)).sum())
        for number in np.unique(found.labels[known]).tolist():
            name, measured = self.classes[number], found.measured[known & (found.labels == number)]
            summary.objects[name] = summary.objects.get(name, 0) + len(measured)
            summary.pictures[name] = summary.pictures.get(name, 0) + 1
            sizes = summary.sizes.setdefault(name, [0] * len(AREAS))
            for place, (low, high) in enumerate(AREAS.values()):
                sizes[place] += int(((measured[:, 2] >= low) & (measured[:, 2] < high)).sum())
            summary.measured.setdefault(name, []).append(measured)

    def add_bad(self, split: str, error: BadImage) -> None:
        self.bad_objects.append(Sample(split, error.name, None, error.reason))

    def refused(self, split: str, role: str, source: Source) -> list[str]:
        """The objects that were looked at are enough as a rule, so that no other one needs to be read."""
        summary = self.splits[split]
        if summary.checked and not summary.per_picture:
            return [f"No annotations of the {split} split can be used."]
        why = useless_objects(self.source, source, role)
        return [why] if why else []

    def title(self) -> str:
        return f"{len(self.classes)} classes of objects"

    def tables(self) -> list[list[str]]:
        """Objects of each picture, of each class, and how large they are."""
        rows = [["split", "objects", "in a picture", "pictures without", "crowds", "cut by the edge", "with outline"]]
        for name, split in self.splits.items():
            each = split.per_picture
            span = f"{min(each)} / {np.median(each):g} / {max(each)}" if each else "-"
            counts = (each.count(0), split.crowds, split.cut, split.outlined)
            rows.append([name, f"{sum(each):,}", span, *(f"{count:,}" for count in counts)])
        lines = [*table_lines(rows), "(in a picture: smallest / median / largest)"]
        if unseen := sum(split.unseen for split in self.splits.values()):
            total = sum(sum(split.per_picture) for split in self.splits.values())
            lines.append(
                f"{unseen:,} objects ({100 * unseen / total:.1f} %) are smaller than {_TINY_SEEN} x {_TINY_SEEN} "
                f"pixels where the shorter side is scaled to {self.size} (--size says another one)."
            )
        return [lines, self._classes_table()]

    def _classes_table(self) -> list[str]:
        splits, measured = self.splits.values(), self._measured()

        def row(name: str) -> list[str]:
            counts = [of.get(name, 0) for split in splits for of in (split.objects, split.pictures)]
            sizes = [sum(split.sizes[name][place] for split in splits if name in split.sizes) for place in range(3)]
            share = f"{100 * np.median(measured[name][:, 3]):.2f} %" if name in measured else "-"
            return [*(f"{count:,}" for count in (*counts, *sizes)), share]

        counted = [f"{name} {what}" for name in self.splits for what in ("objects", "pictures")]
        first = next(iter(splits)).objects
        lines = class_lines(
            ["class", *counted, *AREAS, "of the picture"], self.classes, row, order=lambda name: -first.get(name, 0)
        )
        return [*lines, "(small: under 32 x 32 pixels, large: from 96 x 96 on; of the picture: median)"]

    def _measured(self) -> dict[str, np.ndarray]:
        """Of each class that has objects, over all splits."""
        found: dict[str, list[np.ndarray]] = {}
        for split in self.splits.values():
            for name, parts in split.measured.items():
                found.setdefault(name, []).extend(parts)
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def pictures(self) -> Iterator[tuple[str, Image.Image]]:
        sizes = {name: found[(found[:, :3] > 0).all(axis=1), :3] for name, found in self._measured().items()}
        if any(map(len, sizes.values())):
            yield "sizes.png", sizes_figure(sizes, self.palette, f"{self.source}: objects of {len(sizes)} classes")

    def findings(self) -> list[tuple[str, Sequence[Any], str]]:
        return [
            ("Without partner", self.unpaired, "files without partner"),
            *((title, self.flaws.get(kind, ()), "") for kind, title in self.flaws_said.items()),
            ("Annotations that cannot be used", self.bad_objects, "pictures whose annotations cannot be used"),
            (TURNED.format("their objects"), self.turned, ""),
        ]

    def spoils(self) -> list[tuple[Sequence[Any], str]]:
        found = [(self.flaws.get(kind, ()), called) for kind, called in self.spoiling.items()]
        return [*super().spoils(), *found, (self.turned, "pictures whose objects may be turned")]

    def thumbnail(self, source: Source, index: int, size: int) -> tuple[Image.Image, list[str], Iterable[int]]:
        picture, found, palette = source.load(index), source.target(index), palette_of(source)
        # Small objects come first: their names matter most where there is no room.
        marks = [
            Mark(box, palette[number], source.classes[number], found.shapes[row], bool(found.crowd[row]), points)
            for row in np.argsort(found.areas, kind="stable").tolist()
            for box, number in [(found.boxes[row].tolist(), int(found.labels[row]))]
            for points in [None if found.points is None else found.points[row]]
        ]
        scale = self.grid[2] / max(picture.size)
        how = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
        shown = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), how)
        return painted(picture, shown, marks, skeleton_of(source)), [], {*found.labels.tolist()}


def _flaws(found: Annotated, classes: Sequence[str], width: int, height: int) -> Iterator[tuple[str, str]]:
    """(kind, sentence) of what is wrong with single objects."""
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    empty, inside = (sides <= 0).any(axis=1), _inside(found.boxes, width, height)
    outlined = np.array([shape is not None for shape in found.shapes], bool)

    def said(row: int, more: str = "") -> str:
        x1, y1, x2, y2 = (f"{value:.4g}" if abs(value) < 1 else f"{value:.1f}" for value in found.boxes[row])
        place = f"{found.places[row]}, " if found.places else ""
        return f"{place}{classes[found.labels[row]]}: {x1}, {y1} to {x2}, {y2}{more}"

    def rows(chosen: np.ndarray) -> list[int]:
        numbers: list[int] = np.flatnonzero(chosen).tolist()
        return numbers

    for row in rows(empty):
        yield "empty", said(row)
    for row in rows(~empty & ~inside):
        yield "outside", said(row, f" of {width} x {height}")
    over = np.concatenate((-found.boxes[:, :2], found.boxes[:, 2:] - (width, height)), axis=1) > _ROUNDED
    for row in rows(inside & over.any(axis=1)):
        yield "cut", said(row, f" of {width} x {height}")
    for row in rows(inside & ~found.crowd & (sides.prod(axis=1) < _TINY**2)):
        yield "tiny", said(row)
    for row, other in _twice(found):
        yield "twice", said(row, f", as {found.places[other]}" if found.places else "")
    for row in rows(outlined & inside):
        shape = found.shapes[row]
        assert shape is not None
        around = np.array(shape.box())
        differ = abs(around - found.boxes[row]).max() > _ROUNDED
        if differ and _iou(around[None], found.boxes[row][None])[0, 0] < AGREEING:
            x1, y1, x2, y2 = around.tolist()
            yield "disagreeing", said(row, f", its outline {x1:.1f}, {y1:.1f} to {x2:.1f}, {y2:.1f}")
    if without := rows(~outlined):
        yield "bare", said(without[0], f" ({len(without) - 1:,} others as well)" if len(without) > 1 else "")


def _twice(found: Annotated) -> Iterator[tuple[int, int]]:
    """(object, an earlier one of its class that it repeats); crowds are none."""
    for number in np.unique(found.labels):
        rows = np.flatnonzero((found.labels == number) & ~found.crowd)
        for begin in range(0, len(rows), _AT_ONCE):
            some, boxes = rows[begin : begin + _AT_ONCE], found.boxes[rows[: begin + _AT_ONCE]]
            overlaps = np.tril(_iou(found.boxes[some], boxes), begin - 1)
            for place in np.flatnonzero((overlaps > SAME).any(axis=1)):
                yield int(some[place]), int(rows[int(overlaps[place].argmax())])


def _iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N, 4), (M, 4) -> (N, M); 0 of boxes without area."""
    low, high = np.maximum(one[:, None, :2], other[None, :, :2]), np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = (high - low).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (one, other)]
    found: np.ndarray = both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1e-9)
    return found


def _inside(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """(N,) bool: whether some of a box lies in the picture."""
    cut = boxes.clip(0, (width, height, width, height))
    return np.all(cut[:, 2:] > cut[:, :2], axis=1)
