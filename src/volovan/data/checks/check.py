"""What a run would see of a source and what is wrong with it, before the run starts: volovan check-data.

What it says of targets of a kind is in kinds.py.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from volovan.data.checks.kinds import REPORTS
from volovan.data.checks.report import Report, Sample, render
from volovan.data.errors import BadImage, SourceError
from volovan.data.masks.files import DrawnOn
from volovan.data.pictures.sheet import contact_sheet
from volovan.data.refusals import cautions, refused_data
from volovan.data.samples import class_of, palette_of, spread_indices
from volovan.data.source import Source
from volovan.data.sources import SPLITS, find_splits, open_split
from volovan.files.pictures import save_picture
from volovan.files.results import ResultsError, results
from volovan.files.whole import UnwritableError, write_text

T = TypeVar("T")

_NARROW = 4  # long side over short side, from where a centre crop loses most of a picture
_TINY = 4  # times smaller than the median of its split


def check_data(
    spec: str,
    kind: str = "class",
    split: str | None = None,
    out: str | Path | None = None,
    size: int | None = None,
    workers: int = 2,
    limit: int | None = None,
    remarks: Mapping[str, str] | None = None,
    guessed: bool = False,
    drawn_on: DrawnOn | None = None,
) -> Report[Any]:
    """Decode every picture of a source and report; nothing of the user's is changed.

    kind     of the targets, as open_source takes it
    split    only this one; default: all that there are, or the two parts that a run would make
    out      folder for samples.png and report.json; default: write nothing
    size     of the network's input in pixels, for the picture of samples; default: 224, of the shorter side of pictures
             with objects 800
    workers  threads that decode
    limit    check at most so many samples per split, evenly spread
    remarks  {kind: sentence for the report, if the targets turn out to be of that kind}
    guessed  nobody has said which kind it is, and targets of another kind may look so
    drawn_on  what masks were drawn on, as open_source takes it; without it, pictures where that matters are listed
    raises   SourceError: the source cannot be opened
    """
    opened = _open(spec, kind, split, drawn_on)
    with nullcontext() if out is None else results(Path(out), "check-data"):
        report = _report(spec, opened, split, size, workers, limit, remarks or {})
        report.guessed = guessed
        if out is None:
            return report
        picture, table = Path(out, "samples.png"), Path(out, "report.json")
        if sheet := _samples_sheet(report, *next(iter(opened.looked_at.items()))):
            report.files.append(str(picture))
            save_picture(picture, sheet)
        for name, image in report.pictures():
            report.files.append(str(save_picture(Path(out, name), image)))
        report.files.append(str(table))
        write_text(table, report.as_json() + "\n")
    return report


def _report(
    spec: str,
    opened: "_Opened",
    split: str | None,
    size: int | None,
    workers: int,
    limit: int | None,
    remarks: Mapping[str, str],
) -> Report[Any]:
    """What is found in all splits."""
    sources = opened.looked_at
    first = next(iter(sources.values()))
    notes = list(dict.fromkeys(note for note in (*(source.note for source in sources.values()), *opened.notes) if note))
    classes = tuple(dict.fromkeys(name for source in sources.values() for name in source.classes))
    report = REPORTS[first.kind](str(spec), first.kind, remarks.get(first.kind, ""), classes, notes)
    report.used, report.size = [*opened.run.values()], size or report.usual_size
    seen: dict[bytes, list[Sample]] = {}
    for name, source in sources.items():
        _check_split(report, name, source, seen, workers, limit)
    report.duplicates = [group for group in seen.values() if len(group) > 1]
    labelled = {name: found.samples_of for name, found in report.splits.items() if any(found.samples_of.values())}
    where = {name: [one for one, samples in labelled.items() if samples.get(name)] for name in report.classes}
    report.lonely_classes = {name: splits for name, splits in where.items() if 0 < len(splits) < len(labelled)}
    if split is None:  # one split alone may lack a class
        report.empty_classes = [name for name, splits in where.items() if not splits]
    halves = opened.halves
    report.stops = [*opened.refused, *refused_data([(role, spec, source) for role, source in halves.items()])]
    for role, name in opened.run.items():
        if name in sources and len(sources[name]):
            report.stops += report.refused(name, role, sources[name])
    if len(halves) == 2:
        report.cautions = cautions(halves["train"], halves["val"])
    return report


def run_check(source: str, kind: str = "class", *, out: str = "check-data", json: bool = False, **options: Any) -> int:
    """volovan check-data: print the report. 0: fine, 1: fit would refuse it, 2: the source cannot be opened.

    options  see `check_data`
    """
    try:
        report = check_data(source, kind, out=out, **options)
    except (SourceError, UnwritableError, ResultsError) as error:
        print(f"volovan check-data: {error}", file=sys.stderr)
        return 2
    print(report.as_json() if json else render(report))
    return 0 if report.ok else 1


# looking at every sample


@dataclass
class Look:
    """What is kept of one decoded picture."""

    width: int
    height: int
    kind: str
    grey: bool
    digest: bytes
    dark: str = ""


@dataclass
class _Opened:
    """looked_at: {split: samples}; halves: {role: samples} as fit takes them; run: {role: the split that it is};
    refused: why fit cannot open one of them."""

    looked_at: dict[str, Source]
    halves: dict[str, Source]
    run: dict[str, str]
    refused: list[str]
    notes: list[str]


def _open(spec: str, kind: str, split: str | None, drawn_on: DrawnOn | None) -> _Opened:
    """One split, or all that there are, and what fit would take of them. SourceError if that is nothing at all."""
    splits = {name: cache(opener) for name, opener in find_splits(spec, kind, drawn_on).items()}
    if split is not None:
        alone = open_split(splits, spec, split)
        return _Opened({split: alone}, {split: alone}, {split: split}, [], [])
    opened, refused, notes = dict[str, Source](), list[SourceError](), list[str]()
    for role in ("train", "val"):
        try:
            opened[role] = open_split(splits, spec, role)
        except SourceError as error:
            refused.append(error)
    if not opened:
        raise refused[0]
    run = {role: "test" if role == "val" and "val" not in splits and "test" in splits else role for role in opened}
    looked_at = {run[role]: source for role, source in opened.items()}
    for name in SPLITS:
        if name in splits and name not in run and name not in looked_at:
            try:
                looked_at[name] = splits[name]()
            except SourceError as error:
                notes.append(f"fit does not use the {name} split, which cannot be opened: {error}.")
    if "" in splits and (whole := splits[""]()).kind == "none":
        looked_at, run = {"all": whole}, {"train": "all"}
    return _Opened(looked_at, opened, run, list(map(str, refused)), notes)


def _check_split(
    report: Report[Any], split: str, source: Source, seen: dict[bytes, list[Sample]], workers: int, limit: int | None
) -> None:
    indices = spread_indices(len(source), limit)
    summary = report.splits[split] = report.begin(split, source, len(indices))
    looks: list[tuple[Sample, Look]] = []
    for index, picture, target in _looked_at(report, source, indices, workers, split):
        sample = Sample(split, source.name(index), class_of(source, index))
        if isinstance(picture, BadImage):
            report.broken.append(Sample(split, sample.name, sample.label, picture.reason))
        else:
            looks.append((sample, picture))
            seen.setdefault(picture.digest, []).append(sample)
        if not isinstance(target, BadImage):
            report.add(sample, target)
        elif not (isinstance(picture, BadImage) and picture.name == target.name):  # else it was the picture's fault
            report.add_bad(split, target)
    if looks:
        sizes = np.array([(look.width, look.height) for _, look in looks])
        extent = np.array([sizes.min(0), np.median(sizes, 0), sizes.max(0)]).astype(int)
        summary.widths, summary.heights = extent.T.tolist()
        summary.kinds = dict(Counter(look.kind for _, look in looks).most_common())
        _find_odd(report, looks)


def _looked_at(
    report: Report[Any], source: Source, indices: Sequence[int], workers: int, split: str
) -> Iterator[tuple[int, Look | BadImage, Any]]:
    """(index, picture, target) in order, by several threads; a BadImage in place of what cannot be used."""

    def look(index: int) -> tuple[Look | BadImage, Any]:
        return _tried(lambda: look_at(source.load(index))), _tried(lambda: report.look(source, index))

    waiting = iter(indices)
    with (
        ThreadPoolExecutor(max(1, workers)) as pool,  # threads do: Pillow decodes outside of the interpreter's lock
        tqdm(total=len(indices), desc=f"check {split}", unit=" pictures", disable=None) as bar,
    ):
        while chunk := list(islice(waiting, 64 * max(1, workers))):
            for index, (picture, target) in zip(chunk, pool.map(look, chunk), strict=True):
                bar.update()
                yield index, picture, target


def _tried(read: Callable[[], T]) -> T | BadImage:
    try:
        return read()
    except BadImage as error:
        return error


def look_at(image: Image.Image) -> Look:
    pixels = np.asarray(image)
    grey = all(np.array_equal(part[..., 0], part[..., c]) for part in (pixels[::8, ::8], pixels) for c in (1, 2))
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=16, key=f"{image.width}x{image.height}".encode()).digest()
    kind = f"{image.info.get('format', 'pixels')} {image.info.get('mode', '')}".strip()
    return Look(image.width, image.height, kind, grey, digest, image.info.get("dark", ""))


def _find_odd(report: Report[Any], looks: list[tuple[Sample, Look]]) -> None:
    shorter = np.median([min(look.width, look.height) for _, look in looks])
    mostly_grey = sum(look.grey for _, look in looks) * 2 > len(looks)
    for sample, look in looks:
        side, other = sorted((look.width, look.height))
        size = f"{look.width} x {look.height}"
        if side * _TINY < shorter:
            report.add_odd(f"more than {_TINY} times smaller than the median", sample, size)
        if other >= _NARROW * side:
            report.add_odd(f"{_NARROW} times longer than wide, or more", sample, size)
        if look.grey and not mostly_grey:
            report.add_odd("grey among coloured ones", sample, look.kind)
        if look.dark:
            report.add_odd("16 bits with values far below white, read dark", sample, look.dark)


# what is drawn


def _samples_sheet(report: Report[Any], split: str, source: Source) -> Image.Image | None:
    """Pictures of the first split, and what the colours over them mean."""
    images: list[Image.Image] = []
    captions: list[list[str]] = []
    coloured: set[int] = set()
    most, columns, cell = report.grid
    for index in report.chosen(source):
        if len(images) == most:
            break
        try:
            image, caption, classes = report.thumbnail(source, index, report.size)
        except BadImage:
            continue
        images.append(image)
        captions.append([*caption, source.name(index).rpartition("!")[2].rpartition("/")[2]])
        coloured.update(classes)
    if not images:
        return None
    title = f"{report.source}: {len(images)} of {len(source):,} in {split}, {report.shown_as.format(size=report.size)}"
    legend = [(source.classes[number], palette_of(source)[number], "") for number in sorted(coloured)]
    return contact_sheet(images, captions, columns=columns, cell=cell, title=title, legend=legend)
