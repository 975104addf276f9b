"""What a JSON of COCO says of each picture."""

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from volovan.data.errors import BadImage, SourceError, printable, shortened
from volovan.data.formats.coco_entries import Entry, called, id_of, once, read_categories, read_entries, read_images
from volovan.data.objects.annotated import Thing
from volovan.data.objects.numbers import numbers_of
from volovan.data.objects.runs import read_runs
from volovan.data.objects.shapes import Box, Polygons, Shape
from volovan.data.objects.skeleton import Skeleton
from volovan.data.samples import Names
from volovan.data.text import is_text

_KEYS = {"images": ("id", "file_name"), "categories": ("id", "name"), "annotations": ("image_id", "category_id")}
_CROWD = {None: False, 0: False, 1: True, "": False, "0": False, "1": True}  # False is 0, and True is 1
_LARGEST = 1e12  # area


@dataclass
class Described:
    """A JSON, read.

    names       of the pictures
    told        of each what `CocoTeller` reads, as text: as objects it would take five times the memory
    categories  names by their ids, in the order of these
    above       names that categories say to belong to
    used        names of those that annotations have
    bare        the first annotation without an outline, "" if there is none
    notes       what the user should know
    skeletons   (names, lines) of the points of each category that has some, where points are asked for
    whole       whether every place of a point is a whole number: that of a pixel, whose middle is meant
    """

    names: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    categories: dict[Hashable, str] = field(default_factory=dict)
    above: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    bare: str = ""
    notes: list[str] = field(default_factory=list)
    whole: bool = True
    skeletons: dict[Hashable, Skeleton] = field(default_factory=dict)


@lru_cache(maxsize=3)  # train, val and test of a run are opened one after the other
def read_described(path: Path, stamp: int, points: bool = False) -> Described:
    """stamp changes when the file does. SourceError: it is not COCO's, or contradicts itself."""
    images, categories, annotations = read_entries(path, _KEYS, ", bbox or segmentation")
    found = Described()
    pictures, sizes = read_images(path, images, found.notes)
    for id, (name, category) in read_categories(path, categories, found.notes).items():
        found.categories[id] = name
        if isinstance(above := category.get("supercategory"), str) and above.strip() != name:
            found.above.add(above.strip())
        if points and category.get("keypoints"):
            found.skeletons[id] = _skeleton(f"{path}: {called('category', id)} ({printable(name)})", category)
    kept = ("bbox", "segmentation", "iscrowd", "area", *(["keypoints"] if points else []))
    of: dict[Hashable, list[str]] = {id: [] for id in pictures}
    for id, annotation in once(path, "annotation", annotations, found.notes):
        image_id, category_id = id_of(annotation["image_id"]), id_of(annotation["category_id"])
        if image_id not in pictures or category_id not in found.categories:
            key = "image_id" if image_id not in pictures else "category_id"
            of_picture = f" of {printable(pictures[image_id])}" if image_id in pictures else ""
            where = f"{path}: {called('annotation', id)}{of_picture}"
            raise SourceError(
                f"{where} has the {key} {shortened(annotation[key])}, which the file does not list; export it again"
            )
        if not found.bare and not annotation.get("segmentation"):
            found.bare = f"{called('annotation', id)} of {printable(pictures[image_id])}"
        found.used.add(found.categories[category_id])
        told = [category_id, id, *map(annotation.get, kept)]
        if points and found.whole:
            said = annotation.get("keypoints") or ()
            found.whole = isinstance(said, Sequence) and all(isinstance(value, int) for value in said)
        of[image_id].append(json.dumps(told, separators=(",", ":")))
    found.names = [*pictures.values()]
    found.told = [f"{json.dumps(sizes[id])[:-1]},[{','.join(some)}]]" for id, some in of.items()]
    return found


def _skeleton(where: str, category: Entry) -> Skeleton:
    """That of a category. SourceError: it is none."""
    names, pairs = category["keypoints"], category.get("skeleton") or []
    if not isinstance(names, list) or not all(map(is_text, names)):
        raise SourceError(f"{where} has the keypoints {shortened(names)}, expected a list of their names")
    count = len(names)
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        ends = pair if isinstance(pair, list) and len(pair) == 2 else [pair]
        if len(ends) != 2 or not all(type(end) is int and 1 <= end <= count for end in ends):
            raise SourceError(
                f"{where} has {shortened(pair)} in its skeleton, expected pairs of numbers of keypoints from 1 to "
                f"{count}; mend it"
            )
    try:
        return Skeleton(tuple(name.strip() for name in names), tuple((one - 1, other - 1) for one, other in pairs))
    except ValueError as error:
        raise SourceError(f"{where} has among its keypoints {error}; mend it") from None


