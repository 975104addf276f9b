"""What a run would see of a source and what is wrong with it, before the run starts: volovan check-data."""

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from volovan.data.errors import BadImage, SourceError
from volovan.data.report import Report, Sample, SplitReport, render
from volovan.data.samples import hold_out, label_problem, targets_of
from volovan.data.sheet import contact_sheet
from volovan.data.source import Source
from volovan.data.sources import list_splits, open_unchecked
from volovan.data.targets import Targets
from volovan.files.pictures import save_picture
from volovan.files.whole import UnwritableError, write_text

T = TypeVar("T")
View = Callable[[Image.Image], Image.Image]

_NARROW = 4  # long side over short side, from where a centre crop loses most of a picture
_TINY = 4  # times smaller than the median of its split
_SHEET = 40  # pictures on the sheet


def check_data(
    spec: str,
    split: str | None = None,
    out: str | Path | None = None,
    size: int = 224,
    workers: int = 2,
    limit: int | None = None,
    view: View | None = None,
) -> Report:
    """Decode every picture of a source and report; nothing of the user's is changed.

    split    only this one; default: all that there are, or the two parts that a run would make
    out      folder for samples.png and report.json; default: write nothing
    size     of the network's input in pixels, for the picture of samples
    workers  threads that decode
    limit    check at most so many samples per split, evenly spread
    view     from a picture to what the network sees of it; default: shorter side to size, centre crop
    raises   SourceError: the source cannot be opened
    """
    sources = _splits_of_a_run(spec, split)
    first = next(iter(sources.values()))
    targets = targets_of(first)
    classes = targets.names if targets and targets.kind == "multi_label" else first.classes
    notes = list(dict.fromkeys(source.note for source in sources.values() if source.note))
    report = Report(str(spec), classes, notes, {}, [], [], [], {}, {}, target=targets.kind if targets else "class")
    seen: dict[bytes, list[Sample]] = {}
    for name, source in sources.items():
        _check_split(report, name, source, seen, workers, limit)
    report.duplicates = [group for group in seen.values() if len(group) > 1]
    report.lonely_classes = _lonely_classes(report)
    if split is None:  # one split alone may lack a class
        present = {name for part in report.splits.values() for name, count in part.per_class.items() if count}
        report.empty_classes = [name for name in classes if name not in present]
    report.stops = _what_fit_refuses(sources, whole=split is None)
    if out is not None:
        _write(report, sources, Path(out), size, view or (lambda image: centre_crop(image, size)))
    return report


def run_check(
    source: str,
    split: str | None = None,
    out: str = "check-data",
    size: int = 224,
    workers: int = 2,
    limit: int | None = None,
    json: bool = False,
) -> int:
    """volovan check-data: print the report. 0: fine, 1: fit would refuse it, 2: the source cannot be opened."""
    try:
        report = check_data(source, split, out, size, workers, limit)
    except (SourceError, UnwritableError) as error:
        print(f"volovan check-data: {error}", file=sys.stderr)
        return 2
    print(report.as_json() if json else render(report))
    return 0 if report.ok else 1


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """Shorter side to size, centre square."""
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    # Crop while resizing: a picture of 1 x 5000 would grow to 224 x 1,120,000 first.
    box = (left / scale, top / scale, min((left + size) / scale, image.width), min((top + size) / scale, image.height))
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)


# ---------------------------------------------------------------------------------------------------------------------
# looking at every sample


@dataclass
class Look:
    """What is kept of one decoded picture."""

    width: int
    height: int
    kind: str
    grey: bool
    digest: bytes


def _splits_of_a_run(spec: str, split: str | None) -> dict[str, Source]:
    if split is not None:
        return {split: open_unchecked(spec, split)}
    if names := list_splits(spec):
        return {name: open_unchecked(spec, name) for name in names}
    whole = open_unchecked(spec, None)
    if not whole.classes and targets_of(whole) is None:
        return {"all": whole}
    return {name: hold_out(whole, name) for name in ("train", "val")}


