"""What check_data says of pictures with masks of classes, and with maps of what is salient."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from volovan.data.errors import BadImage
from volovan.data.maps import SALIENT
from volovan.data.masks import IGNORE, BadMask
from volovan.data.overlay import overlay, salient_overlay
from volovan.data.report import Report, Sample, SplitReport, View, class_lines, listed, sample_line
from volovan.data.samples import palette_of, unpaired_of
from volovan.data.source import Source


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

    least_classes = 2
    grid = (24, 6, 220)
    shown_as = "masks over pictures (ignored pixels keep their colours)"

    def begin(self, split: str, source: Source, checked: int) -> MaskSplit:
        # Two parts of one source say the same.
        self.unpaired = list(dict.fromkeys([*self.unpaired, *unpaired_of(source)]))
        return MaskSplit(len(source), checked)

    def look(self, source: Source, index: int) -> np.ndarray:
        """(256,) pixels of each value."""
        return np.bincount(source.target(index).ravel(), minlength=256)

    def add(self, sample: Sample, found: np.ndarray) -> None:
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

    def refused(self, split: str, source: Source) -> list[str]:
        summary = self.splits[split]
        if summary.checked and not summary.counted:
            return [f"No mask of the {split} split can be used."]
        if summary.counted and summary.ignored == summary.counted:
            return [f"All pixels of the {split} split are ignored; nothing can be learned or scored."]
        return []

    def title(self) -> str:
        return f"{len(self.classes)} classes"

    def tables(self) -> list[list[str]]:
        """Share of pixels and number of pictures of each class."""
        splits = self.splits.values()

        def row(name: str) -> list[str]:
            cells = ((_percent(s.pixels.get(name, 0), s.counted), f"{s.pictures.get(name, 0):,}") for s in splits)
            return [cell for both in cells for cell in both]

        heading = ["class", *(f"{name} {what}" for name in self.splits for what in ("pixels", "pictures"))]
        first = next(iter(splits)).pixels
        last: list[list[str]] = []
        if any(split.ignored for split in splits):
            shares = [(_percent(split.ignored, split.counted), "-") for split in splits]
            last = [["(ignored)", *(cell for both in shares for cell in both)]]
        names = self.classes or ("salient",)
        return [class_lines(heading, names, row, order=lambda name: -first.get(name, 0), last=last)]

    def findings(self) -> list[list[str]]:
        unknown = [f"{value}: in {masks:,} masks, {n:,} pixels" for value, (masks, n) in self.unknown_ids.items()]
        return [
            listed(f"{title}: {len(lines):,}", lines)
            for title, lines in (
                ("Without partner", self.unpaired),
                ("Unknown ids", unknown),
                ("Masks that cannot be used", [sample_line(sample) for sample in self.bad_masks]),
            )
            if lines
        ]

    def problems(self) -> list[tuple[Sequence[Any], str]]:
        return [(self.bad_masks, "masks that cannot be used"), (self.unpaired, "files without partner")]

    def thumbnail(self, source: Source, index: int, view: View) -> tuple[Image.Image, list[str], Iterable[int]]:
        picture, mask = source.load(index), source.target(index)
        present = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[: len(source.classes)])
        return overlay(picture, mask, palette_of(source)), [], present.tolist()


@dataclass
class MapReport(MaskReport):
    """Of how salient every pixel is."""

    shown_as = "masks over pictures"

    def add(self, sample: Sample, found: np.ndarray) -> None:
        total, salient = int(found.sum()), int(found[SALIENT + 1 :].sum())
        self._count(sample.split, {"salient": salient}, total)
        if not salient:
            self.add_odd(f"empty masks (nothing is above {SALIENT})", sample)
        elif salient == total:
            self.add_odd("full masks (everything is salient)", sample)

    def title(self) -> str:
        return "masks of what is salient"

    def thumbnail(self, source: Source, index: int, view: View) -> tuple[Image.Image, list[str], Iterable[int]]:
        return salient_overlay(source.load(index), source.target(index)), [], ()


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"
