"""What a run would see of pictures with masks and what is wrong with them: volovan check-data for dense tasks."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volovan.data.check import Look, extent, look_at, looked_at, spread_indices
from volovan.data.errors import BadImage, SourceError
from volovan.data.mask_report import MaskReport, MaskSplit, render_masks
from volovan.data.mask_samples import Masked, hold_out_masks
from volovan.data.mask_sheet import mask_sheet, salient_overlay
from volovan.data.masks import IGNORE, BadMask
from volovan.data.overlay import overlay
from volovan.data.report import Sample
from volovan.data.saliency import list_saliency_splits, open_saliency_unchecked
from volovan.data.segmentation import list_mask_splits, open_masks_unchecked, unpaired
from volovan.files.pictures import save_picture
from volovan.files.whole import UnwritableError, write_text

_SHEET = 24  # pictures on the sheet
_SALIENT = 128  # above this value a pixel counts as salient, as in the scores of saliency/metrics.py


def check_masks(
    spec: str,
    task: str = "segment",
    split: str | None = None,
    out: str | Path | None = None,
    workers: int = 2,
    limit: int | None = None,
    why: str = "",
) -> MaskReport:
    """Decode every picture and mask of a source and report; nothing of the user's is changed.

    task     "segment" or "saliency": what the masks mean
    split    only this one; default: all that there are, or the two parts that a run would make
    out      folder for samples.png and report.json; default: write nothing
    workers  threads that decode
    limit    check at most so many samples per split, evenly spread
    why      a sentence for the report on how the task was found
    raises   SourceError: the source cannot be opened
    """
    sources = _splits_of_a_run(spec, task, split)
    classes = tuple(getattr(next(iter(sources.values())), "classes", ()))
    notes = list(dict.fromkeys(source.note for source in sources.values() if source.note))
    report = MaskReport(str(spec), task, why, classes, notes)
    seen: dict[bytes, list[Sample]] = {}
    for name, source in sources.items():
        _check_split(report, name, source, seen, workers, limit)
        report.unpaired += unpaired(source)
    report.unpaired = list(dict.fromkeys(report.unpaired))  # two parts of one source say the same
    report.duplicates = [group for group in seen.values() if len(group) > 1]
    _find_missing_classes(report, whole=split is None)
    report.stops = _what_fit_refuses(report, whole=split is None)
    if out is not None:
        _write(report, sources, Path(out))
    return report


def run_check_masks(
    source: str,
    task: str,
    split: str | None = None,
    out: str = "check-data",
    workers: int = 2,
    limit: int | None = None,
    json: bool = False,
    why: str = "",
) -> int:
    """volovan check-data --task segment|saliency: 0: fine, 1: fit would refuse it, 2: the source cannot be opened."""
    try:
        report = check_masks(source, task, split, out, workers, limit, why)
    except (SourceError, UnwritableError) as error:
        print(f"volovan check-data: {error}", file=sys.stderr)
        return 2
    print(report.as_json() if json else render_masks(report))
    return 0 if report.ok else 1


# ---------------------------------------------------------------------------------------------------------------------
# looking at every sample


@dataclass
class _MaskLook:
    """What is kept of one picture and its mask; mask is None where it cannot be used, then problem says why."""

    picture: Look | BadImage
    counts: np.ndarray | None  # (256,) pixels of each value
    problem: BadImage | None


def _splits_of_a_run(spec: str, task: str, split: str | None) -> Mapping[str, Masked]:
    listing, opening = {
        "segment": (list_mask_splits, open_masks_unchecked),
        "saliency": (list_saliency_splits, open_saliency_unchecked),
    }[task]
    if split is not None:
        return {split: opening(spec, split)}
    if names := listing(spec):
        return {name: opening(spec, name) for name in names}
    whole = opening(spec, None)
    return {name: hold_out_masks(whole, name) for name in ("train", "val")}


def _look(source: Masked, index: int) -> _MaskLook:
    try:
        picture: Look | BadImage = look_at(source.load(index))
    except BadImage as error:
        picture = error
    try:
        return _MaskLook(picture, np.bincount(source.mask(index).ravel(), minlength=256), None)
    except BadImage as error:
        same = isinstance(picture, BadImage) and picture.name == error.name
        return _MaskLook(picture, None, None if same else error)


def _check_split(
    report: MaskReport,
    split: str,
    source: Masked,
    seen: dict[bytes, list[Sample]],
    workers: int,
    limit: int | None,
) -> None:
    indices = spread_indices(len(source), limit)
    summary = report.splits[split] = MaskSplit(len(source), len(indices))
    widths, heights = [], []
    for index, look in looked_at(lambda index: _look(source, index), indices, workers, split):
        assert isinstance(look, _MaskLook)  # _look raises nothing
        sample = Sample(split, source.name(index), None)
        if isinstance(look.picture, BadImage):
            report.broken.append(Sample(split, sample.name, None, look.picture.reason))
        else:
            widths.append(look.picture.width)
            heights.append(look.picture.height)
            summary.kinds[look.picture.kind] = summary.kinds.get(look.picture.kind, 0) + 1
            seen.setdefault(look.picture.digest, []).append(sample)
        if look.problem is not None:
            _add_bad_mask(report, split, look.problem)
        elif look.counts is not None:
            (_count_classes if report.task == "segment" else _count_salient)(report, summary, sample, look.counts)
    summary.widths, summary.heights = (extent(values) if values else [] for values in (widths, heights))


def _add_bad_mask(report: MaskReport, split: str, problem: BadImage) -> None:
    report.bad_masks.append(Sample(split, problem.name, None, problem.reason))
    if isinstance(problem, BadMask):
        for value, pixels in problem.unknown:
            total = report.unknown_ids.setdefault(str(value), [0, 0])
            total[0] += 1
            total[1] += pixels


def _count_classes(report: MaskReport, summary: MaskSplit, sample: Sample, counts: np.ndarray) -> None:
    for name, pixels in zip(report.classes, counts.tolist(), strict=False):
        summary.pixels[name] = summary.pixels.get(name, 0) + pixels
        summary.pictures[name] = summary.pictures.get(name, 0) + bool(pixels)
    total, ignored = int(counts.sum()), int(counts[IGNORE])
    summary.counted += total
    summary.ignored += ignored
    if ignored == total:
        _add_odd(report, "masks of which every pixel is ignored", sample)


def _count_salient(report: MaskReport, summary: MaskSplit, sample: Sample, counts: np.ndarray) -> None:
    total, salient = int(counts.sum()), int(counts[_SALIENT + 1 :].sum())
    summary.pixels["salient"] = summary.pixels.get("salient", 0) + salient
    summary.pictures["salient"] = summary.pictures.get("salient", 0) + bool(salient)
    summary.counted += total
    if not salient:
        _add_odd(report, f"empty masks (nothing is above {_SALIENT})", sample)
    elif salient == total:
        _add_odd(report, "full masks (everything is salient)", sample)


def _add_odd(report: MaskReport, kind: str, sample: Sample) -> None:
    report.odd.setdefault(kind, []).append(sample)


# ---------------------------------------------------------------------------------------------------------------------
# findings about all


def _find_missing_classes(report: MaskReport, whole: bool) -> None:
    splits = {name: split for name, split in report.splits.items() if split.checked}
    found = {name: [s for s, split in splits.items() if split.pictures.get(name)] for name in report.classes}
    report.lonely_classes = {name: where for name, where in found.items() if 0 < len(where) < len(splits)}
    if whole:  # one split alone may lack a class
        report.empty_classes = [name for name, where in found.items() if not where]


def _what_fit_refuses(report: MaskReport, whole: bool) -> list[str]:
    found: list[str] = []
    if report.task == "segment" and len(report.classes) == 1:
        found.append(f"There is one class only ({report.classes[0]!r}); fit needs at least two.")
    used = {"val": "val" if "val" in report.splits else "test", "train": "train"}  # as choose_split does
    for role, name in used.items():
        if whole and name not in report.splits:
            found.append(f"There is no {role} split; fit needs one (for val also --data.val).")
    for name, split in report.splits.items():
        if not split.samples and (not whole or name in used.values()):
            found.append(f"The {name} split has no samples; fit needs some in train and in val, so add pictures.")
        elif split.checked and not split.counted:
            found.append(f"No mask of the {name} split can be used.")
        elif split.counted and split.ignored == split.counted:
            found.append(f"All pixels of the {name} split are ignored; nothing can be learned or scored.")
    return found


# ---------------------------------------------------------------------------------------------------------------------
# what is written


def _write(report: MaskReport, sources: Mapping[str, Masked], out: Path) -> None:
    split, source = next(iter(sources.items()))
    if sheet := _samples_sheet(report, split, source):
        report.files.append(str(out / "samples.png"))
        save_picture(out / "samples.png", sheet)
    report.files.append(str(out / "report.json"))
    write_text(out / "report.json", report.as_json() + "\n")


def _samples_sheet(report: MaskReport, split: str, source: Any) -> Any:
    """Overlays of pictures of the first split, evenly spread; the legend names the classes in them."""
    images, captions = [], []
    present = np.zeros(256, dtype=bool)
    for index in spread_indices(len(source), _SHEET):
        try:
            picture, mask = source.load(index), source.mask(index)
        except BadImage:
            continue
        if report.task == "segment":
            present[mask] = True
            images.append(overlay(picture, mask, source.palette))
        else:
            images.append(salient_overlay(picture, mask))
        captions.append(source.name(index).rpartition("/")[2])
    if not images:
        return None
    legend = [(name, source.palette[number]) for number, name in enumerate(report.classes) if present[number]]
    title = f"{report.source}: {len(images)} of {len(source):,} in {split}, masks over pictures"
    if report.task == "segment":
        title += " (ignored pixels keep their colours)"
    return mask_sheet(images, captions, legend, title)
