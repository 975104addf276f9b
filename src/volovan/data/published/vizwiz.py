"""VizWiz-Classification (Bafghi and Gurari, CVPR 2023): pictures taken by blind people, 200 classes of ImageNet.

images/           the pictures
annotations.json  {"categories": [{"id": 291, "wordnet_id": "n02129165"}, ...],
                   "images": ["VizWiz_val_00005256.jpg", ...]}

So it is handed out, as a test set of 8,900 pictures without labels: those stay on the authors' server. "id" counts
ImageNet's 1000 classes from 0. Who has labels, or makes some, puts them into train.json, val.json and test.json in the
form that the authors' evaluation script reads; these are the splits then:

    {"VizWiz_val_00005256.jpg": {"labels": [291, 287]}, ...}

A class is called by its wordnet_id, so that networks and folders of ImageNet fit. A picture with several labels is
trained on as its first one.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from volovan.data.errors import SourceError
from volovan.data.samples import FileSource
from volovan.data.source import SPLITS
from volovan.data.text import read_json

_TABLE = "annotations.json"


def vizwiz_splits(root: Path) -> dict[str, Callable[[], FileSource]] | None:
    """{split: opener}, {"test": opener} as handed out, if root is VizWiz-Classification, else None."""
    if not ((root / "images").is_dir() and (root / _TABLE).is_file()):
        return None
    labelled = [split for split in SPLITS if (root / f"{split}.json").is_file()]
    if not labelled:
        return {"test": partial(_unlabelled, root)}
    return {split: partial(_labelled, root, root / f"{split}.json") for split in labelled}


def _unlabelled(root: Path) -> FileSource:
    path = root / _TABLE
    images = _read(path).get("images")
    if not isinstance(images, list) or not images or not all(isinstance(name, str) for name in images):
        raise SourceError(f'{path}: "images" should be a list of file names; fetch it again')
    return FileSource(root / "images", images, note="VizWiz keeps its labels: the pictures have none.")


def _labelled(root: Path, path: Path) -> FileSource:
    classes = _classes(root / _TABLE)
    names = tuple(sorted(classes.values()))
    numbers = {name: place for place, name in enumerate(names)}
    table, chosen, several = _read(path), [], 0
    for picture, entry in table.items():
        labels = entry.get("labels") if isinstance(entry, dict) else None
        if not isinstance(labels, list) or not labels:
            raise SourceError(f'{path}: {picture} has {str(entry)[:60]}, expected {{"labels": [ID, ...]}}')
        if unknown := [label for label in labels if label not in classes]:
            raise SourceError(
                f"{path}: {picture} has label {unknown[0]}, which none of the {len(classes)} categories of {_TABLE} has"
            )
        chosen.append(numbers[classes[labels[0]]])
        several += len(labels) > 1
    if not chosen:
        raise SourceError(f'{path} lists no pictures; expected {{"NAME.jpg": {{"labels": [ID, ...]}}, ...}}')
    note = f"{several:,} pictures have several labels; the first one counts." if several else ""
    return FileSource(root / "images", table, chosen, names, note)


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise SourceError(f"{path} holds a {type(content).__name__}, expected an object as VizWiz-Classification has")
    return content


def _classes(path: Path) -> dict[int, str]:
    """{ImageNet's class number: wordnet_id}."""
    categories = _read(path).get("categories")
    if not isinstance(categories, list) or not categories:
        raise SourceError(f'{path} has no list "categories"; fetch it again')
    found: dict[int, str] = {}
    for place, category in enumerate(categories):
        try:
            number, name = int(category["id"]), str(category["wordnet_id"])
        except (KeyError, TypeError, ValueError):
            raise SourceError(f'{path}: categories[{place}] is {category}, expected "id" and "wordnet_id"') from None
        if number in found or name in found.values():
            raise SourceError(f"{path}: categories[{place}] names {number}, {name} a second time")
        found[number] = name
    return found
