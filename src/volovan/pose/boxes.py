"""Where the objects of a picture are: found by a detector, listed in a file, or the picture itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from volovan.engine.settings import SettingsError
from volovan.files.classes import quoted
from volovan.pose.found import Boxes

Finder = Callable[[Image.Image, str], Boxes]
"""picture, its name -> its objects"""


def whole_picture(picture: Image.Image, name: str) -> Boxes:
    """The picture as the one object."""
    return Boxes(np.array([[0.0, 0.0, *picture.size]]), np.ones(1), np.zeros(1, np.int64))


@dataclass(frozen=True)
class Detected:
    """Boxes of a network in use whose answers have boxes, scores and names.

    numbers  of its classes -> those of the objects
    """

    network: Any
    numbers: Mapping[str, int]

    def __call__(self, picture: Image.Image, name: str) -> Boxes:
        found = self.network.predict(picture)
        labels = np.array([self.numbers.get(one, -1) for one in found.names], np.int64)
        wanted = labels >= 0
        return Boxes(found.boxes[wanted], found.scores[wanted], labels[wanted])


def boxes_of_detector(network: Any, objects: Sequence[str], of: str | None, score: float | None) -> Finder:
    """Boxes of a detector. of: the one of its classes that the objects are; None: those of the same names.

    raises  SettingsError: it is no detector, or has no such class
    """
    if network.room != "detect":
        raise SettingsError(f"--detector {network.name} is of the task {network.room}; name a run of detection")
    known = {name.casefold(): name for name in network.classes}
    if of is not None:
        if of.casefold() not in known:
            raise SettingsError(
                f"--detector-class {of}: the detector finds {quoted(network.classes)}; name one of them"
            )
        if len(objects) > 1:
            raise SettingsError(
                f"--detector-class {of} says one class, but the points are of {quoted(objects)}; leave it out: classes "
                "of the same names are taken"
            )
        numbers = {known[of.casefold()]: 0}
    else:
        numbers = {known[one.casefold()]: number for number, one in enumerate(objects) if one.casefold() in known}
    if not numbers:
        raise SettingsError(
            f"--detector {network.name} finds {quoted(network.classes)}, but the points are of {quoted(objects)}; name "
            "the class that they are with --detector-class"
        )
    return Detected(network if score is None else network.using(score=score), numbers)


@dataclass(frozen=True)
class Listed:
    """Boxes by the path of a picture in its file, or by its id."""

    path: str
    boxes: Mapping[str, Boxes]

    def __call__(self, picture: Image.Image, name: str) -> Boxes:
        """Those of the longest end of the name that is listed; none where no end is."""
        parts = PurePosixPath(name.replace("\\", "/")).parts
        for begin in range(len(parts)):
            if (found := self.boxes.get("/".join(parts[begin:]))) is not None:
                return found
        stem = PurePosixPath(parts[-1]).stem if parts else ""
        for id in (stem, stem.lstrip("0")):  # COCO calls its pictures by their ids, with zeros before
            if (found := self.boxes.get(id)) is not None:
                return found
        return Boxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))


def boxes_of_file(path: str, objects: Sequence[str]) -> Listed:
    """Of a JSON of COCO: a data set whose annotations may have scores, such as the coco.json of `volovan predict`, or a
    list of results of one category, whose pictures are called by their ids.

    raises  SettingsError: it cannot be read, or says something else
    """
    try:
        said = json.loads(Path(path).expanduser().read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"--boxes {path} cannot be read as JSON ({' '.join(str(error).split())[:200]})") from None
    if isinstance(said, list):
        entries, names, numbers = said, None, None
    elif isinstance(said, dict) and all(isinstance(said.get(key), list) for key in ("images", "annotations")):
        entries, names, numbers = said["annotations"], _names(path, said), _categories(path, said, objects)
    else:
        raise SettingsError(
            f"--boxes {path} is no JSON of COCO; a data set with images and annotations, or a list of results, each "
            "with image_id, bbox and score, is expected"
        )
    boxes = [_box(path, place, entry) for place, entry in enumerate(entries)]
    if numbers is None:
        numbers = _one_category(path, entries, objects)
    found: dict[str, list[tuple[list[float], float, int]]] = {name: [] for name in (names or {}).values()}
    for place, (entry, (box, score)) in enumerate(zip(entries, boxes, strict=True)):
        id, category = entry.get("image_id"), entry.get("category_id")
        if names is not None and id not in names:
            raise SettingsError(f"--boxes {path}: entry {place} has the image_id {id!r}, which the file does not list")
        if category in numbers:
            name = str(id) if names is None else names[id]
            found.setdefault(name, []).append((box, score, numbers[category]))
    if not any(found.values()):
        raise SettingsError(f"--boxes {path} has no box of {quoted(objects)}; write it again, or leave it out")
    return Listed(path, {name: _together(rows) for name, rows in found.items()})


def _names(path: str, said: Mapping[str, Any]) -> dict[Any, str]:
    """Of the pictures of a data set, by their ids."""
    try:
        return {image["id"]: str(image["file_name"]).replace("\\", "/") for image in said["images"]}
    except (TypeError, KeyError):
        raise SettingsError(f"--boxes {path} has an image without id and file_name; export it as COCO again") from None


def _categories(path: str, said: Mapping[str, Any], objects: Sequence[str]) -> dict[Any, int]:
    """Ids of categories that are objects -> their numbers."""
    try:
        kinds = {kind["id"]: str(kind["name"]) for kind in said["categories"]}
    except (TypeError, KeyError):
        raise SettingsError(
            f"--boxes {path} has no list of categories with id and name; export it as COCO again"
        ) from None
    wanted = {one.casefold(): number for number, one in enumerate(objects)}
    numbers = {id: wanted[name.casefold()] for id, name in kinds.items() if name.casefold() in wanted}
    if not numbers:
        raise SettingsError(
            f"--boxes {path} has boxes of {quoted([*kinds.values()])}, but the points are of {quoted(objects)}; give "
            "them the same name"
        )
    return numbers


def _one_category(path: str, entries: Sequence[Any], objects: Sequence[str]) -> dict[Any, int]:
    """Results have no names of categories: they are taken for the objects, if they are of one category."""
    ids = {entry.get("category_id") for entry in entries}
    if len(ids) > 1 or len(objects) > 1:
        raise SettingsError(
            f"--boxes {path} is a list of results of {len(ids)} categories without names, and the points are of "
            f"{quoted(objects)}; keep the boxes of one, or make it a data set with categories"
        )
    return dict.fromkeys(ids, 0)


def _box(path: str, place: int, entry: Any) -> tuple[list[float], float]:
    """(x1, y1, x2, y2) and score of an entry, whose ids are numbers or text."""
    box = entry.get("bbox") if isinstance(entry, dict) else None
    numbers = isinstance(box, list) and len(box) == 4 and all(_is_number(side) for side in box)
    score = entry.get("score", 1.0) if isinstance(entry, dict) else None
    if not isinstance(box, list) or not numbers or not _is_number(score):
        raise SettingsError(
            f"--boxes {path}: entry {place} of the list has the bbox {str(box)[:60]} and the score "
            f"{str(score)[:30]}; [x, y, width, height] and a number are expected"
        )
    for key in ("image_id", "category_id"):
        if not isinstance(entry.get(key), int | str | None):
            raise SettingsError(
                f"--boxes {path}: entry {place} of the list has the {key} {str(entry[key])[:60]}; a number or text is "
                "expected"
            )
    x, y, width, height = map(float, box)
    return [x, y, x + width, y + height], float(score)  # type: ignore[arg-type]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _together(rows: Sequence[tuple[list[float], float, int]]) -> Boxes:
    boxes = np.array([box for box, _, _ in rows]).reshape(-1, 4)
    scores, labels = np.array([score for _, score, _ in rows]), np.array([label for _, _, label in rows], np.int64)
    return Boxes(boxes, scores, labels)
