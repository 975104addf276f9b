"""The report of check_data, and as text for a terminal. What it says of targets of a kind is in kinds.py."""

import json as json_format
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from PIL import Image

from volovan.data.errors import BadImage
from volovan.data.samples import spread_indices
from volovan.data.source import Source

_SHOWN = 10  # of each kind of finding; report.json has them all
_CLASSES_SHOWN = 30
_GUESSED = (
    "What the masks mean was guessed; say --task segment or --task saliency. If it is right, nothing is seen that "
    "would stop or spoil a run."
)
TURNED = (
    "Pictures that their EXIF turns, while {} may have been drawn on the stored pixels; look at samples.png, then say "
    "--drawn-on shown, or --drawn-on stored (for fit --data.drawn_on stored)"
)
"""the title of a finding; {}: what may have been drawn so"""


@dataclass
class Sample:
    """One sample as findings name it."""

    split: str
    name: str
    label: int | None
    remark: str = ""

    def __str__(self) -> str:
        return f"{self.split} {self.name}" + (f": {self.remark}" if self.remark else "")


@dataclass
class SplitReport:
    """Counts of one split. widths, heights: [smallest, median, largest]; kinds: of the files of pictures."""

    samples: int
    checked: int
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)

    @property
    def samples_of(self) -> dict[str, int]:
        """class -> samples that show it."""
        return {}


S = TypeVar("S", bound=SplitReport)


@dataclass
class Report(ABC, Generic[S]):
    """What check_data found. ok: nothing in it would stop a run."""

    source: str
    kind: str  # of the targets, as Source.kind
    why: str  # a sentence on that; "" if it goes without saying
    classes: tuple[str, ...]
    notes: list[str]
    guessed: bool = False  # whether nobody has said of which kind they are
    size: int = 224  # of the network's input in pixels
    used: list[str] = field(default_factory=list)  # splits that fit would take
    splits: dict[str, S] = field(default_factory=dict)
    broken: list[Sample] = field(default_factory=list)  # pictures that cannot be decoded
    duplicates: list[list[Sample]] = field(default_factory=list)
    odd: dict[str, list[Sample]] = field(default_factory=dict)
    lonely_classes: dict[str, list[str]] = field(default_factory=dict)  # class -> splits, where some have none of it
    empty_classes: list[str] = field(default_factory=list)  # in no split
    stops: list[str] = field(default_factory=list)  # sentences: what else fit would refuse
    cautions: list[str] = field(default_factory=list)  # sentences: what stops nothing, but is learned or scored badly
    files: list[str] = field(default_factory=list)

    grid: ClassVar[tuple[int, int, int]] = (40, 8, 160)
    """of the sheet of samples: pictures, columns, pixels of a cell"""
    shown_as: ClassVar[str] = "as a network of {size} x {size} sees them"
    usual_size: ClassVar[int] = 224
    """of the network's input, where nobody says it"""

    @property
    def ok(self) -> bool:
        return not self.stops and not any(self.is_used(one) for found, _ in self.problems() for one in found)

    def is_used(self, found: Any) -> bool:
        """Whether a finding is of what fit would take."""
        return not isinstance(found, Sample) or found.split in self.used

    @property
    def leaks(self) -> list[list[Sample]]:
        """Duplicates across splits: what a network learns in train it need not know in val."""
        return [group for group in self.duplicates if len({sample.split for sample in group}) > 1]

    @property
    def contradictions(self) -> list[list[Sample]]:
        """Duplicates with different labels."""
        return [group for group in self.duplicates if len({sample.label for sample in group}) > 1]

    def add_odd(self, what: str, sample: Sample, remark: str = "") -> None:
        self.odd.setdefault(what, []).append(Sample(sample.split, sample.name, sample.label, remark))

    def as_json(self) -> str:
        return json_format.dumps(asdict(self) | {"ok": self.ok}, indent=2, ensure_ascii=False)

    # what a kind of target adds

    @abstractmethod
    def begin(self, split: str, source: Source, checked: int) -> S:
        """The counts of a split, as far as they are known before a picture is read."""

    def look(self, source: Source, index: int) -> Any:
        """What is kept of a target; BadImage if it cannot be used. Several threads call it."""

    def add(self, sample: Sample, found: Any) -> None:
        """Count what `look` has kept."""

    def add_bad(self, split: str, error: BadImage) -> None:
        """Keep why a target cannot be used."""

    def refused(self, split: str, role: str, source: Source) -> list[str]:
        """Sentences: why fit would refuse a split that has samples, besides single ones; role: what it is for fit."""
        return []

    @abstractmethod
    def title(self) -> str:
        """ "10 classes"."""

    def tables(self) -> list[list[str]]:
        """Blocks of lines after the table of splits."""
        return []

    def pictures(self) -> Iterable[tuple[str, Image.Image]]:
        """Names of further files, and what they show."""
        return ()

    def findings(self) -> list[tuple[str, Sequence[Any], str]]:
        """What is wrong with targets: a title, what is found, and what to call so many, "" where no run stops."""
        return []

    def problems(self) -> list[tuple[Sequence[Any], str]]:
        """Each: what would stop a run, and what to call so many of them."""
        of_targets = [(found, called) for _, found, called in self.findings() if called]
        return [(self.broken, "broken pictures"), *of_targets]

    def spoils(self) -> list[tuple[Sequence[Any], str]]:
        """Each: what would spoil a run without stopping it, and what to call so many of them."""
        return [(self.leaks, "pictures in several splits"), (self.contradictions, "pictures with different labels")]

    def chosen(self, source: Source) -> list[int]:
        """Samples for the sheet, in order."""
        return spread_indices(len(source), self.grid[0])

    @abstractmethod
    def thumbnail(self, source: Source, index: int, size: int) -> tuple[Image.Image, list[str], Iterable[int]]:
        """A sample as the sheet shows it, lines above its name, numbers of the classes whose colours it shows.

        size: of the network's input.
        """


