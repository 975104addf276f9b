"""What check_data says of targets of each kind; REPORTS has a line for every one."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from volovan.data.checks.boxes import BoxReport
from volovan.data.checks.points import PointReport
from volovan.data.checks.report import TURNED, Report, Sample, SplitReport, class_lines, percent, table_lines
from volovan.data.checks.segments import PanopticReport
from volovan.data.errors import BadImage
from volovan.data.lists.targets import targets_of
from volovan.data.masks.coding import IGNORE, BadMask
from volovan.data.masks.maps import SALIENT
from volovan.data.masks.overlay import overlay, salient_overlay
from volovan.data.masks.teaching import useless_maps, useless_masks
from volovan.data.samples import class_of, label_problem, may_be_turned, palette_of, spread_indices, unpaired_of
from volovan.data.source import Source

UNEVEN = 1.5
"""times as many samples in one class as in another, from which on it is said"""


@dataclass
class ClassSplit(SplitReport):
    """numbers: [smallest, mean, largest] of each. unlabelled, where pictures have several labels: those to which none
    applies."""

    per_class: dict[str, int] = field(default_factory=dict)
    unlabelled: int = 0
    numbers: dict[str, list[float]] = field(default_factory=dict)

    @property
    def samples_of(self) -> dict[str, int]:
        return self.per_class


@dataclass
class ClassReport(Report[ClassSplit]):
    """Of one class for each picture, or of pictures alone."""

    labels_out_of_range: list[Sample] = field(default_factory=list)
    bad_labels: list[Sample] = field(default_factory=list)  # label files that cannot be read

    unlabelled_line = "{split}: {count:,} samples have no label."

    def begin(self, split: str, source: Source, checked: int) -> ClassSplit:
        """Looks at all labels, whatever the limit: fit does so too, and no picture needs to be read."""
        for index in range(len(source)):
            label = class_of(source, index)
            if problem := label_problem(source, index):
                self.bad_labels.append(Sample(split, source.name(index), None, problem))
            elif label is not None and not 0 <= label < len(source.classes):
                self.labels_out_of_range.append(Sample(split, source.name(index), label, f"label {label}"))
        return self._count(source, checked)

    def _count(self, source: Source, checked: int) -> ClassSplit:
        labels = Counter(class_of(source, index) for index in range(len(source)))
        per_class = {name: labels.get(number, 0) for number, name in enumerate(source.classes)}
        return ClassSplit(len(source), checked, per_class=per_class, unlabelled=labels.get(None, 0))

    def title(self) -> str:
        return f"{len(self.classes)} classes" if self.classes else "unlabelled"

    def tables(self) -> list[list[str]]:
        splits = {name: split for name, split in self.splits.items() if any(split.per_class.values())}
        if not splits:
            return []
        first = next(iter(splits.values())).per_class
        lines = class_lines(
            ["class", *splits],
            self.classes,
            lambda name: [f"{split.per_class.get(name, 0):,}" for split in splits.values()],
            order=lambda name: first.get(name, 0),
        )
        least, most = min(first.values()), max(first.values())
        if least and most / least >= UNEVEN:
            lines.append(f"The largest class has {most / least:.1f} times as many samples as the smallest.")
        for name, split in self.splits.items():
            if split.unlabelled:
                lines.append(self.unlabelled_line.format(split=name, count=split.unlabelled))
        return [lines]

    def findings(self) -> list[tuple[str, Sequence[Any], str]]:
        without = f"Labels without a class (known: 0 to {len(self.classes) - 1})"
        return [
            (without, self.labels_out_of_range, "labels without a class"),
            ("Labels that cannot be read", self.bad_labels, "labels that cannot be read"),
        ]

    def chosen(self, source: Source) -> list[int]:
        """As many of each class, in the order of classes."""
        members: dict[int | None, list[int]] = {}
        for index in range(len(source)):
            members.setdefault(class_of(source, index), []).append(index)
        most = self.grid[0]
        labels = sorted(members, key=lambda label: -1 if label is None else label)
        labels = [labels[place] for place in spread_indices(len(labels), most)]
        each = -(-most // len(labels)) if labels else 0
        return [members[label][place] for label in labels for place in spread_indices(len(members[label]), each)]

    def thumbnail(self, source: Source, index: int, size: int) -> tuple[Image.Image, list[str], Iterable[int]]:
        return ImageOps.fit(source.load(index), (size, size)), [self._caption(source, index)], ()

    def _caption(self, source: Source, index: int) -> str:
        label = class_of(source, index)
        return source.classes[label] if label is not None and 0 <= label < len(source.classes) else ""


@dataclass
class LabelsReport(ClassReport):
    """Of several labels for each picture."""

    unlabelled_line = "{split}: to {count:,} samples no class applies."

    def _count(self, source: Source, checked: int) -> ClassSplit:
        targets = targets_of(source)
        assert targets is not None  # as its kind says
        per_class = dict(zip(targets.names, targets.values.sum(0, dtype=int).tolist(), strict=True))
        return ClassSplit(len(source), checked, per_class=per_class, unlabelled=int((targets.values.sum(1) == 0).sum()))

    def title(self) -> str:
        return f"{len(self.classes)} classes, several for a picture"

    def _caption(self, source: Source, index: int) -> str:
        return ", ".join(name for name, applies in zip(source.classes, source.target(index), strict=True) if applies)


@dataclass
class NumbersReport(LabelsReport):
    """Of numbers for each picture, which have names, but no classes."""

    def __post_init__(self) -> None:
        self.classes = ()

    def _count(self, source: Source, checked: int) -> ClassSplit:
        targets = targets_of(source)
        assert targets is not None  # as its kind says
        columns = zip(targets.names, targets.values.T, strict=True) if len(source) else ()
        spans = {name: [float(x) for x in (column.min(), column.mean(), column.max())] for name, column in columns}
        return ClassSplit(len(source), checked, numbers=spans)

    def title(self) -> str:
        return "numbers for each picture"

    def tables(self) -> list[list[str]]:
        rows = [["split", "number", "smallest", "mean", "largest"]]
        for name, split in self.splits.items():
            rows += [[name, number, *(f"{value:.6g}" for value in span)] for number, span in split.numbers.items()]
        return [table_lines(rows)]

    def _caption(self, source: Source, index: int) -> str:
        return ", ".join(f"{value:g}" for value in source.target(index))


# masks and maps


@dataclass
class MaskSplit(SplitReport):
    """pixels, pictures: of each class, of maps of "salient"; counted: pixels of all masks, ignored: those without."""

    pixels: dict[str, int] = field(default_factory=dict)
    pictures: dict[str, int] = field(default_factory=dict)
    counted: int = 0
    ignored: int = 0

    @property
    def samples_of(self) -> dict[str, int]:
        return self.pictures


@dataclass
class MaskReport(Report[MaskSplit]):
    """Of a class for every pixel."""

    bad_masks: list[Sample] = field(default_factory=list)  # masks that cannot be used, label: None
    unknown_ids: dict[str, list[int]] = field(default_factory=dict)  # id or colour -> [masks, pixels]
    unpaired: list[str] = field(default_factory=list)
    turned: list[Sample] = field(default_factory=list)  # by EXIF, and nothing tells whether their masks are

    grid = (24, 6, 220)
    shown_as = "masks over pictures (ignored pixels keep their colours)"

    def begin(self, split: str, source: Source, checked: int) -> MaskSplit:
        # Two parts of one source say the same.
        self.unpaired = list(dict.fromkeys([*self.unpaired, *unpaired_of(source)]))
        return MaskSplit(len(source), checked)

    def look(self, source: Source, index: int) -> tuple[np.ndarray, bool]:
        """(256,) pixels of each value, and whether the mask may be turned."""
        return np.bincount(source.target(index).ravel(), minlength=256), may_be_turned(source, index)

    def add(self, sample: Sample, found: tuple[np.ndarray, bool]) -> None:
        pixels, doubtful = found
        if doubtful:
            self.turned.append(sample)
        self.count(sample, pixels)

    def count(self, sample: Sample, found: np.ndarray) -> None:
        """Add the pixels of a mask."""
        total, ignored = int(found.sum()), int(found[IGNORE])
        self._count(sample.split, dict(zip(self.classes, found.tolist(), strict=False)), total, ignored)
        if ignored == total:
            self.add_odd("masks of which every pixel is ignored", sample)

    def _count(self, split: str, pixels: dict[str, int], total: int, ignored: int = 0) -> None:
        summary = self.splits[split]
        for name, count in pixels.items():
            summary.pixels[name] = summary.pixels.get(name, 0) + count
            summary.pictures[name] = summary.pictures.get(name, 0) + bool(count)
        summary.counted += total
        summary.ignored += ignored

    def add_bad(self, split: str, error: BadImage) -> None:
        self.bad_masks.append(Sample(split, error.name, None, error.reason))
        for value, pixels in error.unknown if isinstance(error, BadMask) else ():
            total = self.unknown_ids.setdefault(str(value), [0, 0])
            total[0] += 1
            total[1] += pixels

    def refused(self, split: str, role: str, source: Source) -> list[str]:
        summary = self.splits[split]
        if summary.checked and not summary.counted:
            return [f"No mask of the {split} split can be used."]
        why = "" if self._teaches(summary) else self.useless(self.source, source, role)
        return [why] if why else []

    useless = staticmethod(useless_masks)

    def _teaches(self, summary: MaskSplit) -> bool:
        """Whether the masks that were looked at are enough, so that no other one needs to be read."""
        return sum(map(bool, summary.pixels.values())) > 1

    def title(self) -> str:
        return f"{len(self.classes)} classes"

    def tables(self) -> list[list[str]]:
        """Share of pixels and number of pictures of each class."""
        splits = self.splits.values()

        def row(name: str) -> list[str]:
            cells = ((percent(s.pixels.get(name, 0), s.counted), f"{s.pictures.get(name, 0):,}") for s in splits)
            return [cell for both in cells for cell in both]

        heading = ["class", *(f"{name} {what}" for name in self.splits for what in ("pixels", "pictures"))]
        first = next(iter(splits)).pixels
        last: list[list[str]] = []
        if any(split.ignored for split in splits):
            shares = [(percent(split.ignored, split.counted), "-") for split in splits]
            last = [["(ignored)", *(cell for both in shares for cell in both)]]
        names = self.classes or ("salient",)
        return [class_lines(heading, names, row, order=lambda name: -first.get(name, 0), last=last)]

    def findings(self) -> list[tuple[str, Sequence[Any], str]]:
        unknown = [f"{value}: in {masks:,} masks, {n:,} pixels" for value, (masks, n) in self.unknown_ids.items()]
        return [
            ("Without partner", self.unpaired, "files without partner"),
            ("Unknown ids", unknown, ""),
            ("Masks that cannot be used", self.bad_masks, "masks that cannot be used"),
            (TURNED.format("masks of this size"), self.turned, ""),
        ]

    def spoils(self) -> list[tuple[Sequence[Any], str]]:
        return [*super().spoils(), (self.turned, "pictures whose masks may be turned")]

    def thumbnail(self, source: Source, index: int, size: int) -> tuple[Image.Image, list[str], Iterable[int]]:
        picture, mask = source.load(index), source.target(index)
        present = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[: len(source.classes)])
        return overlay(picture, mask, palette_of(source)), [], present.tolist()


@dataclass
class MapReport(MaskReport):
    """Of how salient every pixel is."""

    shown_as = "masks over pictures"

    def count(self, sample: Sample, found: np.ndarray) -> None:
        total, salient = int(found.sum()), int(found[SALIENT + 1 :].sum())
        self._count(sample.split, {"salient": salient}, total)
        if not salient:
            self.add_odd(f"empty masks (nothing is above {SALIENT})", sample)
        elif salient == total:
            self.add_odd("full masks (everything is salient)", sample)

    useless = staticmethod(useless_maps)

    def _teaches(self, summary: MaskSplit) -> bool:
        return any(summary.pixels.values())

    def title(self) -> str:
        return "masks of what is salient"

    def thumbnail(self, source: Source, index: int, size: int) -> tuple[Image.Image, list[str], Iterable[int]]:
        return salient_overlay(source.load(index), source.target(index)), [], ()


REPORTS: dict[str, type[Report[Any]]] = {  # by Source.kind
    "class": ClassReport,
    "none": ClassReport,
    "labels": LabelsReport,
    "numbers": NumbersReport,
    "mask": MaskReport,
    "map": MapReport,
    "boxes": BoxReport,
    "points": PointReport,
    "panoptic": PanopticReport,
}
