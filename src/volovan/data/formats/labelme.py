"""labelme's annotations: a JSON for each picture, also as other tools write it (X-AnyLabeling).

Polygons, circles and masks are outlines; rectangles are boxes alone; points and lines have no area and are left out.
Outlines of one label and one group_id are parts of one object. Where points are asked for, each belongs to the box or
outline that has its group_id, and is called as its label; "difficult" says that it is hidden.
"""

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from volovan.data.errors import printable, shortened
from volovan.data.formats.beside import Format, beside_splits
from volovan.data.formats.named import Points
from volovan.data.objects.files import Tellings
from volovan.data.objects.kept import Kept, Outline, ellipse
from volovan.data.objects.numbers import FARTHEST, numbers_of
from volovan.data.objects.shapes import Box
from volovan.data.text import is_text

_LARGEST = 1 << 28  # bytes of a file, which may hold the picture
_HEAD = 4096
_SIGNS = ('"shapes"', '"imagePath"', '"imageData"')
_LEFT = ("point", "points", "line", "linestrip")
_SAID = {None: False, False: False, True: True}


def labelme_splits(root: Path, points: bool = False) -> Tellings | None:
    """{split: opener} of pictures with JSONs of labelme, None if there are none."""
    return beside_splits(root, _WITH_POINTS if points else _FORMAT)


def _knows(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    text = head.decode(json.detect_encoding(head), "replace").lstrip("\ufeff \r\n\t")
    return text.startswith("{") and any(sign in text for sign in _SIGNS)


def _read(path: Path, points: bool = False) -> Kept:
    """ValueError: why it cannot be used."""
    said = _content(path)
    shapes = said.get("shapes")
    if not isinstance(shapes, list):
        raise ValueError(f"has {shortened(shapes)} as shapes, expected a list; save it again in labelme")
    picture = said.get("imagePath")
    found = Kept(size=_size(said), picture=picture if isinstance(picture, str) else "")
    groups: list[int | str | None] = []
    named: dict[int | str | None, dict[str, list[float]]] = {}  # points of each group
    for number, shape in enumerate(shapes, 1):
        place = f"shape {number}"
        try:
            if not isinstance(shape, dict):
                raise ValueError(f"{shortened(shape)}, expected label, points and shape_type")
            if points and shape.get("shape_type") == "point":
                if shape.get("group_id") is None:
                    found.leave("points without group_id")
                else:
                    _add_point(named.setdefault(_group(shape), {}), shape)
                continue
            if not _add(found, place, shape):
                continue
            groups.append(_group(shape))
        except ValueError as error:
            raise ValueError(f"{place} has {error}; mend it") from None
    for group, of_object in named.items():
        things = [thing for thing, own in zip(found.things, groups, strict=True) if own == group]
        apart = len(things) > 1 and not all(thing[4] for thing in things)  # outlines of a group are parts of one object
        if apart or len({thing[0] for thing in things}) != 1:
            whose = " and ".join(dict.fromkeys(printable(thing[0]) for thing in things)) or "no rectangle or outline"
            raise ValueError(
                f"has the point {printable(next(iter(of_object)))} of group_id {group}, which {whose} has; give it "
                "that of its object alone"
            )
        things[0][5] = of_object
    found.join(groups)
    return found


def _group(shape: Mapping[str, Any]) -> int | str | None:
    group = shape.get("group_id")
    if not isinstance(group, int | str | None):
        raise ValueError(f"the group_id {shortened(group)}, expected a number or null")
    return group


def _add_point(named: dict[str, list[float]], shape: Mapping[str, Any]) -> None:
    """ValueError: a reason that goes on after "has"."""
    label, hidden, place = _label(shape), _difficult(shape), _points(shape.get("points"))
    if len(place) != 2:
        raise ValueError(f"{len(place) // 2} places of the point {printable(label)}, expected one")
    if label in named:
        raise ValueError(f"the point {printable(label)} of group_id {shape['group_id']} again, expected each once")
    named[label] = [*place, 1.0 if hidden else 2.0]


def _label(shape: Mapping[str, Any]) -> str:
    label = shape.get("label")
    if not isinstance(label, str) or not is_text(label):
        raise ValueError(f"the label {shortened(label)}, expected that of its class")
    return label.strip()


def _difficult(shape: Mapping[str, Any]) -> bool:
    said = shape.get("difficult")
    if not isinstance(said, bool | None):
        raise ValueError(f"difficult {shortened(said)}, expected true or false")
    return _SAID[said]


def _content(path: Path) -> Mapping[str, Any]:
    if (size := path.stat().st_size) > _LARGEST:
        raise ValueError(f"has {size:,} bytes, expected {_LARGEST:,} at most; save it without imageData")
    try:
        said = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno} " if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"{where}cannot be read as JSON ({' '.join(str(error).split())[:200]}); mend it") from None
    if not isinstance(said, dict):
        raise ValueError(f"is {shortened(said)}, expected an object with shapes; save it again in labelme")
    return said