def render(report: Report[Any]) -> str:
    """Counts, balance, findings, verdict: most important last, where the eye is when a command ends."""
    head = [f"{report.source}: {report.title()}", *filter(None, [report.why])]
    rows = [["split", "samples", "checked", "width", "height", "files"]]
    for name, split in report.splits.items():
        counts = [f"{split.samples:,}", f"{split.checked:,}"]
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in split.kinds.items())
        rows.append([name, *counts, _span(split.widths), _span(split.heights), kinds])
    splits = [*table_lines(rows), "(width and height: smallest / median / largest)"]
    blocks = [head, splits, *report.tables(), report.notes, *_findings(report), _verdict(report)]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _findings(report: Report[Any]) -> list[list[str]]:
    leaks, contradictions = report.leaks, report.contradictions
    inside = [group for group in report.duplicates if group not in leaks]

    def same(title: str, groups: list[list[Sample]]) -> list[str]:
        return listed(title, (" = ".join(f"{sample.split} {sample.name}" for sample in group) for group in groups))

    return [
        *([f"Odd: {len(samples):,} {what}", *_shown(samples)] for what, samples in report.odd.items()),
        listed(
            "Classes that are not in every split",
            (f"{name}: only in {', '.join(splits)}" for name, splits in report.lonely_classes.items()),
        ),
        listed("Classes without pictures", report.empty_classes),
        same("Same picture in several splits", leaks),
        same("Same picture with different labels", contradictions),
        same("Same picture several times in one split", inside),
        *(listed(title, found) for title, found, _ in report.findings()),
        listed("Broken pictures", report.broken),
    ]


def _verdict(report: Report[Any]) -> list[str]:
    lines = [f"Wrote {path}" for path in report.files] + report.cautions + report.stops
    found = [f"{what} ({len(samples):,})" for samples, what in [*report.problems(), *report.spoils()] if samples]
    if not found and not report.stops:
        fine = "Nothing else is wrong" if report.cautions else "Nothing is wrong"
        lines.append(_GUESSED if report.guessed else f"{fine} that would stop or spoil a run.")
    if not found:
        return lines
    ending = ""
    if any(samples for samples, _ in report.problems()):
        left = any(split.samples for split in report.splits.values())
        skip = ", or skip broken pictures with --train.on_bad skip" if left else ""
        ending = f" A run would stop there; mend or remove them{skip}."
        if report.ok:
            ending = f" fit takes only {' and '.join(report.used)}, where nothing would stop it."
    elif report.leaks:
        ending = " Figures on one of these splits would be too good."
    return [*lines, f"Found {', '.join(found)}.{ending}"]


# lines


def listed(title: str, lines: Iterable[object]) -> list[str]:
    """The title with their number, and the first lines; nothing if there are none."""
    every = list(lines)
    return [f"{title}: {len(every):,}", *_shown(every)] if every else []


def _shown(lines: Sequence[object]) -> list[str]:
    rest = [f"  ... and {len(lines) - _SHOWN:,} more"] if len(lines) > _SHOWN else []
    return [*(f"  {line}" for line in lines[:_SHOWN]), *rest]


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"


def _span(values: Sequence[int]) -> str:
    if not values:
        return "-"
    return str(values[0]) if values[0] == values[-1] else " / ".join(map(str, values))


def class_lines(
    heading: list[str],
    names: Sequence[str],
    row: Callable[[str], list[str]],
    order: Callable[[str], int],
    last: Sequence[list[str]] = (),
) -> list[str]:
    """A table with a row for each class; of many classes those at both ends of the order, which tell most."""
    shown = list(names)
    if len(shown) > _CLASSES_SHOWN:
        shown = sorted(shown, key=order)
        shown = shown[: _CLASSES_SHOWN // 2] + shown[-_CLASSES_SHOWN // 2 :]
    lines = table_lines([heading, *([name, *row(name)] for name in shown), *last])
    if len(shown) < len(names):
        lines.insert(1 + _CLASSES_SHOWN // 2, f"... {len(names) - len(shown)} classes in between ...")
    return lines


def table_lines(rows: list[list[str]]) -> list[str]:
    """Left-aligned first and last column of text, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    right = [
        all(not row[column] or row[column][0].isdigit() or row[column] == "-" for row in rows[1:])
        for column in range(len(widths))
    ]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]
