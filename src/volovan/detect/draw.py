"""What was found -> pictures: boxes and masks with their labels, beside the truth, sheets, figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from volovan.data.masks.coding import Colour
from volovan.data.masks.overlay import shown_picture
from volovan.data.objects.annotated import Annotated
from volovan.data.objects.overlay import Mark, painted
from volovan.data.pictures.panel import panel
from volovan.data.pictures.sheet import Legend, contact_sheet, counted
from volovan.detect.judge import IOU, SCORE, verdict
from volovan.engine.figures import MOST_CLASSES, confusion_figure, new_figure, save_figure
from volovan.room.coco import mean
from volovan.room.coco_scores import RECALLS
from volovan.room.found import Found

CELL = 224
_ALERT = (225, 25, 40)
"""of what is wrong or missed"""
_CROWD = (150, 155, 160)
_NOTHING = (200, 200, 200)
_MOST_CURVES = 12


def draw_found(picture: Image.Image, found: Found, classes: Sequence[str], palette: Sequence[Colour]) -> Image.Image:
    """The picture with what was found, and below it how many of each class."""
    shown = painted(picture, shown_picture(picture), marks_of(found, palette, classes))
    return panel([shown], [""], entries_of(found.labels, classes, palette))


def marks_of(found: Found, palette: Sequence[Colour], classes: Sequence[str] = ()) -> list[Mark]:
    """ "cat 0.93" in the colour of the class, the surest first; without classes no text."""
    rows = zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    masks = found.masks or [None] * len(found)
    return [
        Mark(box, palette[label], f"{classes[label]} {score:.2f}" if classes else "", mask)
        for (box, label, score), mask in zip(rows, masks, strict=True)
    ]


def entries_of(labels: np.ndarray, classes: Sequence[str], palette: Sequence[Colour]) -> Legend:
    """Of a legend: how many of each class, the most frequent first."""
    return [(classes[label], palette[label], str(count)) for label, count in Counter(labels.tolist()).most_common()]


def draw_comparison(
    picture: Image.Image,
    found: Found,
    truth: Annotated,
    classes: Sequence[str],
    palette: Sequence[Colour],
    title: str = "",
    score: float = SCORE,
    iou: float = IOU,
) -> Image.Image:
    """What was found with at least this score, beside what is there; red and broken is what is wrong or missed.

    The legend says how many of each class were found, of how many.
    """
    found = found.above(score)
    told = verdict(found, truth, iou)
    wrong = {number: f"is {classes[truth.labels[there]]}" for number, there in told.confused}
    wrong |= dict.fromkeys(told.doubled, "again") | dict.fromkeys(told.invented, "nothing there")
    missed = {there: f"taken for {classes[found.labels[number]]}" for number, there in told.confused}
    missed |= dict.fromkeys(told.missed, "missed")
    ours = []
    for number, mark in enumerate(marks_of(found, palette, classes)):
        ours.append(_wrong(mark, wrong[number]) if number in wrong else mark)
    theirs = []
    for number, (box, label) in enumerate(zip(truth.boxes.tolist(), truth.labels.tolist(), strict=True)):
        shape = truth.shapes[number] if found.masks is not None else None
        crowd = truth.crowd[number]
        text = f"{classes[label]}, not counted" if crowd else classes[label]
        mark = Mark(box, _CROWD if crowd else palette[label], text, shape)
        theirs.append(_wrong(mark, missed[number]) if number in missed else mark)
    ours, theirs = (sorted(marks, key=lambda mark: not mark.broken) for marks in (ours, theirs))
    shown = shown_picture(picture)
    pictures = [painted(picture, shown, marks) for marks in (ours, theirs)]
    there = Counter(truth.labels[~truth.crowd].tolist())
    right = Counter(truth.labels[[number for _, number in told.right]].tolist() if told.right else [])
    entries = [(classes[k], palette[k], f"{right[k]} of {count}") for k, count in there.most_common()]
    if count := len(wrong) + len(told.missed):
        entries.append(("wrong or missed", _ALERT, str(count)))
    return panel(pictures, [f"found, {score:g} sure or more", "truth"], entries, title)


def _wrong(mark: Mark, why: str) -> Mark:
    return Mark(mark.box, _ALERT, f"{mark.text}, {why}", mark.shape, broken=True)


def thumbnail(picture: Image.Image, found: Found, palette: Sequence[Colour]) -> Image.Image:
    """Boxes and masks without labels at the size of a cell of the contact sheet."""
    small = picture.convert("RGB")
    small.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return painted(picture, small, marks_of(found, palette))


def draw_sheet(
    shown: Sequence[tuple[Image.Image, str, np.ndarray]], classes: Sequence[str], palette: Sequence[Colour]
) -> Image.Image:
    """Contact sheet of thumbnails, names and labels (N,), with one legend below."""
    captions = [[name, counted((classes[k] for k in labels), "nothing found")] for _, name, labels in shown]
    every = np.concatenate([labels for _, _, labels in shown]).astype(int)
    legend = entries_of(every, classes, palette)
    return contact_sheet([image for image, _, _ in shown], captions, cell=CELL, legend=legend)


def draw_confusion(
    confusion: Tensor, classes: Sequence[str], folder: Path, palette: Sequence[Colour] = ()
) -> list[Path]:
    """Confusion matrix (K + 1, K + 1), see `DetectionMetric.confusion`, as confusion.png, of the classes that occur;
    nothing where there are none, or too many."""
    occurs = (confusion.sum(0) + confusion.sum(1) > 0).nonzero()[:, 0].tolist()
    occurs = [number for number in occurs if number < len(classes)]
    if not 0 < len(occurs) <= MOST_CLASSES:
        return []
    chosen = [*occurs, len(classes)]
    names, colours = ([*some[: len(classes)], last] for some, last in ((classes, "nothing"), (palette, _NOTHING)))
    title = "% of the row; last column: missed; last row: found where nothing is"
    shown = [colours[number] for number in chosen] if palette else ()
    path = folder / "confusion.png"
    return [confusion_figure(confusion[chosen][:, chosen], [names[number] for number in chosen], title, path, shown)]


def draw_curves(
    curves: np.ndarray, classes: Sequence[str], folder: Path, palette: Sequence[Colour] = (), name: str = "boxes"
) -> list[Path]:
    """Precision over recall at the overlap 0.5 as precision_recall_NAME.png: the mean, and each class with objects.

    curves  (K, 101), see `CocoScores.curves`
    """
    known = [k for k in range(len(curves)) if not np.isnan(curves[k]).all()]
    if not known:
        return []
    figure, axes = new_figure(6.4, 4.8)
    known.sort(key=lambda k: -mean(curves[k]))
    named = known if len(known) <= _MOST_CURVES else []
    for k in known:
        colour = [channel / 255 for channel in palette[k]] if palette and named else "#b8bcc2"
        label = f"{classes[k]}  {mean(curves[k]):.3f}" if named else None
        axes.plot(RECALLS, curves[k], color=colour, linewidth=1.4 if named else 0.7, label=label)
    whole = curves[known].mean(axis=0)
    axes.plot(RECALLS, whole, color="black", linewidth=2.4, label=f"mean of {len(known)}  {mean(whole):.3f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=f"AP at overlap 0.5 of {name}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower left")
    return [save_figure(figure, folder / f"precision_recall_{name}.png")]
