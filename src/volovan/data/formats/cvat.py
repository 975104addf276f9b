"""CVAT's annotations, "CVAT for images 1.1": one XML for all pictures.

annotations.xml, annotations/default.xml, train/annotations.xml    pictures in images/, images/SUBSET/, or beside it

Polygons, ellipses and masks are outlines; boxes, also turned ones, are boxes alone; points and lines have no area and
are left out. Outlines of one label and one group_id are parts of one object. What lies on top (z_order) comes later.
The labels of the file are the classes, in its order; the subsets of the pictures are the splits. Where points are asked
for, skeletons are the objects.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from volovan.data.errors import SourceError, printable, shortened
from volovan.data.folder import listed_names, split_folders, split_named, subfolders
from volovan.data.formats.cvat_skeletons import one_skeleton, points_of, read_skeletons
from volovan.data.formats.named import Points, told_by_names
from volovan.data.formats.plain_xml import begins_with, elements
from volovan.data.objects.files import Tellings, Told
from volovan.data.objects.kept import Kept, Outline, ellipse, rotated
from volovan.data.objects.numbers import numbers_of
from volovan.data.objects.shapes import Box
from volovan.data.objects.skeleton import Skeleton
from volovan.data.pairing.inside import find_inside, not_there
from volovan.data.pairing.name_words import says_pictures
from volovan.data.pairing.partners import relative
from volovan.files.hidden import is_hidden

_LARGEST = 1 << 30  # bytes of a file
_ROOT = "annotations"
_SKELETON = "skeleton"
_SEVERAL = {"points": "points", "box": "boxes"}
_LEFT = ("points", "polyline", "cuboid", _SKELETON, "tag")
_LABELS = ("", "any", "rectangle", "bbox", "polygon", "ellipse", "mask")  # kinds of labels that objects have
_OF_SIZE = 1e9


@dataclass
class _Image:
    """A picture: its name in the file, its split there, and what is told of it."""

    name: str
    subset: str
    kept: Kept


@dataclass
class _File:
    labels: list[str]
    images: list[_Image]
    skeletons: dict[str, Skeleton] = field(default_factory=dict)


def cvat_splits(root: Path, points: bool = False) -> Tellings | None:
    """{split: opener} of pictures with an XML of CVAT, None if there is none."""
    beside = [(root, ""), *((path, "") for path in subfolders(root) if path.name.lower() == "annotations")]
    above: dict[str, Path] = {}
    with suppress(SourceError):  # a folder that is something else
        above = split_folders(root)
    files = {
        path: split
        for folder, split in [*beside, *((folder, split) for split, folder in above.items())]
        for path in sorted(folder.glob("*.xml"))
        if not is_hidden(path.name) and begins_with(path, _ROOT)
    }
    return _splits(root, files, points) if files else None


def cvat_file_splits(path: Path, points: bool = False) -> Tellings | None:
    """The splits of an XML of CVAT that is named itself, None if it is none."""
    if not begins_with(path, _ROOT):
        return None
    root = path.parent.parent if path.resolve().parent.name.lower() == "annotations" else path.parent
    return _splits(root, {path: ""}, points)


def _splits(root: Path, files: Mapping[Path, str], points: bool) -> Tellings:
    """files: and the split of each, "" where its subsets say it. points: of the skeletons alone."""
    every = _read_all(files, points)
    of_files = {
        path: [split] if split else [split_named(image.subset) for image in every[path].images]
        for path, split in files.items()
    }
    found = {split for splits in of_files.values() for split in splits} or {""}
    named = found - {""}
    return {split: partial(_open, root, split, files, points) for split in sorted(named or found)}


def _read_all(files: Iterable[Path], points: bool) -> dict[Path, _File]:
    return {path: _read(path, path.stat().st_mtime_ns, points) for path in files}


def _open(root: Path, split: str, files: Mapping[Path, str], points: bool) -> Told:
    every = _read_all(files, points)
    told: dict[str, Kept] = {}  # path of a picture -> what is told of it
    missing: list[tuple[_Image, Path]] = []
    without = 0
    for path, said in files.items():
        for image in every[path].images:
            own = said or split_named(image.subset)
            without += not own
            if own != split:
                continue
            there = find_inside(_folders(root, path, image.subset), image.name)
            if there is None:
                missing.append((image, path))
                continue
            picture = relative(root, there)
            if picture in told:
                raise SourceError(f"{path} tells twice of {printable(picture)}; list each picture once")
            told[picture] = image.kept
    kept = {f"{path}: {image.name}": image.kept for path, file in every.items() for image in file.images}
    labels = list(dict.fromkeys(label for file in every.values() for label in file.labels))
    names = listed_names([path.name for path in files])
    outside = f"{without:,} pictures of {names} are in no split and are left out." if split and without else ""
    unpaired = [
        sentence
        for image, path in missing
        for sentence in not_there([image.name], path.name, [] if told else _folders(root, path, image.subset))
    ]
    return told_by_names(
        root,
        {picture: (picture, one) for picture, one in told.items()},
        kept,
        [path.parent for path in files],
        names,
        outside,
        unpaired,
        labels=labels,
        points=_points(every, kept.values()) if points else None,
        where=next(iter(files)),
    )


def _points(every: Mapping[Path, _File], kept: Iterable[Kept]) -> Points:
    """SourceError: the skeletons of the labels that objects have differ."""
    used = {thing[0] for one in kept for thing in one.things}
    said = {label: (path, of) for path, file in every.items() for label, of in file.skeletons.items() if label in used}
    return Points(
        missing="has no skeletons, so there are no points to learn; draw skeletons, or export as COCO keypoints",
        left="they are no skeletons",
        skeleton=one_skeleton(said),
    )


def _folders(root: Path, path: Path, subset: str) -> list[Path]:
    """Where a picture may lie."""
    homes = [path.parent, *([root] if root != path.parent else [])]
    above = [*(inside for home in homes for inside in subfolders(home) if says_pictures(inside.name)), *homes]
    return [folder for one in above for folder in (one / subset, one) if folder.is_dir()]


# what a file says


@lru_cache(maxsize=3)  # the splits of a run are opened one after the other
def _read(path: Path, stamp: int, points: bool) -> _File:
    """stamp changes when the file does. SourceError: it cannot be read."""
    found = _File([], [])
    try:
        for element in elements(path, _ROOT, _LARGEST):
            if element.tag == "meta":
                found.skeletons |= read_skeletons(element) if points else {}
                found.labels += found.skeletons if points else _labels(element)
            elif element.tag == "image":
                found.images.append(_image(path, element, len(found.images) + 1, points))
            elif element.tag == "track":
                raise ValueError("has tracks, as CVAT writes videos; export it as CVAT for images 1.1")
    except ValueError as error:
        raise SourceError(f"{path} {error}") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
    return found


def _labels(meta: Element) -> list[str]:
    """Those that objects may have; parts of skeletons have none."""
    found = []
    for label in meta.iter("label"):
        kind, name = label.findtext("type") or "", (label.findtext("name") or "").strip()
        if name and kind.strip() in _LABELS and not label.findtext("parent"):
            found.append(name)
    return found


def _image(path: Path, element: Element, number: int, points: bool) -> _Image:
    name = element.get("name", "").strip()
    if not name:
        raise ValueError(f"has no name of image {number}, expected that of a picture; export it again")
    subset = element.get("subset", "").strip()
    kept, groups, orders = Kept(), [], []
    try:
        kept.size = _size(element)
        for place, one in enumerate(element, 1):
            if one.tag != _SKELETON if points else one.tag in _LEFT:
                kept.leave(_SEVERAL.get(one.tag, f"{one.tag}s"))
                continue
            what = f"{one.tag} {place}"
            try:
                _add(kept, what, one)
                orders.append(_number(one, "z_order", "0"))
            except ValueError as error:
                raise ValueError(f"{what} has {error}") from None
            groups.append(one.get("group_id"))
    except ValueError as error:
        return _Image(name, subset, Kept(wrong=f"{error}; mend it in {path.name}, or export it again"))
    by_order = np.argsort(orders, kind="stable").tolist()
    kept.things = [kept.things[place] for place in by_order]
    kept.join([groups[place] for place in by_order])
    return _Image(name, subset, kept)


def _size(element: Element) -> list[int] | None:
    said = [element.get("width"), element.get("height")]
    if None in said:
        return None
    sides = [_number(element, key) for key in ("width", "height")]
    if min(sides) < 1 or any(side % 1 for side in sides):
        raise ValueError(f"the image has the width and height {shortened(said)}, expected pixels")
    return [int(side) for side in sides]


def _add(kept: Kept, place: str, one: Element) -> None:
    """ValueError: a reason that goes on after "has"."""
    label = one.get("label", "").strip()
    if not label:
        raise ValueError("no label, expected that of its class")
    if one.tag == _SKELETON:
        kept.add(label, place, points=points_of(one))
        return
    if one.tag not in _SHAPES:
        raise ValueError(f"an unknown shape, expected {', '.join(_SHAPES)}")
    box, outline = _SHAPES[one.tag](one)
    kept.add(label, place, box, outline)


_Area = tuple[Box | None, Outline | None]


def _box(one: Element) -> _Area:
    x1, y1, x2, y2 = (_number(one, key) for key in ("xtl", "ytl", "xbr", "ybr"))
    turn = _number(one, "rotation", "0")
    if not turn:
        return (x1, y1, x2, y2), None
    middle = np.array([x1 + x2, y1 + y2]) / 2
    corners = rotated(np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]) - middle, turn) + middle
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return (left, top, right, bottom), None


def _polygon(one: Element) -> _Area:
    said = one.get("points", "")
    points = [at for point in said.split(";") for at in point.split(",")]
    numbers: list[float] = numbers_of(points, "the points", "x,y;x,y;x,y ...").tolist()
    if len(numbers) % 2 or len(numbers) < 6:
        raise ValueError(f"the points {shortened(said)}, expected x,y;x,y;x,y ... of 3 corners or more")
    return None, numbers


def _ellipse(one: Element) -> _Area:
    x, y, across, down = (_number(one, key) for key in ("cx", "cy", "rx", "ry"))
    return None, ellipse(x, y, across, down, _number(one, "rotation", "0"))


def _mask(one: Element) -> _Area:
    """The runs lead along the rows of the mask; CVAT leaves out the last one, where that is outside of the object."""
    x, y, width, height = (_number(one, key) for key in ("left", "top", "width", "height"))
    said = one.get("rle", "").split(",")
    runs = numbers_of(said, "the rle", "runs of pixels", _OF_SIZE)
    if any(side % 1 for side in (x, y, width, height)) or min(width, height) < 1:
        raise ValueError(f"a mask of {width:g} x {height:g} pixels from ({x:g}, {y:g}) on, expected whole pixels")
    if (runs < 0).any() or (runs % 1).any():
        raise ValueError(f"the rle {shortened(said)}, expected whole numbers from 0 on")
    missing = width * height - runs.sum()
    if missing < 0 or (missing > 0 and len(runs) % 2):
        raise ValueError(f"runs of {runs.sum():,.0f} pixels, expected {width * height:,.0f} ({width:g} x {height:g})")
    rows = [*runs.astype(int).tolist(), *([int(missing)] if missing else [])]
    return None, {"rows": rows, "width": int(width), "height": int(height), "x": int(x), "y": int(y)}


_SHAPES: dict[str, Callable[[Element], _Area]] = {
    "box": _box,
    "polygon": _polygon,
    "ellipse": _ellipse,
    "mask": _mask,
}


def _number(one: Element, key: str, otherwise: str | None = None) -> float:
    said = one.get(key, otherwise)
    if said is None:
        raise ValueError(f"no {key}, expected a number")
    return float(numbers_of([said], f"the {key}", "a number")[0])
