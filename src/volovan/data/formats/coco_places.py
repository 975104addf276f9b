"""JSONs of COCO: where they and their pictures lie, of which split each is, whether it lists objects or segments."""

import json
import mmap
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from volovan.data.errors import SourceError
from volovan.data.folder import SPLIT_FOLDERS, split_folders, subfolders
from volovan.data.pairing.name_words import says_pictures
from volovan.files.hidden import is_hidden
from volovan.files.results import results_in

_HEAD = 4096
_SIGNS = ('"images"', '"annotations"', '"categories"', '"info"', '"licenses"')
_PANOPTIC = "panoptic"
_OF_SEGMENTS, _OF_OBJECTS = b'"segments_info"', b'"category_id"'
_SPLIT = re.compile("|".join(sorted(SPLIT_FOLDERS, key=len, reverse=True)), re.IGNORECASE)
_YEARS = ("", "2017", "2014")


# what a file is


def is_coco(path: Path) -> bool:
    """By its beginning: a JSON may be large."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD)
    text = head.decode(json.detect_encoding(head), "replace").lstrip("\ufeff \r\n\t")
    return text.startswith("{") and any(sign in text for sign in _SIGNS)


def is_panoptic(path: Path) -> bool:
    """Whether a path is that of a JSON of COCO that lists segments: it is called so, or its annotations say so.

    An object names its category at once, a segment does so inside of segments_info. So a JSON of objects, which may be
    large, is read as far as its first annotation alone.
    """
    if not is_coco(path):
        return False
    if _PANOPTIC in path.stem.lower():
        return True
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        of_object = content.find(_OF_OBJECTS)
        return content.find(_OF_SEGMENTS, 0, of_object if of_object >= 0 else len(content)) >= 0


def split_of(path: Path) -> str:
    """The split that the name of a JSON says, "" for none."""
    said = {SPLIT_FOLDERS[word.lower()] for word in _SPLIT.findall(path.stem)}
    return said.pop() if len(said) == 1 else ""


# where files are


def find_jsons(root: Path, homes: Collection[str], wanted: Callable[[Path], bool]) -> Iterator[tuple[Path, str]]:
    """Each JSON that is wanted, and its split: in root, its folders that are called as homes, and those of splits."""
    beside = [root, *(path for path in subfolders(root) if path.name.lower() in homes)]
    places = [*((folder, "") for folder in beside), *((folder, split) for split, folder in split_folders(root).items())]
    for folder, split in places:
        results = results_in(folder) or ()
        for path in sorted(folder.glob("*.json")):
            if not is_hidden(path.name) and path.name not in results and wanted(path):
                yield path, split or split_of(path)


def one_of_each(files: Iterable[tuple[Path, str]]) -> dict[str, Path]:
    """{split: its JSON}. SourceError: a split has two."""
    found: dict[str, Path] = {}
    for path, split in files:
        if split in found:
            raise SourceError(f"{found[split]} and {path} both describe {split or 'the'} pictures; remove one of them")
        found[split] = path
    return found


def root_of(path: Path, homes: Collection[str]) -> Path:
    """The folder of a data set of which a JSON is named itself: the one above, where it lies in one of homes."""
    return path.parent.parent if path.resolve().parent.name.lower() in homes else path.parent


def picture_folders(root: Path, path: Path, split: str) -> list[Path]:
    """Where pictures of a JSON may lie."""
    names = [name + year for name, found in SPLIT_FOLDERS.items() if found == split for year in _YEARS]
    others = [folder for folder in subfolders(root) if says_pictures(folder.name)]
    above = [root / "images", root / "data", root, path.parent, *others]
    below = [folder / name for folder in above for name in (*names, "default")]  # CVAT calls it so
    return [folder for folder in (*below, *above) if folder.is_dir()]
