"""VizWiz-Classification (Bafghi and Gurari, CVPR 2023): pictures taken by blind people, 200 classes of ImageNet.

images/           the pictures
annotations.json  {"categories": [{"id": 291, "wordnet_id": "n02129165"}, ...],
                   "images": ["VizWiz_val_00005256.jpg", ...]}

So it is handed out, as a test set of 8,900 pictures: "id" counts ImageNet's 1000 classes from 0, and which of them a
picture shows is known to the authors' server only. Labels of one's own go beside it, in the way such files are written:

    "annotations": [{"image": "VizWiz_val_00005256.jpg", "labels": [291, 287]}, ...]

and train.json, val.json and test.json of this form are splits. A class is called by its wordnet_id, so that networks
and folders of ImageNet fit. A picture with several labels is trained on as its first one.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from volovan.data.errors import SourceError
from volovan.data.samples import UNLABELLED, FileSource

_WHOLE, _SPLITS = "annotations.json", ("train", "val", "test")


def vizwiz_splits(root: Path) -> dict[str, Callable[[], FileSource]] | None:
    """{split: opener}, {"test": opener} as handed out, if root is VizWiz-Classification, else None."""
    if not (root / "images").is_dir():
        return None
    files = {split: f"{split}.json" for split in _SPLITS if (root / f"{split}.json").is_file()}
    if not files and (root / _WHOLE).is_file():
        files = {"test": _WHOLE}
    return {split: partial(_open, root, file) for split, file in files.items()} or None


def _open(root: Path, file: str) -> FileSource:
    path = root / file
    content = _read(path)
    classes = _classes(path, content["categories"])
    images = content["images"]
    if not images or not all(isinstance(name, str) for name in images):
        raise SourceError(f'{path}: "images" should be a list of file names; fetch it again')
    first, several = _first_labels(path, content.get("annotations", []), classes, set(images))
    numbers = {wanted: place for place, wanted in enumerate(sorted(classes.values()))}
    labels = np.array([numbers[first[name]] if name in first else UNLABELLED for name in images])
    note = f"{several:,} pictures have several labels; the first one counts." if several else ""
    return FileSource(root / "images", images, labels, tuple(sorted(numbers)) if first else (), note)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        where = f" line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise SourceError(f"{path}{where} cannot be read ({error}); fetch it again") from None
    for key in ("categories", "images"):
        if not (isinstance(content, dict) and isinstance(content.get(key), list)):
            raise SourceError(f'{path} has no list "{key}"; expected VizWiz-Classification\'s annotations.json')
    if not isinstance(content.get("annotations", []), list):
        raise SourceError(f'{path}: "annotations" should be a list of {{"image": NAME, "labels": [ID, ...]}}')
    return dict(content)


def _classes(path: Path, categories: list[Any]) -> dict[int, str]:
    """{ImageNet's class number: wordnet_id}."""
    found: dict[int, str] = {}
    for place, category in enumerate(categories):
        try:
            number, name = category["id"], category["wordnet_id"]
        except (KeyError, TypeError):
            raise SourceError(f'{path}: categories[{place}] is {category}, expected "id" and "wordnet_id"') from None
        if number in found or name in found.values():
            raise SourceError(f"{path}: categories[{place}] names {number}, {name} a second time")
        found[number] = name
    return found


def _first_labels(
    path: Path, annotations: list[Any], classes: Mapping[int, str], images: set[str]
) -> tuple[dict[str, str], int]:
    """{picture: wordnet_id of its first label}, and how many pictures have several."""
    first: dict[str, str] = {}
    several = 0
    for place, annotation in enumerate(annotations):
        where = f"{path}: annotations[{place}]"
        try:
            image, labels = annotation["image"], list(annotation["labels"])
        except (KeyError, TypeError):
            raise SourceError(f'{where} is {annotation}, expected "image" and "labels"') from None
        if image not in images:
            raise SourceError(f'{where} is of {image}, which "images" does not list')
        if image in first:
            raise SourceError(f"{where} labels {image} a second time; give all its labels in one list")
        unknown = [label for label in labels if label not in classes]
        if unknown or not labels:
            what = f"label {unknown[0]}, which no category has" if unknown else "no label"
            raise SourceError(f"{where}: {image} has {what}; expected ids of the {len(classes)} categories")
        first[image] = classes[labels[0]]
        several += len(labels) > 1
    return first, several
