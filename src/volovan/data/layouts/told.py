"""Annotations of objects: which format a folder or a file has. Each has a page in volovan.data.formats."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from volovan.data.errors import SourceError, printable
from volovan.data.folder import pictures_below
from volovan.data.formats.coco import coco_file_splits, coco_files, coco_splits
from volovan.data.formats.yolo import yolo_file_splits, yolo_splits
from volovan.data.objects.files import Tellings, Told
from volovan.data.pairing.pairs import Folders, two_folders
from volovan.data.pairing.partners import MASK_SUFFIXES
from volovan.data.samples import join_notes

_FORMATS: tuple[Callable[[Path], Tellings | None], ...] = (coco_splits,)  # besides YOLO, the first that says something


def told_file(path: Path) -> Tellings | None:
    """What a file tells that the user names itself; None if it is of no format."""
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        return yolo_file_splits(path)
    return coco_file_splits(path) if suffix == ".json" else None


def told_folder(folder: Path) -> Tellings | None:
    """What is told of the pictures of a folder; what is told besides is not read, and a note says so."""
    texts = yolo_splits(folder, _two_folders(folder))
    if not texts:
        return _told(folder)
    unread = ", ".join(printable(path.name) for path, _ in coco_files(folder))
    note = f"Labels lie in texts of their own, so {unread} is not read; name it to read it." if unread else ""
    return {split: partial(_noted, opener, note) for split, opener in texts.items()}


def told_without_masks(folder: Path) -> Tellings | None:
    """The same, but for YOLO only where no masks lie in files of their own."""
    two = _two_folders(folder)
    if found := yolo_splits(folder, two):
        return found
    masks = [split.masks for split in two.values() if split.masks is not None]
    return None if any(any(pictures_below(path, suffixes=MASK_SUFFIXES)) for path in masks) else _told(folder)


def _noted(opener: Callable[[], Told], note: str) -> Told:
    told = opener()
    return replace(told, note=join_notes(told.note, note))


def _told(folder: Path) -> Tellings | None:
    return next((found for of_format in _FORMATS if (found := of_format(folder))), None)


def _two_folders(folder: Path) -> dict[str, Folders]:
    with suppress(SourceError):  # find_pairs says it, where nothing is told
        return two_folders(folder)
    return {}
