"""What files tell of the objects of pictures, kept as text: as objects it would take five times the memory."""

import base64
import binascii
import io
import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from volovan.data.errors import BadImage, printable, shortened
from volovan.data.objects.annotated import Thing
from volovan.data.objects.shapes import Box, Polygons, Raster, Shape, cut_out
from volovan.data.samples import Names

Outline = list[float] | dict[str, Any]
"""x, y, x, y ... of a polygon, or pixels: {"x", "y", and "png" or "rows" with "width", "height"}"""
_CORNERS = 64  # of the polygon that an ellipse becomes
_SLIPPED = 1  # pixels by which a mask may be larger than its picture, as rounding makes it


@dataclass
class Kept:
    """What a file tells of a picture.

    size     [width, height], where it is said
    things   [category, place, crowd, box, outlines, points] of each object: its outlines together are one; points:
             {name: [x, y, v]}, or None
    wrong    why the picture cannot be used, "" if it can; things are () then
    picture  what the file calls it
    left     what is not read of it: {kind: how many}
    """

    size: Sequence[int] | None = None
    things: list[list[Any]] = field(default_factory=list)
    wrong: str = ""
    picture: str = ""
    left: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        category: str,
        place: str,
        box: Box | None = None,
        outline: Outline | None = None,
        crowd: bool = False,
        points: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self.things.append([category, place, crowd, box, [] if outline is None else [outline], points])

    def leave(self, kind: str) -> None:
        self.left[kind] = self.left.get(kind, 0) + 1

    def join(self, groups: Sequence[Hashable]) -> None:
        """Outlines of one class and of one group, None for none, are parts of one object. groups: of each thing."""
        first: dict[Hashable, list[Any]] = {}
        joined: list[list[Any]] = []
        for thing, group in zip(self.things, groups, strict=True):
            parts = first.setdefault((thing[0], group), thing) if group is not None and thing[4] else thing
            if parts is thing:
                joined.append(thing)
            else:
                parts[4] += thing[4]
                parts[3] = None
        self.things = joined

    def text(self) -> str:
        return json.dumps([self.size, self.things, self.wrong], separators=(",", ":"))


def ellipse(x: float, y: float, across: float, down: float, turn: float = 0.0) -> Outline:
    """A polygon of an ellipse around (x, y); across, down: its half axes; turn: degrees clockwise."""
    angles = 2 * np.pi * np.arange(_CORNERS) / _CORNERS
    points = np.column_stack((across * np.cos(angles), down * np.sin(angles)))
    outline: list[float] = (rotated(points, turn) + np.array([x, y])).reshape(-1).tolist()
    return outline


def rotated(points: np.ndarray, turn: float) -> np.ndarray:
    """Points (N, 2) around (0, 0), by degrees clockwise in a picture."""
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return np.column_stack((points[:, 0] * cos - points[:, 1] * sin, points[:, 0] * sin + points[:, 1] * cos))


def bare_of(kept: Mapping[str, Kept]) -> str:
    """Why no masks can be drawn of all this, {where it stands: what is told}: the first object without an outline."""
    things = ((where, thing) for where, one in kept.items() for thing in one.things)
    first = next((f"{where}: {thing[1]}" for where, thing in things if not thing[4]), "")
    return first and f"{first} has a box but no outline, so no mask can be drawn of it; draw polygons or masks"


class KeptTeller:
    """names: how messages call what tells of each picture; why_no_masks: as `bare_of` says; joints: names of the points
    that are read."""

    def __init__(
        self, names: Iterable[str], kept: Iterable[Kept], why_no_masks: str, joints: Sequence[str] = ()
    ) -> None:
        self.names, self.told, self.why_no_masks = Names(names), Names(one.text() for one in kept), why_no_masks
        self.joints = tuple(joints)

    def name(self, index: int) -> str:
        return printable(self.names[index])

    def no_masks(self) -> str:
        return self.why_no_masks

    def size_said(self, index: int) -> tuple[int, int] | None:
        size, _, _ = json.loads(self.told[index])
        return None if size is None else (size[0], size[1])

    def categories(self, index: int) -> Iterable[Hashable]:
        return [category for category, _, crowd, *_ in self._things(index) if not crowd]

    def things(self, index: int, width: int, height: int) -> Iterator[Thing]:
        size, things = self.size_said(index), self._things(index)
        if size not in (None, (width, height)) and things:
            assert size is not None
            raise BadImage(
                self.name(index),
                f"{width} x {height} is the picture, but its objects are of {size[0]} x {size[1]}; mend the size, or "
                "take it out if they fit",
            )
        for category, place, crowd, box, outlines, said in things:
            places = [(said or {}).get(name, (0, 0, 0)) for name in self.joints]
            points = np.array(places, float) if places else None
            try:
                shape = _shape(outlines, height, width)
                yield Thing(category, box and tuple(box), shape, crowd, place=place, points=points)
            except ValueError as error:
                raise BadImage(self.name(index), f"{place} has {error}; draw it again") from None

    def _things(self, index: int) -> list[list[Any]]:
        _, things, wrong = json.loads(self.told[index])
        if wrong:
            raise BadImage(self.name(index), wrong)
        found: list[list[Any]] = things
        return found


def _shape(outlines: Sequence[Outline], height: int, width: int) -> Shape | None:
    """ValueError: a reason that goes on after "has"."""
    polygons = Polygons(tuple(np.array(one, float).reshape(-1, 2) for one in outlines if isinstance(one, list)))
    rasters = [_raster(one, height, width) for one in outlines if isinstance(one, dict)]
    if not rasters:
        return polygons if outlines else None
    if len(outlines) == 1:
        return rasters[0]
    whole = np.zeros((height, width), np.uint8)
    polygons.paint(whole, 1)
    for raster in rasters:
        raster.paint(whole, 1)
    return cut_out(whole.astype(bool))


def _raster(said: Mapping[str, Any], height: int, width: int) -> Raster:
    """Cut at the edges of the picture. Its size is asked for before it is unpacked: a few bytes may stand for any."""
    x, y = said["x"], said["y"]
    with _opened(said["png"]) if "png" in said else nullcontext() as image:
        columns, rows = image.size if image else (said["width"], said["height"])
        if columns > width + _SLIPPED or rows > height + _SLIPPED:
            raise ValueError(f"a mask of {columns} x {rows} pixels, expected no more than {width} x {height}")
        mask = _pixels(image, said["png"]) if image else _rows(said)
    return cut_out(mask[max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)], max(x, 0), max(y, 0))


def _opened(text: str) -> Image.Image:
    """A PNG in base64."""
    try:
        return Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG",))
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise _no_mask(text) from None


def _pixels(image: Image.Image, text: str) -> np.ndarray:
    """(H, W) bool."""
    try:
        return np.asarray(image.convert("L")) > 0
    except (OSError, ValueError, SyntaxError):
        raise _no_mask(text) from None


def _no_mask(text: str) -> ValueError:
    return ValueError(f"the mask {shortened(text)}, expected a PNG in base64")


def _rows(said: Mapping[str, Any]) -> np.ndarray:
    """(H, W) bool of runs along the rows, outside, inside, outside ..."""
    runs = np.array(said["rows"], np.int64)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(said["height"], said["width"])
