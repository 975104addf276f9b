"""Annotations of objects: which format a folder or a file has. Each has a page in volovan.data.formats."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from volovan.data.errors import SourceError
from volovan.data.folder import pictures_below
from volovan.data.formats.coco import coco_file_splits, coco_files, coco_splits, is_of_points
from volovan.data.formats.cvat import cvat_file_splits, cvat_splits
from volovan.data.formats.labelme import labelme_splits
from volovan.data.formats.voc_xml import voc_xml_splits
from volovan.data.formats.yolo import yolo_file_splits, yolo_splits
from volovan.data.formats.yolo_pose import read_pose
from volovan.data.objects.files import Tellings, Told
from volovan.data.pairing.pairs import Folders, two_folders
from volovan.data.pairing.partners import MASK_SUFFIXES
from volovan.data.samples import join_notes

_Format = Callable[[Path], Tellings | None]
_FORMATS: dict[str, _Format] = {  # besides YOLO, the first that says something is read
    "COCO": coco_splits,
    "CVAT": cvat_splits,
    "Pascal VOC": voc_xml_splits,
    "labelme": labelme_splits,
}
_WITH_POINTS: dict[str, _Format] = {
    "COCO": partial(coco_splits, points=True),
    "CVAT": partial(cvat_splits, points=True),
    "labelme": partial(labelme_splits, points=True),
}


def told_file(path: Path, points: bool = False) -> Tellings | None:
    """What a file tells that the user names itself; None if it is of no format. points: with the objects' points."""
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        return yolo_file_splits(path, _two_folders(path.parent), points)
    if suffix == ".xml":
        return cvat_file_splits(path, points)
    return coco_file_splits(path, points) if suffix == ".json" else None


def told_folder(folder: Path, points: bool = False) -> Tellings | None:
    """What is told of the pictures of a folder; what is told besides is not read, and a note says so."""
    return _told(folder, yolo_splits(folder, _two_folders(folder), points), points)


def says_points(path: Path) -> bool:
    """Whether names of files or data.yaml say that named points are what is annotated in a folder, or in a file."""
    if path.is_dir():
        if yolo_splits(path, _two_folders(path)):
            return yolo_splits(path, _two_folders(path), points=True) is not None
        return any(is_of_points(file) for file, _ in coco_files(path))  # all of them, where one is
    if path.suffix.lower() in (".yaml", ".yml"):
        return read_pose(path) is not None
    return path.suffix.lower() == ".json" and is_of_points(path)


def told_without_masks(folder: Path) -> Tellings | None:
    """The same, but for YOLO only where no masks lie in files of their own."""
    two = _two_folders(folder)
    if found := yolo_splits(folder, two):
        return _told(folder, found)
    masks = [split.masks for split in two.values() if split.masks is not None]
    return None if any(any(pictures_below(path, suffixes=MASK_SUFFIXES)) for path in masks) else _told(folder, None)


def told_besides(folder: Path, points: bool = False) -> list[str]:
    """Formats that tell something of a folder that is read otherwise."""
    found = ["YOLO"] if yolo_splits(folder, _two_folders(folder), points) else []
    for name, of_format in (_WITH_POINTS if points else _FORMATS).items():
        with suppress(SourceError):  # it is not read
            if of_format(folder):
                found.append(name)
    return found


def _told(folder: Path, yolo: Tellings | None, points: bool = False) -> Tellings | None:
    """What the first format tells."""
    first, found = "YOLO", yolo
    for name, of_format in (_WITH_POINTS if points else _FORMATS).items():
        if not found:
            first, found = name, of_format(folder)
    if found and (others := [name for name in told_besides(folder, points) if name != first]):
        unread = f"those of {' and '.join(others)} beside them are not; move the first away to read those"
        note = f"Annotations of {first} are read, {unread}."
        return {split: partial(_noted, opener, note) for split, opener in found.items()}
    return found or None


def _noted(opener: Callable[[], Told], note: str) -> Told:
    told = opener()
    return replace(told, note=join_notes(told.note, note))


def _two_folders(folder: Path) -> dict[str, Folders]:
    with suppress(SourceError):  # find_pairs says it, where nothing is told
        return two_folders(folder)
    return {}
