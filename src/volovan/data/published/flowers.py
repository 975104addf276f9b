"""Oxford Flowers 102 (Nilsback and Zisserman, 2008) as it is handed out: 1,020 pictures to train, 1,020 to validate,
6,149 to test, of 102 classes.

jpg/image_00001.jpg     of 102flowers.tgz
imagelabels.mat         labels: the class, from 1, of each picture in the order of the numbers
setid.mat               trnid, valid, tstid: numbers of the pictures of each split
cat_to_name.json        {"1": "pink primrose", ...}: not from the authors; names the classes where it lies beside
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from volovan.data.errors import SourceError
from volovan.data.published.mat5 import read_numbers
from volovan.data.samples import FileSource

_LABELS, _SETS, _NAMES = "imagelabels.mat", "setid.mat", "cat_to_name.json"
_SET_OF = {"train": "trnid", "val": "valid", "test": "tstid"}


def flowers_splits(root: Path) -> dict[str, Callable[[], FileSource]] | None:
    """{"train": opener, "val": opener, "test": opener} if root is Oxford Flowers 102, else None."""
    if not ((root / _LABELS).is_file() and (root / _SETS).is_file()):
        return None
    return {split: partial(_open, root, split) for split in _SET_OF}


def _open(root: Path, split: str) -> FileSource:
    labels = _read(root / _LABELS, "labels")
    pictures = _read(root / _SETS, _SET_OF[split])
    if not (root / "jpg").is_dir():
        raise SourceError(f"{root} has no folder jpg; unpack 102flowers.tgz there")
    if labels.min() < 1:
        raise SourceError(
            f"{root / _LABELS}: picture {labels.argmin() + 1} has class {labels.min()}, expected 1 to 102"
        )
    outside = pictures[(pictures < 1) | (pictures > len(labels))]
    if len(outside):
        raise SourceError(
            f"{root / _SETS}: {_SET_OF[split]} has picture {outside[0]}, but {_LABELS} has {len(labels)} labels; are "
            "they of the same data set?"
        )
    files = [f"jpg/image_{number:05d}.jpg" for number in pictures]
    return FileSource(root, files, labels[pictures - 1] - 1, _class_names(root, int(labels.max())))


def _read(path: Path, name: str) -> np.ndarray:
    """(N,) int64: an array of whole numbers from a MAT-file."""
    try:
        values = read_numbers(path.read_bytes(), name)
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {error}; fetch it again") from None
    if not len(values) or (values != np.round(values)).any():
        raise SourceError(f"{path}: {name} should hold whole numbers, found {values[:3].tolist()}; fetch it again")
    return values.astype(np.int64)


def _class_names(root: Path, count: int) -> list[str]:
    """ "1" to "102", or what cat_to_name.json calls them."""
    numbers = [str(number) for number in range(1, count + 1)]
    path = root / _NAMES
    if not path.is_file():
        return numbers
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
        return [str(names[number]) for number in numbers]
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f'{path} cannot be read ({type(error).__name__} {error}); expected {{"1": NAME, ...}} for {count} classes'
        ) from None