class CocoTeller:
    """told: JSON, [width, height, [[category, id, bbox, segmentation, iscrowd, area(, keypoints)], ...]]."""

    def __init__(
        self,
        path: Path,
        told: Mapping[str, str],
        why_no_masks: str,
        order: Mapping[Hashable, Sequence[int]],
        shift: float,
    ) -> None:
        """told: of each picture; order: of categories whose points are read, where in the file each point is; shift: of
        points, to the middle of a pixel perhaps."""
        self.file, self.why_no_masks, self.order, self.shift = path.name, why_no_masks, order, shift
        self.pictures, self.told = Names(told), Names(told.values())

    def name(self, index: int) -> str:
        return printable(self.pictures[index])

    def no_masks(self) -> str:
        return self.why_no_masks

    def size_said(self, index: int) -> tuple[int, int] | None:
        width, height, _ = json.loads(self.told[index])
        return None if width is None or height is None else (width, height)

    def categories(self, index: int) -> Iterable[Hashable]:
        _, _, entries = json.loads(self.told[index])
        return [entry[0] for entry in entries if entry[4] not in (1, "1")]

    def things(self, index: int, width: int, height: int) -> Iterator[Thing]:
        said_width, said_height, entries = json.loads(self.told[index])
        if None not in (said_width, said_height) and (said_width, said_height) != (width, height):
            raise BadImage(
                self.name(index),
                f"{width} x {height}, but its outlines and boxes in {self.file} are of {said_width} x {said_height}; "
                "export them for this size",
            )
        for entry in entries:
            try:
                yield _thing(entry, height, width, self.order.get(entry[0]), self.shift)
            except ValueError as error:
                raise BadImage(
                    self.name(index), f"{called('annotation', entry[1])} of {self.file} has {error}; export it again"
                ) from None


def _thing(entry: list[Any], height: int, width: int, order: Sequence[int] | None, shift: float) -> Thing:
    """ValueError: a reason that goes on after "has"."""
    category, id, bbox, segmentation, crowd, area, *keypoints = entry
    box: Box | None = None
    if bbox is not None and bbox != []:
        sides = numbers_of(bbox, "the bbox", "x, y, width, height in pixels").tolist()
        if len(sides) != 4 or min(sides[2:]) < 0:
            raise ValueError(f"the bbox {shortened(bbox)}, expected x, y, width, height in pixels")
        box = (sides[0], sides[1], sides[0] + sides[2], sides[1] + sides[3])
    shape = _shape(segmentation, height, width) if segmentation else None
    points = None if order is None else points_of(keypoints[0], order, shift)
    if box is None and shape is None and (points is None or not points[:, 2].any()):
        raise ValueError("neither a bbox nor a segmentation, expected one of them")
    if not isinstance(crowd, str | int | None) or crowd not in _CROWD:
        raise ValueError(f"iscrowd {shortened(crowd)}, expected 0 or 1")
    pixels = None if area is None else float(numbers_of([area], "the area", "a number of pixels", _LARGEST)[0])
    if pixels is not None and pixels < 0:
        raise ValueError(f"the area {shortened(area)}, expected a number of pixels")
    return Thing(category, box, shape, _CROWD[crowd], pixels, called("annotation", id), points)


def points_of(said: Any, order: Sequence[int], shift: float) -> np.ndarray:
    """(K, 3) x, y, v of the points of an annotation, none of them labelled where nothing is said. order: where each is;
    shift: is added to x and y.

    ValueError: a reason that goes on after "has".
    """
    if said is None or said == []:
        return np.zeros((len(order), 3))
    expected = f"{3 * len(order)}, x, y, v of each of {len(order)} points"
    found = numbers_of(said, "the keypoints", expected)
    if len(found) != 3 * len(order):
        raise ValueError(f"{len(found)} numbers as keypoints, expected {expected}")
    found = found.reshape(-1, 3)[list(order)]
    if len(wrong := np.flatnonzero(~np.isin(found[:, 2], (0, 1, 2)))):
        raise ValueError(
            f"v {found[wrong[0], 2]:g} of keypoint {order[wrong[0]] + 1}, expected 0 (not labelled), 1 (hidden) or 2 "
            "(visible)"
        )
    found[:, :2] += shift
    found[found[:, 2] == 0] = 0
    return found


def _shape(said: Any, height: int, width: int) -> Shape:
    if isinstance(said, dict):
        return read_runs(said, height, width)
    parts = []
    for part in said if isinstance(said, list) and isinstance(said[0], list) else [said]:
        corners = numbers_of(part, "the outline", "a list of numbers")
        if len(corners) % 2 or len(corners) < 6:
            raise ValueError(f"an outline of {len(corners)} numbers, expected x, y of 3 corners or more")
        parts.append(corners.reshape(-1, 2))
    return Polygons(tuple(parts))
