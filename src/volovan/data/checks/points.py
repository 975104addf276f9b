"""What check_data says of objects with named points, besides what it says of their boxes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from volovan.data.checks.boxes import BoxReport, BoxSplit, Looked
from volovan.data.checks.report import Sample, class_lines
from volovan.data.objects.annotated import Annotated
from volovan.data.objects.skeleton import Skeleton
from volovan.data.samples import classes_in, picture_size_of, skeleton_of, spread_indices
from volovan.data.source import Source

_FAR = 0.25  # of the longer side of a box, by which a point may lie beside it
_ROUNDED = 1.0  # pixels by which it may lie beside the picture
_LOOKED_THROUGH = 8  # times as many pictures as are shown
_TOGETHER = 0.5  # pixels between points that are at one place


@dataclass
class PointSplit(BoxSplit):
    """labelled, visible: of each name, the points of objects that are no crowds; pointless: objects without any."""

    labelled: dict[str, int] = field(default_factory=dict)
    visible: dict[str, int] = field(default_factory=dict)
    pointless: int = 0


@dataclass(frozen=True)
class LookedAtPoints(Looked):
    """seen: (N, K) v of the points of each object."""

    seen: np.ndarray


@dataclass
class PointReport(BoxReport):
    """Of objects with named points."""

    points: list[str] = field(default_factory=list)  # their names

    shown_as = "objects and their points (dashed: crowds; hollow: hidden points)"
    flaws_said: ClassVar[dict[str, str]] = BoxReport.flaws_said | {
        "point_outside": "Objects with labelled points outside of their picture",
        "point_far": f"Objects with labelled points beside their box (by more than {_FAR:.0%} of its longer side)",
        "together": "Objects with several labelled points at one place",
    }
    spoiling: ClassVar[dict[str, str]] = BoxReport.spoiling | {
        "point_outside": "objects with points outside of their picture",
        "together": "objects with several points at one place",
    }

    def begin(self, split: str, source: Source, checked: int) -> PointSplit:
        boxes, skeleton = super().begin(split, source, checked), skeleton_of(source)
        assert skeleton is not None  # as its kind says
        self.points = list(skeleton.names)
        return PointSplit(boxes.samples, boxes.checked)

    def look(self, source: Source, index: int) -> LookedAtPoints:
        looked, found, skeleton = super().look(source, index), source.target(index), skeleton_of(source)
        assert found.points is not None and skeleton is not None  # noqa: PT018
        flaws = [*looked.flaws, *_flaws(found, source.classes, skeleton, *picture_size_of(source, index))]
        return LookedAtPoints(**{**vars(looked), "flaws": flaws}, seen=found.points[..., 2])

    def add(self, sample: Sample, found: Looked) -> None:
        super().add(sample, found)
        summary = self.splits[sample.split]
        assert isinstance(summary, PointSplit)
        assert isinstance(found, LookedAtPoints)  # of `look`
        seen = found.seen[~found.crowd]
        summary.pointless += int((seen == 0).all(axis=1).sum())
        for name, labelled, visible in zip(self.points, (seen > 0).sum(0), (seen == 2).sum(0), strict=True):
            summary.labelled[name] = summary.labelled.get(name, 0) + int(labelled)
            summary.visible[name] = summary.visible.get(name, 0) + int(visible)

    def chosen(self, source: Source) -> list[int]:
        """Pictures without objects show no points."""
        some = spread_indices(len(source), _LOOKED_THROUGH * self.grid[0])
        return [index for index in some if classes_in(source, index)] or super().chosen(source)

    def title(self) -> str:
        return f"{super().title()} with {len(self.points)} points"

    def tables(self) -> list[list[str]]:
        """Those of boxes, and how often each point is labelled and visible."""
        splits = [split for split in self.splits.values() if isinstance(split, PointSplit)]

        def row(name: str) -> list[str]:
            return [f"{of.get(name, 0):,}" for split in splits for of in (split.labelled, split.visible)]

        heading = ["point", *(f"{name} {what}" for name in self.splits for what in ("labelled", "visible"))]
        first = splits[0].labelled
        lines = class_lines(heading, self.points, row, order=lambda name: -first.get(name, 0))
        if pointless := sum(split.pointless for split in splits):
            total = sum(sum(split.per_picture) for split in splits)
            lines.append(f"{pointless:,} of {total:,} objects have no labelled point: none of them is learned.")
        return [*super().tables(), lines]


def _flaws(
    found: Annotated, classes: Sequence[str], skeleton: Skeleton, width: int, height: int
) -> Iterator[tuple[str, str]]:
    """(kind, sentence) of what is wrong with the points of single objects that are no crowds."""
    assert found.points is not None
    for row in np.flatnonzero(~found.crowd).tolist():
        x, y, v = found.points[row].T
        labelled = v > 0
        place = f"{found.places[row]}, " if found.places else ""
        what = f"{place}{classes[found.labels[row]]}: "
        outside = np.maximum(np.maximum(-x, x - width), np.maximum(-y, y - height)) > _ROUNDED
        left, top, right, bottom = found.boxes[row]
        beside = np.maximum(np.maximum(left - x, x - right), np.maximum(top - y, y - bottom))
        far = beside > max(_FAR * max(right - left, bottom - top), _ROUNDED)
        size = f" of {width} x {height}"
        box = f", its box {left:.1f}, {top:.1f} to {right:.1f}, {bottom:.1f}"
        for kind, wrong, more in (("point_outside", outside, size), ("point_far", far & ~outside, box)):
            if numbers := np.flatnonzero(labelled & wrong).tolist():
                others = f" ({len(numbers) - 1} others as well)" if len(numbers) > 1 else ""
                first = numbers[0]
                yield kind, f"{what}{skeleton.names[first]} at {x[first]:.1f}, {y[first]:.1f}{more}{others}"
        numbers = np.flatnonzero(labelled).tolist()
        apart = np.hypot(*(at[numbers, None] - at[None, numbers] for at in (x, y)))
        one, other = np.nonzero(np.triu(apart < _TOGETHER, 1))
        if len(one):
            names = f"{skeleton.names[numbers[one[0]]]} and {skeleton.names[numbers[other[0]]]}"
            yield "together", f"{what}{names} at {x[numbers[one[0]]]:.1f}, {y[numbers[one[0]]]:.1f}"