def _size(said: Mapping[str, Any]) -> list[int] | None:
    sides = [said.get("imageWidth"), said.get("imageHeight")]
    if None in sides:
        return None
    numbers = [side for side in sides if isinstance(side, int | float) and 1 <= side <= FARTHEST and side % 1 == 0]
    if len(numbers) < len(sides):
        raise ValueError(f"has the imageWidth and imageHeight {shortened(sides)}, expected pixels; mend them")
    return [int(side) for side in numbers]


def _add(found: Kept, place: str, shape: Mapping[str, Any]) -> bool:
    """Whether it has an area. ValueError: a reason that goes on after "has"."""
    kind = shape.get("shape_type", "polygon")
    if kind in _LEFT:
        found.leave(f"shapes of the type {kind}")
        return False
    label, crowd = _label(shape), _difficult(shape)
    box, outline = _area(kind, _points(shape.get("points")), shape.get("mask"))
    found.add(label, place, box, outline, crowd)
    return True


def _area(kind: Any, points: list[float], mask: Any) -> tuple[Box | None, Outline | None]:
    """(box, outline) of a shape, of which one is there. ValueError: a reason that goes on after "has"."""
    across, down, count = points[0::2], points[1::2], len(points) // 2
    around = (min(across), min(down), max(across), max(down))
    if kind == "polygon":
        if count < 3:
            raise ValueError(f"a polygon of {count} points, expected 3 or more")
        return None, points
    if (kind == "rectangle" and count in (2, 4)) or (kind == "rotation" and count == 4):
        return around, None
    if kind == "circle" and count == 2:
        radius = math.dist(points[:2], points[2:])
        return None, ellipse(points[0], points[1], radius, radius)
    if kind == "mask" and count == 2:
        if not isinstance(mask, str):
            raise ValueError(f"the mask {shortened(mask)}, expected a PNG in base64")
        return None, {"png": mask, "x": round(around[0]), "y": round(around[1])}
    known = "polygon, rectangle (2 points), circle (2) or mask (2)"
    raise ValueError(f"the shape_type {shortened(kind)} with {count} points, expected {known}")


def _points(said: Any) -> list[float]:
    """x, y, x, y ..."""
    expected = "a list of x, y"
    if not isinstance(said, list) or not said or not all(isinstance(one, list) and len(one) == 2 for one in said):
        raise ValueError(f"the points {shortened(said)}, expected {expected}")
    numbers: list[float] = numbers_of([at for one in said for at in one], "the points", expected).tolist()
    return numbers


_FORMAT = Format("labelme", ".json", _knows, _read)
_WITH_POINTS = Format(
    "labelme",
    ".json",
    _knows,
    partial(_read, points=True),
    Points(
        missing="has annotations of labelme, but no object with named points; give points the group_id of their "
        "rectangle or polygon",
        left="they belong to no object with points",
    ),
)
