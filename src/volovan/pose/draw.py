"""Points that were found -> pictures: skeletons, beside the truth, sheets, figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from volovan.data.masks.overlay import shown_picture
from volovan.data.objects.annotated import Annotated
from volovan.data.objects.joints import FIRST, MIDDLE, SECOND
from volovan.data.objects.overlay import Mark, painted
from volovan.data.objects.skeleton import Skeleton
from volovan.data.pictures.palettes import Colour, spread
from volovan.data.pictures.panel import panel
from volovan.data.pictures.sheet import Legend, contact_sheet
from volovan.engine.figures import new_figure, save_figure
from volovan.pose.found import Poses
from volovan.pose.oks import similarity

if TYPE_CHECKING:
    from volovan.pose.metrics import PoseMetric

CELL = 224
_VISIBLE = 2


def draw_poses(
    picture: Image.Image, found: Poses, skeleton: Skeleton, objects: Sequence[str], sure: float
) -> Image.Image:
    """The picture with its objects, points from `sure` on; the surest lies above."""
    image = painted(picture, shown_picture(picture), marks_of(found, sure, objects), skeleton)
    return panel([image], [""], _legend(skeleton))


def marks_of(
    found: Poses, sure: float, objects: Sequence[str] = (), colours: Sequence[Colour] | None = None
) -> list[Mark]:
    """ "person 0.93", each in a colour of its own unless colours say otherwise; without names of classes no text."""
    flags = np.where(found.points[:, :, 2:] >= sure, _VISIBLE, 0)
    points = np.concatenate((found.points[:, :, :2], flags), axis=2)
    texts = [
        f"{objects[label]} {score:.2f}" for label, score in zip(found.labels, found.scores, strict=True) if objects
    ]
    return [
        Mark(box, colour, text, points=own)
        for box, colour, text, own in zip(
            found.boxes.tolist(), colours or spread(len(found)), texts or [""] * len(found), points, strict=True
        )
    ]


def _legend(skeleton: Skeleton) -> Legend:
    """Which colour is which of two points that change places in a mirror; nothing where none do."""
    pairs = [(one, other) for one, other in enumerate(skeleton.flips) if one < other]
    if not pairs:
        return []
    first, second = (skeleton.names[number] for number in pairs[0])
    more = f"and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    others = [("others", MIDDLE, "")] if 2 * len(pairs) < len(skeleton) else []
    return [(first, FIRST, more), (second, SECOND, more), *others]


def draw_comparison(
    picture: Image.Image, found: Poses, truth: Annotated, skeleton: Skeleton, sure: float, title: str = ""
) -> Image.Image:
    """What was found beside what is there, where a point is labelled; hidden ones are hollow. What is found has the
    colour of the object that it is most like."""
    points = truth.points
    assert points is not None
    known = (points[:, :, 2] > 0).any(axis=1)
    colours = spread(len(truth))
    theirs = [Mark(truth.boxes[row].tolist(), colours[row], points=points[row]) for row in np.flatnonzero(known)]
    alike = similarity(found.points[:, :, :2], truth, skeleton.sigmas)[:, known]
    of_known = [colours[row] for row in np.flatnonzero(known)]
    nearest = [of_known[number] for number in alike.argmax(axis=1)] if of_known else None
    shown = shown_picture(picture)
    ours = marks_of(found, sure, colours=nearest)
    pictures = [painted(picture, shown, marks, skeleton) for marks in (ours, theirs)]
    told = ", ".join(f"{value:.2f}" for value in alike.max(axis=0)) if alike.size else "none"
    return panel(pictures, [f"found, {sure:g} sure or more; OKS {told}", "truth"], _legend(skeleton), title)


def thumbnail(picture: Image.Image, found: Poses, skeleton: Skeleton, sure: float) -> Image.Image:
    """At the size of a cell of the contact sheet."""
    small = picture.convert("RGB")
    small.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return painted(picture, small, marks_of(found, sure), skeleton)


def draw_sheet(shown: Sequence[tuple[Image.Image, str, int]]) -> Image.Image:
    """Contact sheet of thumbnails, names and numbers of objects."""
    captions = [[name, f"{count} object{'' if count == 1 else 's'}"] for _, name, count in shown]
    return contact_sheet([image for image, _, _ in shown], captions, cell=CELL)


def draw_figures(metric: PoseMetric, folder: Path) -> list[Path]:
    """points.png: PCK of each point, where one is known; returns the files written."""
    shares = metric.per_point()["pck"]
    rows = [(name, share) for name, share in zip(metric.skeleton.names, shares, strict=True) if not np.isnan(share)]
    if not rows:
        return []
    names, values = zip(*rows, strict=True)
    figure, axes = new_figure(6.4, 1.2 + 0.28 * len(rows))
    axes.barh(range(len(rows)), values, color="#3c78b4")
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    for place, value in enumerate(values):
        axes.text(min(value, 0.93) + 0.01, place, f"{value:.3f}", va="center", fontsize=8)
    axes.set(xlim=(0, 1), xlabel="share of points within 0.2 of the longer side of the box (PCK)")
    axes.grid(axis="x", alpha=0.3)
    return [save_figure(figure, folder / "points.png")]
