"""The report of check_data, and as text for a terminal."""

import json as json_format
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

_SHOWN = 10  # of each kind of finding; report.json has them all
_CLASSES_SHOWN = 30


@dataclass
class SplitReport:
    """Counts of one split. sizes: [smallest, median, largest] of widths and heights; kinds: as in the files; numbers:
    [smallest, mean, largest] of each. unlabelled, where pictures have several labels: those to which none applies."""

    samples: int
    checked: int
    per_class: dict[str, int]
    unlabelled: int
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, list[float]] = field(default_factory=dict)


@dataclass
class Sample:
    """One sample as findings name it."""

    split: str
    name: str
    label: int | None
    remark: str = ""


@dataclass
class Report:
    """What check_data found. ok: nothing in it would stop a run."""

    source: str
    classes: tuple[str, ...]
    notes: list[str]
    splits: dict[str, SplitReport]
    broken: list[Sample]
    labels_out_of_range: list[Sample]
    duplicates: list[list[Sample]]
    odd: dict[str, list[Sample]]
    lonely_classes: dict[str, list[str]]  # class -> the splits that have it, where some have and some have not
    bad_labels: list[Sample] = field(default_factory=list)  # label files that cannot be read
    empty_classes: list[str] = field(default_factory=list)  # in no split
    stops: list[str] = field(default_factory=list)  # sentences: what else fit would refuse
    files: list[str] = field(default_factory=list)
    target: str = "class"  # what fit learns of it: class, multi_label or regression

    @property
    def ok(self) -> bool:
        return not (self.broken or self.labels_out_of_range or self.bad_labels or self.stops)

    @property
    def leaks(self) -> list[list[Sample]]:
        """Duplicates across splits: what a network learns in train it need not know in val."""
        return [group for group in self.duplicates if len({sample.split for sample in group}) > 1]

    @property
    def contradictions(self) -> list[list[Sample]]:
        """Duplicates with different labels."""
        return [group for group in self.duplicates if len({sample.label for sample in group}) > 1]

    def as_json(self) -> str:
        return json_format.dumps(asdict(self) | {"ok": self.ok}, indent=2, ensure_ascii=False)


def render(report: Report) -> str:
    """Counts, balance, findings, verdict: most important last, where the eye is when a command ends."""
    blocks = [[f"{report.source}: {_what(report)}"], _splits(report)]
    if report.classes:
        blocks += [_balance(report)]
    if report.target == "regression":
        blocks += [_numbers(report)]
    blocks += [report.notes, *_findings(report), _verdict(report)]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _what(report: Report) -> str:
    if report.target == "regression":
        return "numbers for each picture (loss.target regression)"
    several = ", several for a picture (loss.target multi_label)" if report.target == "multi_label" else ""
    return f"{len(report.classes)} classes{several}" if report.classes else "unlabelled"


def _numbers(report: Report) -> list[str]:
    rows = [["split", "number", "smallest", "mean", "largest"]]
    for name, split in report.splits.items():
        rows += [[name, number, *(f"{value:.6g}" for value in span)] for number, span in split.numbers.items()]
    return table_lines(rows)


def _splits(report: Report) -> list[str]:
    rows = [["split", "samples", "checked", "width", "height", "files"]]
    for name, split in report.splits.items():
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in split.kinds.items())
        rows.append(
            [name, f"{split.samples:,}", f"{split.checked:,}", span_text(split.widths), span_text(split.heights), kinds]
        )
    return [*table_lines(rows), "(width and height: smallest / median / largest)"]


