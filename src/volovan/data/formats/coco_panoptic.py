"""COCO's panoptic annotations: a JSON that lists segments, and a folder of PNGs in which their ids are painted.

annotations/panoptic_train2017.json   annotations/panoptic_train2017/*.png   pictures as beside COCO's other JSONs
ade20k_panoptic_train.json            ade20k_panoptic_train/*.png            images/training
gtFine/cityscapes_panoptic_train.json gtFine/cityscapes_panoptic_train/      leftImg8bit/train/CITY

A JSON is one of these where it is called panoptic or its annotations have segments_info. Classes are the categories in
the order of their ids; where the JSONs of the splits number them differently, their names say which is which.
"""

import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from volovan.data.errors import SourceError, printable, shortened
from volovan.data.folder import listed_names, subfolders
from volovan.data.formats.coco_entries import Entry, called, id_of, read_categories, read_entries, read_images
from volovan.data.formats.coco_places import (
    find_jsons,
    is_panoptic,
    one_of_each,
    picture_folders,
    root_of,
    split_of,
)
from volovan.data.pairing.inside import find_inside, not_there
from volovan.data.pairing.partners import Pairs, relative
from volovan.data.panoptic.files import PanopticFiles
from volovan.data.pictures.palettes import Colour, spread
from volovan.data.samples import join_notes
from volovan.data.source import Splits
from volovan.data.text import is_text

_HOMES = ("annotations", "gtfine")
_KEYS = {
    "images": ("id", "file_name"),
    "categories": ("id", "name", "isthing"),
    "annotations": ("image_id", "file_name", "segments_info"),
}
_SEGMENT = ("id", "category_id")
_IS_THING = {0: False, 1: True}  # False is 0, and True is 1


@dataclass
class _File:
    """A JSON, read. pictures: of each that has segments (name, width, height, PNG, table as `PanopticFiles` takes it);
    categories: (name, whether things, colour) by their ids; without: pictures that have none."""

    pictures: list[tuple[str, str, str]] = field(default_factory=list)
    categories: dict[Hashable, tuple[str, bool, Colour | None]] = field(default_factory=dict)
    without: int = 0
    notes: list[str] = field(default_factory=list)


def panoptic_folder_splits(root: Path) -> Splits | None:
    """{split: opener} of a folder with such JSONs, None if there are none."""
    files = one_of_each(panoptic_files(root))
    return {split: partial(_open, root, split, files) for split in files} or None


def panoptic_file_splits(path: Path) -> Splits | None:
    """The split of a JSON that is named itself, None if it is none of these."""
    if not is_panoptic(path):
        return None
    split = split_of(path)
    return {split: partial(_open, root_of(path, _HOMES), split, {split: path})}


def panoptic_files(root: Path) -> Iterator[tuple[Path, str]]:
    """Each such JSON of a folder, and its split."""
    return find_jsons(root, _HOMES, is_panoptic)


def _open(root: Path, split: str, files: Mapping[str, Path]) -> PanopticFiles:
    path = files[split]
    every = {other: _read(other, other.stat().st_mtime_ns) for other in files.values()}
    categories, numbers = _classes(every)
    found, folders, homes = every[path], picture_folders(root, path, split), _homes(root, path)
    folders += [city for folder in folders if folder.parent.name == "leftImg8bit" for city in subfolders(folder)]
    pictures: list[str] = []
    masks: list[str] = []
    tables: list[str] = []
    missing: list[str] = []
    bare: list[str] = []
    for name, png, table in found.pictures:
        picture, mask = find_inside(folders, name), find_inside(homes, png)
        if picture is None or mask is None:
            missing += [name] * (picture is None)
            bare += [png] * (mask is None)
            continue
        pictures.append(relative(root, picture))
        masks.append(relative(root, mask))
        tables.append(table)
    without = f"{found.without:,} pictures of {path.name} have no segments and are left out." if found.without else ""
    unpaired = [
        *not_there(missing, path.name, [] if pictures else folders),
        *not_there(bare, path.name, [] if pictures else [*homes, path.parent / path.stem]),
    ]
    own = [colour for _, colour in categories.values() if colour is not None]
    palette = own if len(own) == len(categories) else spread(len(categories))
    of_things = [is_thing for is_thing, _ in categories.values()]
    pairs = Pairs(tuple(pictures), tuple(masks), tuple(unpaired))
    note = join_notes(*found.notes, without)
    return PanopticFiles(root, pairs, tables, path.name, numbers[path], [*categories], palette, of_things, note)


