"""Segments that were found -> pictures: each in its colour with its name, beside the truth, sheets, figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from volovan.data.masks.overlay import shown_picture
from volovan.data.panoptic.overlay import name_segments, resized, segment_colours, segments_overlay
from volovan.data.panoptic.segments import VOID, Panoptic
from volovan.data.pictures.palettes import Colour
from volovan.data.pictures.panel import panel
from volovan.data.pictures.sheet import Legend, contact_sheet, counted, share_text
from volovan.engine.figures import new_figure, save_figure

if TYPE_CHECKING:
    from volovan.panoptic.metrics import PanopticMetric

CELL = 224
_VOID_COLOUR = (200, 200, 200)
_MOST_BARS = 40


def draw_segments(
    picture: Image.Image,
    found: Panoptic,
    scores: Sequence[float],
    classes: Sequence[str],
    palette: Sequence[Colour],
    things: Sequence[bool],
) -> Image.Image:
    """The picture with its segments and their names; below, how many things of each class, and what stuff covers."""
    texts = [f"{classes[one.label]} {score:.2f}" for one, score in zip(found.segments, scores, strict=True)]
    shown = painted(picture, found, texts, palette, things)
    return panel([shown], [""], entries_of(found, classes, palette, things))


def painted(
    picture: Image.Image, found: Panoptic, texts: Sequence[str], palette: Sequence[Colour], things: Sequence[bool]
) -> Image.Image:
    """The picture at a size to look at, its segments in their colours, with a text on each."""
    shown = shown_picture(picture)
    seen = resized(found, shown.size)
    colours = segment_colours(found, palette, things)
    return name_segments(segments_overlay(shown, seen, palette, things), seen, texts, colours)


def entries_of(found: Panoptic, classes: Sequence[str], palette: Sequence[Colour], things: Sequence[bool]) -> Legend:
    """Of a legend: of things how many, of stuff its share of the picture, the largest first."""
    areas = found.areas()
    covered: Counter[int] = Counter()
    for segment, area in zip(found.segments, areas.tolist(), strict=True):
        covered[segment.label] += area
    counts = Counter(segment.label for segment in found.segments)
    whole = found.ids.size
    rows = [
        (classes[label], palette[label], str(counts[label]) if things[label] else share_text(area / whole))
        for label, area in covered.most_common()
    ]
    void = int((found.ids == VOID).sum())
    return [*rows, ("nothing sure", _VOID_COLOUR, share_text(void / whole))] if void else rows


def draw_comparison(
    picture: Image.Image,
    found: Panoptic,
    truth: Panoptic,
    classes: Sequence[str],
    palette: Sequence[Colour],
    things: Sequence[bool],
    counts: Sequence[tuple[int, int, int]],
    title: str = "",
) -> Image.Image:
    """What was found beside what is there; the legend says of each class how many segments are right, wrongly found and
    missed.

    counts  of each class, in this order
    """
    pictures = [
        painted(picture, one, [classes[segment.label] for segment in one.segments], palette, things)
        for one in (found, truth)
    ]
    legend = [
        (classes[label], palette[label], said_of(*counts[label])) for label in range(len(classes)) if any(counts[label])
    ]
    return panel(pictures, ["found", "truth"], legend, title)


def said_of(right: int, wrong: int, missed: int) -> str:
    """ "2 of 3, 1 wrong"."""
    return f"{right} of {right + missed}{f', {wrong} wrong' if wrong else ''}"


def thumbnail(picture: Image.Image, found: Panoptic, palette: Sequence[Colour], things: Sequence[bool]) -> Image.Image:
    """Segments without names at the size of a cell of the contact sheet."""
    small = picture.convert("RGB")
    small.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return segments_overlay(small, resized(found, small.size), palette, things)


def draw_sheet(
    shown: Sequence[tuple[Image.Image, str, Sequence[int]]], classes: Sequence[str], palette: Sequence[Colour]
) -> Image.Image:
    """Contact sheet of thumbnails, names and labels of the segments, with one legend below."""
    captions = [[name, counted((classes[k] for k in labels), "nothing sure")] for _, name, labels in shown]
    every = Counter(label for _, _, labels in shown for label in labels)
    legend = [(classes[label], palette[label], str(count)) for label, count in every.most_common()]
    return contact_sheet([image for image, _, _ in shown], captions, cell=CELL, legend=legend)


def draw_figures(metric: PanopticMetric, folder: Path) -> list[Path]:
    """quality.png: PQ of each class with segments, and SQ and RQ, which it is the product of; of at most forty."""
    table = metric.per_class()
    known = [number for number, value in enumerate(table["pq"]) if not np.isnan(value)]
    if not 0 < len(known) <= _MOST_BARS:
        return []
    known.sort(key=lambda number: -table["pq"][number])
    figure, axes = new_figure(7.2, 1.4 + 0.3 * len(known))
    places = np.arange(len(known))
    axes.barh(places, [table["pq"][number] for number in known], color="#3c78b4", label="PQ")
    for name, marker in (("sq", "|"), ("rq", "x")):
        axes.scatter(
            [table[name][number] for number in known], places, marker=marker, color="black", label=name.upper()
        )
    names = [f"{metric.classes[number]} ({int(table['segments'][number])})" for number in known]
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.02), xlabel="PQ = SQ x RQ; in brackets: segments that are there")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return [save_figure(figure, folder / "quality.png")]
