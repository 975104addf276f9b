"""COCO's annotations: a JSON with images, annotations and categories, beside or above the pictures.

annotations/instances_train.json, instances_val2017.json   pictures in images/, images/train, train2017/ ...
train/_annotations.coco.json                               pictures in the same folder
result.json, labels.json, instances_default.json           one for all

Classes are the categories in the order of their ids. Where the JSONs of the splits number them differently, their names
say which is which.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path

from volovan.data.errors import SourceError, printable
from volovan.data.folder import listed_names
from volovan.data.formats.coco_json import CocoTeller, Described, read_described
from volovan.data.formats.coco_places import (
    find_jsons,
    is_coco,
    is_panoptic,
    one_of_each,
    picture_folders,
    root_of,
    split_of,
)
from volovan.data.formats.coco_points import with_points
from volovan.data.objects.files import Tellings, Told
from volovan.data.pairing.inside import find_inside, not_there
from volovan.data.pairing.partners import relative
from volovan.data.samples import join_notes

_HOMES = ("annotations",)
_OTHERS = ("captions", "stuff", "image_info")  # what COCO puts beside the outlines, besides panoptic segments
_MIDDLE = 0.5
"""of a pixel, from where it begins"""
_WHOLE = "All keypoints are whole numbers, so they name pixels: the middle of each is meant."
_KEYPOINTS = "keypoints"


def coco_splits(root: Path, points: bool = False) -> Tellings | None:
    """{split: opener} of pictures with a JSON of COCO, None if root has none."""
    files = one_of_each(coco_files(root, points))
    return {split: partial(_open, root, split, files, points) for split in files} or None


def coco_file_splits(path: Path, points: bool = False) -> Tellings | None:
    """The split of a JSON of COCO that is named itself, None if it is none. Beside a folder annotations lie pictures,
    too."""
    if not is_coco(path):
        return None
    split = split_of(path)
    return {split: partial(_open, root_of(path, _HOMES), split, {split: path}, points)}


def coco_files(root: Path, points: bool = False) -> Sequence[tuple[Path, str]]:
    """Each JSON of COCO, and its split. For points those that are called so, else the others; for boxes vice versa."""
    found = [(path, split, is_of_points(path)) for path, split in find_jsons(root, _HOMES, _lists_objects)]
    named = [(path, split) for path, split, of_points in found if of_points]
    return (points and named) or [(path, split) for path, split, of_points in found if not of_points] or named


def _lists_objects(path: Path) -> bool:
    return not any(word in path.stem for word in _OTHERS) and is_coco(path) and not is_panoptic(path)


def is_of_points(path: Path) -> bool:
    """Whether a JSON is called so."""
    return _KEYPOINTS in path.stem.lower()


def _open(root: Path, split: str, files: Mapping[str, Path], points: bool) -> Told:
    path = files[split]
    every = {other: read_described(other, other.stat().st_mtime_ns, points) for other in files.values()}
    classes, numbers = _classes(every)
    pointed = with_points(every, classes, numbers) if points else None
    if pointed:
        classes, numbers = pointed.classes, pointed.numbers
    found = every[path]
    folders = picture_folders(root, path, split)
    pictures: dict[str, str] = {}  # path -> what is told of it
    missing: list[str] = []
    again = 0
    for name, told in zip(found.names, found.told, strict=True):
        there = find_inside(folders, name)
        if there is None:
            missing.append(name)
            continue
        file = relative(root, there)
        again += file in pictures
        pictures[file] = told if file not in pictures else _joined(f"{path}: {printable(name)}", pictures[file], told)
    joined = f"{path.name} lists {again:,} pictures more than once; their objects are put together." if again else ""
    whole = all(one.whole for one in every.values())  # of all splits, or they would be half a pixel apart
    note = join_notes(*found.notes, joined, *([pointed.note, _WHOLE * whole] if pointed else []))
    order, shift = (pointed.order[path], _MIDDLE * whole) if pointed else ({}, 0.0)
    teller = CocoTeller(path, pictures, _no_masks(path, every), order, shift)
    unpaired = not_there(missing, path.name, [] if pictures else folders)
    skeleton = pointed.skeleton if pointed else None
    return Told(root, tuple(pictures), teller, classes, numbers[path], path.name, note, unpaired, skeleton)


def _joined(where: str, one: str, other: str) -> str:
    """What two entries tell of one picture."""
    (*size, first), (*other_size, second) = json.loads(one), json.loads(other)
    if size != other_size:
        raise SourceError(f"{where} is listed with the sizes {size} and {other_size}; list each picture once")
    return json.dumps([*size, first + second])


def _no_masks(first: Path, every: Mapping[Path, Described]) -> str:
    if not any(found.used for found in every.values()):
        return f"{first} has no annotations, so nothing could be learned; export it with its outlines"
    bare = next((f"{path}: {found.bare}" for path, found in every.items() if found.bare), "")
    return bare and f"{bare} has no outline (segmentation) but perhaps a box; export polygons or RLE"


def _classes(described: Mapping[Path, Described]) -> tuple[tuple[str, ...], dict[Path, dict[Hashable, int]]]:
    """(classes, number of each category id by file): those of the file that names most of them."""
    used = {name for found in described.values() for name in found.used}
    first = max(described, key=lambda path: len({*described[path].categories.values()}))
    above = described[first].above - used
    names = described[first].categories
    classes = tuple(dict.fromkeys(name for name in names.values() if name not in above or len(names) == 1))
    number_of = {name: number for number, name in enumerate(classes)}
    numbers: dict[Path, dict[Hashable, int]] = {}
    for path, found in described.items():
        others = [name for name in found.categories.values() if name not in number_of and name not in above]
        if others:
            raise SourceError(
                f"{path} has categories that {first} lacks: {listed_names(others)}; export them with the same ones"
            )
        numbers[path] = {id: number_of[name] for id, name in found.categories.items() if name in number_of}
    return classes, numbers