def _balance(report: Report) -> list[str]:
    splits = {name: split for name, split in report.splits.items() if any(split.per_class.values())}
    if not splits:
        return []
    first = next(iter(splits.values())).per_class
    names = list(report.classes)
    if len(names) > _CLASSES_SHOWN:  # the extremes tell most
        names = sorted(names, key=lambda name: first[name])
        names = names[: _CLASSES_SHOWN // 2] + names[-_CLASSES_SHOWN // 2 :]
    rows = [["class", *splits]] + [
        [name, *(f"{split.per_class[name]:,}" for split in splits.values())] for name in names
    ]
    lines = table_lines(rows)
    if len(names) < len(report.classes):
        lines.insert(1 + _CLASSES_SHOWN // 2, f"... {len(report.classes) - len(names)} classes in between ...")
    least, most = min(first.values()), max(first.values())
    if least:
        lines.append(f"The largest class has {most / least:.1f} times as many samples as the smallest.")
    for name, split in report.splits.items():
        if split.unlabelled and report.target == "multi_label":
            lines.append(f"{name}: to {split.unlabelled:,} samples no class applies.")
        elif split.unlabelled:
            lines.append(f"{name}: {split.unlabelled:,} samples have no label.")
    return lines


def _findings(report: Report) -> list[list[str]]:
    blocks = []
    for kind, samples in report.odd.items():
        blocks.append(listed(f"Odd: {len(samples):,} {kind}", map(sample_line, samples)))
    if report.lonely_classes:
        lines = (f"{name}: only in {', '.join(splits) or 'none'}" for name, splits in report.lonely_classes.items())
        blocks.append(listed(f"Classes that are not in every split: {len(report.lonely_classes)}", lines))
    if report.empty_classes:
        lines = (f"{name}: fit trains an output for it that nothing can reach" for name in report.empty_classes)
        blocks.append(listed(f"Classes without pictures: {len(report.empty_classes):,}", lines))
    leaks, contradictions = report.leaks, report.contradictions
    inside = len(report.duplicates) - len(leaks)
    for title, groups in (
        (f"Same picture in several splits: {len(leaks):,}", leaks),
        (f"Same picture with different labels: {len(contradictions):,}", contradictions),
        (f"Same picture several times in one split: {inside:,}", [g for g in report.duplicates if g not in leaks]),
    ):
        if groups:
            blocks.append(listed(title, (" = ".join(f"{s.split} {s.name}" for s in group) for group in groups)))
    if report.labels_out_of_range:
        last = len(report.classes) - 1
        title = f"Labels without a class (known: 0 to {last}): {len(report.labels_out_of_range):,}"
        blocks.append(listed(title, map(sample_line, report.labels_out_of_range)))
    if report.bad_labels:
        blocks.append(
            listed(f"Labels that cannot be read: {len(report.bad_labels):,}", map(sample_line, report.bad_labels))
        )
    if report.broken:
        blocks.append(listed(f"Broken: {len(report.broken):,}", map(sample_line, report.broken)))
    return blocks


def _verdict(report: Report) -> list[str]:
    lines = [f"Wrote {path}" for path in report.files]
    problems = [
        f"{len(samples):,} {what}"
        for samples, what in (
            (report.broken, "broken pictures"),
            (report.labels_out_of_range, "labels without a class"),
            (report.bad_labels, "labels that cannot be read"),
            (report.leaks, "pictures in several splits"),
            (report.contradictions, "pictures with different labels"),
        )
        if samples
    ]
    if not problems and not report.stops:
        return [*lines, "Nothing is wrong that would stop or spoil a run."]
    lines += report.stops
    if not problems:
        return lines
    named = report.broken or report.labels_out_of_range or report.bad_labels
    stops = " A run would stop there; mend or remove them, or tell it to skip broken pictures." if named else ""
    return [*lines, f"Found {', '.join(problems)}.{stops}"]


def sample_line(sample: Sample) -> str:
    return f"{sample.split} {sample.name}: {sample.remark}"


def listed(title: str, lines: Iterable[str]) -> list[str]:
    every = list(lines)
    rest = [f"  ... and {len(every) - _SHOWN:,} more"] if len(every) > _SHOWN else []
    return [title, *(f"  {line}" for line in every[:_SHOWN]), *rest]


def span_text(values: Sequence[int]) -> str:
    if not values:
        return "-"
    return str(values[0]) if values[0] == values[-1] else " / ".join(map(str, values))


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