def _check_split(
    report: Report, split: str, source: Source, seen: dict[bytes, list[Sample]], workers: int, limit: int | None
) -> None:
    indices = spread_indices(len(source), limit)
    summary = _count_labels(source, len(indices))
    report.splits[split] = summary
    _check_labels(report, split, source)
    looks: list[tuple[Sample, Look]] = []
    for index, look in looked_at(lambda index: look_at(source.load(index)), indices, workers, split):
        label = source.label(index)
        sample = Sample(split, source.name(index), label)
        if isinstance(look, BadImage):
            report.broken.append(Sample(split, sample.name, label, look.reason))
        else:
            looks.append((sample, look))
            seen.setdefault(look.digest, []).append(sample)
    if looks:
        summary.widths = extent([look.width for _, look in looks])
        summary.heights = extent([look.height for _, look in looks])
        summary.kinds = dict(Counter(look.kind for _, look in looks).most_common())
        _find_odd(report, looks)


def _count_labels(source: Source, checked: int) -> SplitReport:
    targets = targets_of(source)
    if targets is None:
        labels = Counter(source.label(index) for index in range(len(source)))
        per_class = {name: labels.get(number, 0) for number, name in enumerate(source.classes)}
        return SplitReport(len(source), checked, per_class, labels.get(None, 0))
    columns = list(zip(targets.names, targets.values.T, strict=True))
    if targets.kind == "multi_label":
        without = int((targets.values.sum(1) == 0).sum())
        return SplitReport(len(source), checked, {name: int(column.sum()) for name, column in columns}, without)
    spans = {name: [float(x) for x in (column.min(), column.mean(), column.max())] for name, column in columns}
    return SplitReport(len(source), checked, {}, 0, numbers=spans if len(source) else {})


def _check_labels(report: Report, split: str, source: Source) -> None:
    """Of all samples, whatever the limit: fit looks at all of them too, and no picture needs to be read."""
    for index in range(len(source)):
        label = source.label(index)
        if problem := label_problem(source, index):
            report.bad_labels.append(Sample(split, source.name(index), None, problem))
        elif source.classes and label is not None and not 0 <= label < len(source.classes):
            report.labels_out_of_range.append(Sample(split, source.name(index), label, f"label {label}"))


def _what_fit_refuses(sources: dict[str, Source], whole: bool) -> list[str]:
    """Sentences on what stops a run besides single samples; whole: these are all splits, not one that was asked for."""
    found: list[str] = []
    used = {"val": "val" if "val" in sources else "test", "train": "train"}  # as open_source chooses them
    first = next(iter(sources.values()))
    targets = targets_of(first)
    classes = targets.names if targets else first.classes
    if not classes:
        return ["No labels: good for predict, not for fit."]
    if len(classes) == 1 and not targets:
        found.append(f"There is one class only ({classes[0]!r}); fit needs at least two.")
    for role, name in used.items():
        if whole and name not in sources:
            found.append(f"There is no {role} split; fit needs one (for val also --data.val).")
    for name, source in sources.items():
        if whole and name not in used.values():
            continue  # fit does not open it
        if not len(source):
            found.append(f"The {name} split has no samples; fit needs some in train and in val, so add pictures.")
        if targets:
            continue
        missing = [i for i in range(len(source)) if source.label(i) is None and not label_problem(source, i)]
        if missing:
            found.append(
                f"{name}: {len(missing):,} samples have no label, the first is {source.name(missing[0])}; "
                "fit needs a label for every picture."
            )
    return found


def looked_at(
    look: Callable[[int], T], indices: Sequence[int], workers: int, split: str
) -> Iterator[tuple[int, T | BadImage]]:
    """(index, look(index)) in order, by several threads; what is broken comes as a BadImage."""

    def try_look(index: int) -> T | BadImage:
        try:
            return look(index)
        except BadImage as error:
            return error

    waiting = iter(indices)
    with (
        ThreadPoolExecutor(max(1, workers)) as pool,  # threads do: Pillow decodes outside of the interpreter's lock
        tqdm(total=len(indices), desc=f"check {split}", unit=" pictures", disable=None) as bar,
    ):
        while chunk := list(islice(waiting, 64 * max(1, workers))):
            for index, result in zip(chunk, pool.map(try_look, chunk), strict=True):
                bar.update()
                yield index, result


