"""Outlines as COCO writes them: a JSON with images, annotations and categories, beside or above the pictures.

annotations/instances_train.json, instances_val2017.json   pictures in images/, images/train, train2017/ ...
train/_annotations.coco.json                               pictures in the same folder
result.json, labels.json, instances_default.json           one for all

An annotation is drawn from its `segmentation`: polygons, or runs of pixels (RLE) down the columns, as numbers or text.
Classes are the categories in the order of their ids, behind "background".
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from volovan.data.errors import BadImage, SourceError, printable, shortened
from volovan.data.folder import SPLIT_FOLDERS, split_folders, subfolders
from volovan.data.formats.outlines import OutlineFiles, fill, with_background
from volovan.data.pairing.partners import relative
from volovan.data.source import Splits
from volovan.files.hidden import is_hidden

_HEAD = 4096
_SIGNS = ('"images"', '"annotations"', '"categories"', '"info"', '"licenses"')
_OTHERS = ("captions", "keypoints", "panoptic", "stuff", "image_info")  # what COCO puts beside the outlines
_SPLIT = re.compile("|".join(sorted(SPLIT_FOLDERS, key=len, reverse=True)), re.IGNORECASE)
_YEARS = ("", "2017", "2014")


def coco_splits(root: Path) -> Splits | None:
    """{split: opener} of pictures with a JSON of COCO, None if root has none."""
    files: dict[str, Path] = {}
    for path, split in coco_files(root):
        if split in files:
            raise SourceError(f"{files[split]} and {path} both describe {split or 'the'} pictures; remove one of them")
        files[split] = path
    return {split: partial(_open, root, split, files) for split in files} or None


def coco_files(root: Path) -> Iterable[tuple[Path, str]]:
    """Each JSON of COCO, and its split."""
    beside = [root, *(path for path in subfolders(root) if path.name.lower() == "annotations")]
    places = [*((folder, "") for folder in beside), *((folder, split) for split, folder in split_folders(root).items())]
    for folder, split in places:
        for path in filter(_is_coco, sorted(folder.glob("*.json"))):
            said = {SPLIT_FOLDERS[word.lower()] for word in _SPLIT.findall(path.stem)}
            yield path, split or (said.pop() if len(said) == 1 else "")


def _is_coco(path: Path) -> bool:
    """By its beginning: a JSON may be large."""
    if is_hidden(path.name) or not path.is_file() or any(word in path.stem for word in _OTHERS):
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD).decode("utf-8", "replace")
    return head.lstrip("\ufeff \r\n\t").startswith("{") and any(sign in head for sign in _SIGNS)


def _open(root: Path, split: str, files: Mapping[str, Path]) -> "CocoFiles":
    path = files[split]
    every = {name: _read(other, other.stat().st_mtime_ns) for name, other in files.items()}
    classes, numbers = _classes({files[name]: found for name, found in every.items()})
    found = every[split]
    folders = _folders(root, path, split)
    pictures: list[str] = []
    drawings: list[str] = []
    missing: list[str] = []
    for image in found.images.values():
        name = str(image["file_name"]).replace("\\", "/")
        there = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if there is None:
            missing.append(f"{printable(name)}, which {path.name} lists, is not there")
            continue
        folders.sort(key=lambda folder: not there.is_relative_to(folder))  # the next one is looked for there first
        pictures.append(relative(root, there))
        size = json.dumps([image.get("width"), image.get("height")])
        drawings.append(f"{size[:-1]},[{found.of.get(image['id'], '')}]]")
    note = f"Outlines of {path.name}: what none of them holds is background."
    return CocoFiles(root, pictures, drawings, classes, numbers, note, missing)


def _folders(root: Path, path: Path, split: str) -> list[Path]:
    """Where pictures may lie."""
    names = [name + year for name, found in SPLIT_FOLDERS.items() if found == split for year in _YEARS]
    above = [root / "images", root / "data", root, path.parent]
    below = [folder / name for folder in above for name in (*names, "default")]  # CVAT calls it so
    return [folder for folder in (*below, *above) if folder.is_dir()]


# what a JSON says


@dataclass
class _Described:
    """images: by their ids. of: the outlines of each as JSON ([category id, segmentation], ...), since as objects they
    would take five times the memory. categories: names by their ids. used: ids that outlines have."""

    images: dict[Any, dict[str, Any]]
    of: dict[Any, str]
    categories: dict[Any, str]
    used: set[Any]


@lru_cache(maxsize=3)  # train, val and test of a run are opened one after the other
def _read(path: Path, stamp: int) -> _Described:
    """stamp changes when the file does. SourceError: it is not COCO's, or holds an annotation without outline."""
    try:
        said = json.loads(path.read_bytes())
        images = {image["id"]: image for image in said["images"]}
        categories = {category["id"]: str(category["name"]) for category in said["categories"]}
        above = {str(category.get("supercategory")) for category in said["categories"]}
        of: dict[Any, list[dict[str, Any]]] = {}
        for annotation in said["annotations"]:
            of.setdefault(annotation["image_id"], []).append(annotation)
        used = {annotation["category_id"] for annotation in said["annotations"]}
        if any("file_name" not in image for image in images.values()):
            raise KeyError("file_name")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise SourceError(
            f"{path} cannot be read as COCO's ({type(error).__name__}: {' '.join(str(error).split())[:100]}); expected "
            "images (id, file_name), annotations (image_id, category_id, segmentation) and categories (id, name)"
        ) from None
    for annotation in (one for some in of.values() for one in some):
        of_picture = images.get(annotation["image_id"], {}).get("file_name")
        where = f"{path}: annotation {annotation.get('id')} of {printable(str(of_picture))}"
        if of_picture is None or annotation["category_id"] not in categories:
            raise SourceError(f"{where} has an image_id or a category_id that the file does not list; export it again")
        if not annotation.get("segmentation"):
            raise SourceError(f"{where} has no outline (segmentation) but perhaps a box; export polygons or RLE")
    roots = {id for id, name in categories.items() if name in above and id not in used and len(categories) > 1}
    classes = {id: name for id, name in categories.items() if id not in roots}
    return _Described(images, {id: ",".join(map(_outline, some)) for id, some in of.items()}, classes, used)


