"""Points that were found -> pictures: skeletons, beside the truth, sheets, figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from volovan.data.masks.overlay import shown_picture
from volovan.data.objects.annotated import Annotated
from volovan.data.objects.skeleton import Skeleton
from volovan.data.pictures.palettes import Colour, spread
from volovan.data.pictures.panel import panel
from volovan.data.pictures.sheet import contact_sheet
from volovan.engine.figures import new_figure, save_figure
from volovan.pose.found import Poses
from volovan.pose.oks import similarity

if TYPE_CHECKING:
    from volovan.pose.metrics import PoseMetric

CELL = 224
_HALO = (20, 22, 25)
_HIDDEN = 1  # of a point of a truth that was labelled, though it cannot be seen


def painted(
    picture: Image.Image, shown: Image.Image, points: np.ndarray, skeleton: Skeleton, boxes: np.ndarray, sure: float
) -> Image.Image:
    """Skeletons of a picture on `shown`, the same in another size.

    points  (N, K, 3): x, y and how sure; those below `sure`, and lines to them, are left out. Points have a colour
            each, lines that of the object
    boxes   (N, 4), thin
    """
    sheet = shown.convert("RGB")
    draw = ImageDraw.Draw(sheet)
    scale = np.array([shown.width / picture.width, shown.height / picture.height])
    of_points, of_objects = spread(len(skeleton)), spread(max(len(points), 1))
    for number in reversed(range(len(points))):  # the surest lies above
        places, known = points[number, :, :2] * scale, points[number, :, 2] >= sure
        corners = (boxes[number].reshape(2, 2) * scale).round().astype(int)
        draw.rectangle(tuple(corners.clip(0, np.array(shown.size) - 1).ravel().tolist()), outline=of_objects[number])
        reach = _radius(places, shown)
        for first, second in skeleton.lines:
            if known[first] and known[second]:
                ends = [tuple(places[first]), tuple(places[second])]
                draw.line(ends, fill=_HALO, width=2 * reach - 1)
                draw.line(ends, fill=of_objects[number], width=max(2 * reach - 3, 1))
        for place, colour in ((places[k], of_points[k]) for k in np.flatnonzero(known)):
            _dot(draw, place, reach, colour)
    return sheet


def _radius(places: np.ndarray, shown: Image.Image) -> int:
    """Of points, by the size of the picture."""
    return 2 + round(max(shown.size) / 400)


def _dot(draw: ImageDraw.ImageDraw, place: np.ndarray, reach: int, colour: Colour) -> None:
    x, y = place.tolist()
    draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour, outline=_HALO)


def draw_poses(picture: Image.Image, found: Poses, skeleton: Skeleton, sure: float) -> Image.Image:
    """The picture with its objects, and below it which colour is which point, in how many objects."""
    image = painted(picture, shown_picture(picture), found.points, skeleton, found.boxes, sure)
    return panel([image], [""], _legend(found.points[:, :, 2] >= sure, skeleton))


def _legend(known: np.ndarray, skeleton: Skeleton) -> list[tuple[str, Colour, str]]:
    """known: (N, K) bool."""
    counts = known.sum(axis=0).tolist()
    return [
        (name, colour, str(n)) for name, colour, n in zip(skeleton.names, spread(len(skeleton)), counts, strict=True)
    ]


def draw_comparison(
    picture: Image.Image, found: Poses, truth: Annotated, skeleton: Skeleton, sure: float, title: str = ""
) -> Image.Image:
    """What was found beside what is there; points that are not labelled are in neither."""
    points = truth.points
    assert points is not None
    known = (points[:, :, 2] > 0).any(axis=1)
    shown = shown_picture(picture)
    ours = painted(picture, shown, found.points, skeleton, found.boxes, sure)
    theirs = painted(picture, shown, points[known], skeleton, truth.boxes[known], _HIDDEN)
    alike = similarity(found.points[:, :, :2], truth, skeleton.sigmas)
    told = ", ".join(f"{value:.2f}" for value in alike.max(axis=0)[known]) if len(found) else "nothing found"
    captions = [f"found, {sure:g} sure or more; OKS {told}", "truth"]
    return panel([ours, theirs], captions, _legend(points[known][:, :, 2] > 0, skeleton), title)


def thumbnail(picture: Image.Image, found: Poses, skeleton: Skeleton, sure: float) -> Image.Image:
    """At the size of a cell of the contact sheet."""
    small = picture.convert("RGB")
    small.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return painted(picture, small, found.points, skeleton, found.boxes, sure)


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
    colours = [tuple(channel / 255 for channel in colour) for colour in spread(len(rows))]
    axes.barh(range(len(rows)), values, color=colours)
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    for place, value in enumerate(values):
        axes.text(min(value, 0.93) + 0.01, place, f"{value:.3f}", va="center", fontsize=8)
    axes.set(xlim=(0, 1), xlabel="share of points within 0.2 of the longer side of the box (PCK)")
    axes.grid(axis="x", alpha=0.3)
    return [save_figure(figure, folder / "points.png")]