def look_at(image: Image.Image) -> Look:
    pixels = np.asarray(image)
    grey = all(np.array_equal(part[..., 0], part[..., c]) for part in (pixels[::8, ::8], pixels) for c in (1, 2))
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=16, key=f"{image.width}x{image.height}".encode()).digest()
    kind = f"{image.info.get('format', 'pixels')} {image.info.get('mode', '')}".strip()
    return Look(image.width, image.height, kind, grey, digest)


def _find_odd(report: Report, looks: list[tuple[Sample, Look]]) -> None:
    shorter = np.median([min(look.width, look.height) for _, look in looks])
    mostly_grey = sum(look.grey for _, look in looks) * 2 > len(looks)
    for sample, look in looks:
        side, other = sorted((look.width, look.height))
        size = f"{look.width} x {look.height}"
        if side * _TINY < shorter:
            _add(report, f"more than {_TINY} times smaller than the median", sample, size)
        if other >= _NARROW * side:
            _add(report, f"{_NARROW} times longer than wide, or more", sample, size)
        if look.grey and not mostly_grey:
            _add(report, "grey among coloured ones", sample, look.kind)


def _add(report: Report, kind: str, sample: Sample, remark: str) -> None:
    report.odd.setdefault(kind, []).append(Sample(sample.split, sample.name, sample.label, remark))


def _lonely_classes(report: Report) -> dict[str, list[str]]:
    labelled = {name: split for name, split in report.splits.items() if any(split.per_class.values())}
    found = {name: [s for s, split in labelled.items() if split.per_class[name]] for name in report.classes}
    return {name: splits for name, splits in found.items() if 0 < len(splits) < len(labelled)}


def spread_indices(count: int, limit: int | None) -> list[int]:
    if limit is None or limit >= count:
        return list(range(count))
    return [index * count // limit for index in range(limit)]


def extent(values: list[int]) -> list[int]:
    return [int(min(values)), int(np.median(values)), int(max(values))]


# ---------------------------------------------------------------------------------------------------------------------
# what is written


def _write(report: Report, sources: dict[str, Source], out: Path, size: int, view: View) -> None:
    split, source = next(iter(sources.items()))
    if sheet := _samples_sheet(report, split, source, size, view):
        report.files.append(str(out / "samples.png"))
        save_picture(out / "samples.png", sheet)
    report.files.append(str(out / "report.json"))
    write_text(out / "report.json", report.as_json() + "\n")


def _samples_sheet(report: Report, split: str, source: Source, size: int, view: View) -> Image.Image | None:
    """Pictures of the first split, as many of each class, in the order of classes."""
    broken = {sample.name for sample in report.broken}
    targets = targets_of(source)
    images: list[Image.Image] = []
    captions: list[list[str]] = []
    for index in _samples_of_each_class(source):
        if source.name(index) in broken or len(images) == _SHEET:
            continue
        try:
            images.append(view(source.load(index)))
        except BadImage:  # beyond limit, so not seen before
            continue
        captions.append([_caption(source, targets, index), source.name(index).rpartition("!")[2].rpartition("/")[2]])
    if not images:
        return None
    title = f"{report.source}: {len(images)} of {len(source):,} in {split}, as the network sees them ({size} x {size})"
    return contact_sheet(images, captions, columns=8, title=title)


def _caption(source: Source, targets: Targets | None, index: int) -> str:
    if targets is None:
        label = source.label(index)
        return source.classes[label] if label is not None and 0 <= label < len(source.classes) else ""
    if targets.kind == "regression":
        return ", ".join(f"{value:g}" for value in targets.values[index])
    return ", ".join(name for name, applies in zip(targets.names, targets.values[index], strict=True) if applies)


def _samples_of_each_class(source: Source) -> list[int]:
    members: dict[int | None, list[int]] = {}
    for index in range(len(source)):
        members.setdefault(source.label(index), []).append(index)
    labels = sorted(members, key=lambda label: -1 if label is None else label)
    labels = [labels[place] for place in spread_indices(len(labels), _SHEET)]
    each = -(-_SHEET // len(labels)) if labels else 0
    return [members[label][place] for label in labels for place in spread_indices(len(members[label]), each)]
