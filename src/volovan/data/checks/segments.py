"""What check_data says of pictures with a segment for every pixel."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from volovan.data.checks.report import TURNED, Report, Sample, SplitReport, class_lines, percent, table_lines
from volovan.data.errors import BadImage
from volovan.data.panoptic.overlay import segments_overlay
from volovan.data.panoptic.segments import VOID
from volovan.data.panoptic.teaching import useless_segments
from volovan.data.samples import doubts_on, may_be_turned, palette_of, things_of, unpaired_of
from volovan.data.source import Source


@dataclass
class SegmentSplit(SplitReport):
    """segments, pictures, pixels: of each class, of segments that are no crowds.

    per_picture  segments of each picture; crowds: segments that are crowds
    counted      pixels of all pictures, void: of these those of which nothing is known
    """

    segments: dict[str, int] = field(default_factory=dict)
    pictures: dict[str, int] = field(default_factory=dict)
    pixels: dict[str, int] = field(default_factory=dict)
    per_picture: list[int] = field(default_factory=list)
    crowds: int = 0
    counted: int = 0
    void: int = 0

    @property
    def samples_of(self) -> dict[str, int]:
        return self.pictures


@dataclass(frozen=True)
class Looked:
    """What is kept of a picture: of each segment label, crowd, area; void, counted: pixels."""

    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    void: int
    counted: int
    doubts: list[str]
    turned: bool


@dataclass
class PanopticReport(Report[SegmentSplit]):
    """Of a segment for every pixel."""

    things: list[str] = field(default_factory=list)  # classes that are counted
    bad_segments: list[Sample] = field(default_factory=list)  # that cannot be used, label: None
    unpaired: list[str] = field(default_factory=list)
    doubts: list[Sample] = field(default_factory=list)
    turned: list[Sample] = field(default_factory=list)  # by EXIF, and nothing tells whether their segments are

    grid = (24, 6, 220)
    shown_as = "segments (striped: crowds; void keeps its colours)"

    def begin(self, split: str, source: Source, checked: int) -> SegmentSplit:
        self.unpaired = list(dict.fromkeys([*self.unpaired, *unpaired_of(source)]))
        self.things = [name for name, of_things in zip(source.classes, things_of(source), strict=True) if of_things]
        return SegmentSplit(len(source), checked)

    def look(self, source: Source, index: int) -> Looked:
        found = source.target(index)
        return Looked(
            labels=np.array([segment.label for segment in found.segments], int),
            crowd=np.array([segment.crowd for segment in found.segments], bool),
            areas=found.areas(),
            void=int(np.count_nonzero(found.ids == VOID)),
            counted=found.ids.size,
            doubts=doubts_on(source, index, found),
            turned=may_be_turned(source, index),
        )

    def add(self, sample: Sample, found: Looked) -> None:
        summary = self.splits[sample.split]
        self.doubts += [Sample(sample.split, sample.name, None, sentence) for sentence in found.doubts]
        self.turned += [sample] * found.turned
        known = ~found.crowd
        summary.per_picture.append(int(known.sum()))
        summary.crowds += int(found.crowd.sum())
        summary.counted += found.counted
        summary.void += found.void
        if found.void == found.counted:
            self.add_odd("pictures of which every pixel is void", sample)
        for number in np.unique(found.labels[known]).tolist():
            name, of_class = self.classes[number], known & (found.labels == number)
            for counts, more in (
                (summary.segments, int(of_class.sum())),
                (summary.pictures, 1),
                (summary.pixels, int(found.areas[of_class].sum())),
            ):
                counts[name] = counts.get(name, 0) + more

    def add_bad(self, split: str, error: BadImage) -> None:
        self.bad_segments.append(Sample(split, error.name, None, error.reason))

    def refused(self, split: str, role: str, source: Source) -> list[str]:
        summary = self.splits[split]
        if summary.checked and not summary.per_picture:
            return [f"No segments of the {split} split can be used."]
        why = "" if any(summary.segments.values()) else useless_segments(self.source, source, role)
        return [why] if why else []

    def title(self) -> str:
        count = len(self.things)
        return f"{len(self.classes)} classes of segments ({count} of things, {len(self.classes) - count} of stuff)"

    def tables(self) -> list[list[str]]:
        """Segments of each picture and of each class."""
        rows = [["split", "segments", "of things", "in a picture", "pictures without", "crowds", "void"]]
        for name, split in self.splits.items():
            each = split.per_picture
            span = f"{min(each)} / {np.median(each):g} / {max(each)}" if each else "-"
            of_things = sum(split.segments.get(thing, 0) for thing in self.things)
            counts = [f"{each.count(0):,}", f"{split.crowds:,}", percent(split.void, split.counted)]
            rows.append([name, f"{sum(each):,}", f"{of_things:,}", span, *counts])
        return [[*table_lines(rows), "(in a picture: smallest / median / largest)"], self._classes_table()]

    def _classes_table(self) -> list[str]:
        def row(name: str) -> list[str]:
            cells = ["thing" if name in self.things else "stuff"]
            for split in self.splits.values():
                cells += [f"{split.segments.get(name, 0):,}", f"{split.pictures.get(name, 0):,}"]
                cells.append(percent(split.pixels.get(name, 0), split.counted))
            return cells

        heading = ["class", "", *(f"{name} {of}" for name in self.splits for of in ("segments", "pictures", "pixels"))]
        first = next(iter(self.splits.values())).pixels
        return class_lines(heading, self.classes, row, order=lambda name: -first.get(name, 0))

    def findings(self) -> list[tuple[str, Sequence[Any], str]]:
        return [
            ("Without partner", self.unpaired, "files without partner"),
            ("Segments whose area is not that of their pixels", self.doubts, ""),
            ("Segments that cannot be used", self.bad_segments, "pictures whose segments cannot be used"),
            (TURNED.format("segments of this size"), self.turned, ""),
        ]

    def spoils(self) -> list[tuple[Sequence[Any], str]]:
        found = [(self.doubts, "segments of another area"), (self.turned, "pictures whose segments may be turned")]
        return [*super().spoils(), *found]

    def thumbnail(self, source: Source, index: int, size: int) -> tuple[Image.Image, list[str], Iterable[int]]:
        found = source.target(index)
        shown = segments_overlay(source.load(index), found, palette_of(source), things_of(source))
        return shown, [], {segment.label for segment in found.segments}