def _outline(annotation: Mapping[str, Any]) -> str:
    return json.dumps([annotation["category_id"], annotation["segmentation"]], separators=(",", ":"))


def _classes(described: Mapping[Path, _Described]) -> tuple[tuple[str, ...], dict[Any, int]]:
    """(classes, number of each category id), the same for all files."""
    (first, found), *others = described.items()
    for path, other in others:
        if other.categories != found.categories:
            raise SourceError(f"{first} and {path} have different categories; export them with the same ones")
    if not any(one.used for one in described.values()):
        raise SourceError(f"{first} has no annotations, so nothing could be learned; export it with its outlines")
    ids = sorted(found.categories)
    classes, begin = with_background([found.categories[id] for id in ids])
    return classes, {id: place + begin for place, id in enumerate(ids)}


class CocoFiles(OutlineFiles):
    """drawings: JSON, [width, height, [[category id, segmentation], ...]]."""

    def size_said(self, index: int) -> tuple[int, int] | None:
        width, height, _ = json.loads(self.drawings[index])
        return None if width is None or height is None else (width, height)

    def draw(self, index: int, mask: np.ndarray) -> None:
        height, width = mask.shape
        said_width, said_height, outlines = json.loads(self.drawings[index])
        if said_width is not None and (said_width, said_height) != (width, height):
            raise BadImage(
                self.name(index),
                f"{width} x {height}, but its outlines are of {said_width} x {said_height}; export them for this size",
            )
        for category, segmentation in outlines:
            number = self.numbers[category]
            if isinstance(segmentation, dict):
                mask[_runs(segmentation, mask.shape, self.name(index))] = number
                continue
            for outline in segmentation if isinstance(segmentation[0], list) else [segmentation]:
                corners = _numbers(outline, np.float64, self.name(index))
                if len(corners) % 2 or len(corners) < 6:
                    raise BadImage(
                        self.name(index), f"an outline of {len(corners)} numbers, expected x, y of 3 or more"
                    )
                fill(mask, corners.reshape(-1, 2), number)


def _numbers(said: Any, kind: type, name: str) -> np.ndarray:
    """(N,) of a list; BadImage if it holds anything but finite numbers."""
    try:
        found: np.ndarray = np.array(said, kind)
    except (ValueError, TypeError, OverflowError):
        found = np.array(np.nan)
    if found.ndim != 1 or not np.isfinite(found).all():
        raise BadImage(name, f"an outline {shortened(said)}, expected a list of numbers; export it again")
    return found


def _runs(said: Mapping[str, Any], shape: tuple[int, ...], name: str) -> np.ndarray:
    """(H, W) bool of runs outside, inside, outside ... down the columns."""
    counts, size = said.get("counts"), said.get("size", shape)
    runs = _numbers(_unpacked(counts) if isinstance(counts, str) else counts, np.int64, name)
    of_picture = isinstance(size, list | tuple) and tuple(size) == shape
    if not of_picture or runs.sum() != shape[0] * shape[1] or (runs < 0).any():
        raise BadImage(name, f"runs of {runs.sum():,} pixels of the size {size}, expected {list(shape)}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape[::-1]).T


def _unpacked(text: str) -> list[int]:
    """The numbers in COCO's text.

    Five bits a character from "0" on, low ones first; the sixth says that more follow. From the fourth on each number
    is told as the difference to the one before the last.
    """
    runs: list[int] = []
    value = bits = 0
    for character in text:
        code = ord(character) - 48
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:  # the highest bit is the sign
            value -= 1 << bits
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = bits = 0
    return runs
