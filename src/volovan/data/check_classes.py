"""What check_data says of pictures with classes, with several labels or numbers, and of pictures alone."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from volovan.data.report import (
    Report,
    Sample,
    SplitReport,
    View,
    class_lines,
    listed,
    sample_line,
    spread_indices,
    table_lines,
)
from volovan.data.samples import class_of, label_problem
from volovan.data.source import Source
from volovan.data.targets import targets_of


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

    least_classes = 2
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

    def refused(self, split: str, source: Source) -> list[str]:
        missing = [i for i in range(len(source)) if class_of(source, i) is None and not label_problem(source, i)]
        if not missing:
            return []
        return [
            f"{split}: {len(missing):,} samples have no label, the first is {source.name(missing[0])}; "
            "fit needs a label for every picture."
        ]

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
            lambda name: [f"{split.per_class[name]:,}" for split in splits.values()],
            order=lambda name: first[name],
        )
        least, most = min(first.values()), max(first.values())
        if least:
            lines.append(f"The largest class has {most / least:.1f} times as many samples as the smallest.")
        for name, split in self.splits.items():
            if split.unlabelled:
                lines.append(self.unlabelled_line.format(split=name, count=split.unlabelled))
        return [lines]

    def findings(self) -> list[list[str]]:
        last = len(self.classes) - 1
        return [
            listed(f"{title}: {len(samples):,}", map(sample_line, samples))
            for title, samples in (
                (f"Labels without a class (known: 0 to {last})", self.labels_out_of_range),
                ("Labels that cannot be read", self.bad_labels),
            )
            if samples
        ]

    def problems(self) -> list[tuple[Sequence[Any], str]]:
        return [(self.labels_out_of_range, "labels without a class"), (self.bad_labels, "labels that cannot be read")]

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

    def thumbnail(self, source: Source, index: int, view: View) -> tuple[Image.Image, list[str], Iterable[int]]:
        return view(source.load(index)), [self._caption(source, index)], ()

    def _caption(self, source: Source, index: int) -> str:
        label = class_of(source, index)
        return source.classes[label] if label is not None and 0 <= label < len(source.classes) else ""


@dataclass
class LabelsReport(ClassReport):
    """Of several labels for each picture."""

    least_classes = 1
    unlabelled_line = "{split}: to {count:,} samples no class applies."

    def _count(self, source: Source, checked: int) -> ClassSplit:
        targets = targets_of(source)
        assert targets is not None  # as its kind says
        per_class = dict(zip(targets.names, targets.values.sum(0, dtype=int).tolist(), strict=True))
        return ClassSplit(len(source), checked, per_class=per_class, unlabelled=int((targets.values.sum(1) == 0).sum()))

    def refused(self, split: str, source: Source) -> list[str]:
        return []

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