def _homes(root: Path, path: Path) -> list[Path]:
    """Where PNGs may lie: a folder that is called as the JSON, else beside it; above all of them lie theirs."""
    named = [folder / path.stem for folder in (path.parent, root)]
    return [folder for folder in (*named, path.parent) if folder.is_dir()]


@lru_cache(maxsize=3)  # the splits of a run are opened one after the other
def _read(path: Path, stamp: int) -> _File:
    """stamp changes when the file does. SourceError: it is not COCO's, or contradicts itself."""
    images, categories, annotations = read_entries(path, _KEYS, " with id, category_id of each segment")
    found = _File()
    pictures, sizes = read_images(path, images, found.notes)
    for id, (name, category) in read_categories(path, categories, found.notes).items():
        said, where = category["isthing"], f"{path}: {called('category', id)} ({printable(name)})"
        if not isinstance(said, int) or said not in _IS_THING:
            raise SourceError(f"{where} has isthing {shortened(said)}, expected 1 of things, 0 of what is not counted")
        is_thing = _IS_THING[said]
        if any(is_thing != other for known, other, _ in found.categories.values() if known == name):
            raise SourceError(f"{where} is of things and also not; give both categories names of their own")
        found.categories[id] = name, is_thing, _colour(category.get("color"))
    told: dict[Hashable, tuple[str, str, str]] = {}
    for number, annotation in enumerate(annotations, 1):
        image_id, png = id_of(annotation["image_id"]), annotation["file_name"]
        where = f"{path}: annotation {number:,} of the list"
        if image_id not in pictures:
            said = shortened(annotation["image_id"])
            raise SourceError(f"{where} has the image_id {said}, which the file does not list; export it again")
        where += f" ({printable(pictures[image_id])})"
        if not is_text(png):
            raise SourceError(f"{where} has the file_name {shortened(png)}, expected that of a PNG")
        if image_id in told:
            raise SourceError(f"{where} is the second one of its picture; list each picture once")
        told[image_id] = pictures[image_id], png, json.dumps([sizes[image_id], _table(where, annotation)])
    found.pictures = [*told.values()]
    found.without = len(pictures) - len(told)
    return found


def _table(where: str, annotation: Entry) -> list[list[Any]]:
    """[[id, category, iscrowd, area], ...]."""
    said = annotation["segments_info"]
    for segment in said if isinstance(said, list) else [said]:
        if not isinstance(segment, dict) or not all(key in segment for key in _SEGMENT):
            raise SourceError(
                f"{where} has {shortened(segment)} in segments_info, expected segments with id and category_id"
            )
    return [[one["id"], id_of(one["category_id"]), one.get("iscrowd"), one.get("area")] for one in said]


def _colour(said: Any) -> Colour | None:
    """None where nothing or no colour is said: it only shows what is what."""
    if not isinstance(said, list) or len(said) != 3 or not all(type(one) is int and 0 <= one <= 255 for one in said):
        return None
    return (said[0], said[1], said[2])


def _classes(
    every: Mapping[Path, _File],
) -> tuple[dict[str, tuple[bool, Colour | None]], dict[Path, dict[Hashable, int]]]:
    """({class: (whether of things, colour)}, number of each category id by file): those of the file that names most."""
    first = max(every, key=lambda path: len({name for name, _, _ in every[path].categories.values()}))
    classes = {name: (is_thing, colour) for name, is_thing, colour in every[first].categories.values()}
    place = {name: number for number, name in enumerate(classes)}
    for path, found in every.items():
        if others := [name for name, _, _ in found.categories.values() if name not in classes]:
            raise SourceError(
                f"{path} has categories that {first} lacks: {listed_names(others)}; export them with the same ones"
            )
        for name, is_thing, _ in found.categories.values():
            if is_thing != (other := classes[name][0]):
                raise SourceError(
                    f"{path} has isthing {int(is_thing)} of {printable(name)}, but {first} has {int(other)}; export "
                    "both with the same one"
                )
    numbers = {
        path: {id: place[name] for id, (name, _, _) in found.categories.items()} for path, found in every.items()
    }
    return classes, numbers
