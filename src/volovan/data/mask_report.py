"""The report of check_masks, and as text for a terminal."""

import json as json_format
from dataclasses import asdict, dataclass, field

from volovan.data.report import Sample, listed, sample_line, span_text, table_lines

_CLASSES_SHOWN = 40


@dataclass
class MaskSplit:
    """Counts of one split. sizes: [smallest, median, largest] of widths and heights; kinds: of the picture files;
    pixels, pictures: of each class, for saliency of "salient"; counted: pixels of all masks, ignored: those without.
    """

    samples: int
    checked: int
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    pixels: dict[str, int] = field(default_factory=dict)
    pictures: dict[str, int] = field(default_factory=dict)
    counted: int = 0
    ignored: int = 0


@dataclass
class MaskReport:
    """What check_masks found. ok: nothing in it would stop a run."""

    source: str
    task: str  # segment or saliency
    why: str  # how the task was recognised
    classes: tuple[str, ...]
    notes: list[str]
    splits: dict[str, MaskSplit] = field(default_factory=dict)
    broken: list[Sample] = field(default_factory=list)  # pictures that cannot be decoded
    bad_masks: list[Sample] = field(default_factory=list)  # masks that cannot be used, label: None
    unknown_ids: dict[str, list[int]] = field(default_factory=dict)  # id or colour -> [masks, pixels]
    unpaired: list[str] = field(default_factory=list)
    duplicates: list[list[Sample]] = field(default_factory=list)
    odd: dict[str, list[Sample]] = field(default_factory=dict)
    lonely_classes: dict[str, list[str]] = field(default_factory=dict)  # class -> splits, where some have none
    empty_classes: list[str] = field(default_factory=list)  # in no split
    stops: list[str] = field(default_factory=list)  # sentences: what else fit would refuse
    files: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.broken or self.bad_masks or self.unpaired or self.stops)

    @property
    def leaks(self) -> list[list[Sample]]:
        """The same picture in several splits."""
        return [group for group in self.duplicates if len({sample.split for sample in group}) > 1]

    def as_json(self) -> str:
        return json_format.dumps(asdict(self) | {"ok": self.ok}, indent=2, ensure_ascii=False)


def render_masks(report: MaskReport) -> str:
    """Counts, histogram, findings, verdict: most important last, where the eye is when a command ends."""
    what = f"{len(report.classes)} classes" if report.task == "segment" else "saliency masks"
    head = [f"{report.source}: {what}"] + ([report.why] if report.why else [])
    blocks = [head, _splits(report), _histogram(report), report.notes, *_findings(report), _verdict(report)]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _splits(report: MaskReport) -> list[str]:
    rows = [["split", "samples", "checked", "width", "height", "pictures"]]
    for name, split in report.splits.items():
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in split.kinds.items())
        sizes = span_text(split.widths), span_text(split.heights)
        rows.append([name, f"{split.samples:,}", f"{split.checked:,}", *sizes, kinds])
    return [*table_lines(rows), "(width and height: smallest / median / largest)"]


def _histogram(report: MaskReport) -> list[str]:
    """Share of pixels and number of pictures of each class."""
    heads = [f"{name} {what}" for name in report.splits for what in ("pixels", "pictures")]
    names = list(report.classes) or ["salient"]
    first = next(iter(report.splits.values()))
    if len(names) > _CLASSES_SHOWN:  # the extremes tell most
        names = sorted(names, key=lambda name: -first.pixels.get(name, 0))
        names = names[: _CLASSES_SHOWN // 2] + names[-_CLASSES_SHOWN // 2 :]
    rows = [["class", *heads]]
    for name in names:
        cells: list[str] = []
        for split in report.splits.values():
            cells += [_percent(split.pixels.get(name, 0), split.counted), f"{split.pictures.get(name, 0):,}"]
        rows.append([name, *cells])
    if any(split.ignored for split in report.splits.values()):
        shares = [(_percent(split.ignored, split.counted), "-") for split in report.splits.values()]
        rows.append(["(ignored)", *(cell for pair in shares for cell in pair)])
    lines = table_lines(rows)
    if len(names) < len(report.classes):
        lines.insert(1 + _CLASSES_SHOWN // 2, f"... {len(report.classes) - len(names)} classes in between ...")
    return lines


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"


def _findings(report: MaskReport) -> list[list[str]]:
    blocks = [
        listed(f"Odd: {len(found):,} {kind}", (f"{sample.split} {sample.name}" for sample in found))
        for kind, found in report.odd.items()
    ]
    if report.lonely_classes:
        lines = (f"{name}: only in {', '.join(splits)}" for name, splits in report.lonely_classes.items())
        blocks.append(listed(f"Classes that are not in every split: {len(report.lonely_classes)}", lines))
    if report.empty_classes:
        blocks.append(listed(f"Classes that no mask holds: {len(report.empty_classes)}", report.empty_classes))
    inside = len(report.duplicates) - len(report.leaks)
    if inside:
        blocks.append([f"Same picture more than once in a split: {inside:,}"])
    if report.leaks:
        lines = (" = ".join(f"{sample.split} {sample.name}" for sample in group) for group in report.leaks)
        blocks.append(listed(f"Same picture in several splits: {len(report.leaks):,}", lines))
    if report.unpaired:
        blocks.append(listed(f"Without partner: {len(report.unpaired):,}", report.unpaired))
    if report.unknown_ids:
        lines = (
            f"{value}: in {masks:,} masks, {pixels:,} pixels" for value, (masks, pixels) in report.unknown_ids.items()
        )
        blocks.append(listed(f"Unknown ids: {len(report.unknown_ids)}", lines))
    if report.bad_masks:
        blocks.append(
            listed(f"Masks that cannot be used: {len(report.bad_masks):,}", map(sample_line, report.bad_masks))
        )
    if report.broken:
        blocks.append(listed(f"Broken pictures: {len(report.broken):,}", map(sample_line, report.broken)))
    return blocks


def _verdict(report: MaskReport) -> list[str]:
    lines = [f"Wrote {path}" for path in report.files]
    stopping = [
        f"{len(found):,} {what}"
        for found, what in (
            (report.broken, "broken pictures"),
            (report.bad_masks, "masks that cannot be used"),
            (report.unpaired, "files without partner"),
        )
        if found
    ]
    leaks = [f"{len(report.leaks):,} pictures in several splits"] if report.leaks else []
    lines += report.stops
    if stopping:
        return [*lines, f"Found {', '.join(stopping + leaks)}. A run would stop there; mend or remove them."]
    if leaks:
        return [*lines, f"Found {leaks[0]}: figures on one of these splits would be too good."]
    return lines if report.stops else [*lines, "Nothing is wrong that would stop or spoil a run."]
