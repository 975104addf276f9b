"""VizWiz-Classification: 8,900 pictures taken by people who are blind, 200 ImageNet classes.

R. A. Bafghi, D. Gurari, CVPR 2023: "A New Dataset Based on Images Taken by Blind People for Testing the Robustness of
Image Classification Models Trained for ImageNet Categories".

Two tables are known, told apart by their content and not by their names (*.json in the folder or in annotations/):

public    {"categories": [{"id": 291, "wordnet_id": "n02129165"}, ...], "images": ["VizWiz_val_00005256.jpg", ...]}
          the 200 classes and the pictures; the labels stay on the authors' server, which takes {picture: class number}
labelled  {"VizWiz_val_00005256.jpg": {"labels": [291], "flaws": {"BLR": true, "NON": false, ...} or null}, ...}
          labels and flaws, the layout of the authors' own evaluation script; the classes stand in the public table, or
          in IN_to_VizWiz.json {"291": 0, ...}

Rule: only the 200 outputs compete; a prediction is right if it is among the labels of the picture. Clean is the flag
NON. Corrupted is the mean over six flaws (scoring.corrupted_accuracy).
"""

from pathlib import Path
from typing import Any

import numpy as np

from volovan.data.errors import SourceError
from volovan.data.samples import FileSource
from volovan.data.text import read_json
from volovan.files.classes import wnids
from volovan.files.hidden import is_hidden
from volovan.suite.classes import COUNT
from volovan.suite.readers import LabelSets, Pass, Row

FLAWS = {"OBS": "obscured", "DRK": "dark", "BLR": "blurred", "BRT": "bright", "ROT": "rotated", "FRM": "framing"}
CLEAN = "NON"
TABLE = "annotations.json"


def read_vizwiz(folder: Path, name: str) -> list[Pass]:
    """One pass with rows all, clean, each flaw, and any flaw; without rows, but with upload, if labels are missing."""
    public, labelled, mapping = _tables(folder)
    if labelled:
        for picture, entry in labelled.items():
            numbers = entry["labels"]
            if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
                raise SourceError(f"{picture}: its labels are {numbers!r}, expected a list of class numbers")
        labels = LabelSets(entry["labels"] for entry in labelled.values())
        classes = _classes(public, mapping) or tuple(np.unique(labels.values).tolist())
        strange = sorted(set(labels.values.tolist()) - set(classes))
        if strange:
            raise SourceError(f"{folder}: a label is {strange[0]}, which is none of the {len(classes)} classes")
        return [Pass(name, _pictures(folder, list(labelled)), _rows(name, labels, list(labelled.values())), classes)]
    if not public:
        raise SourceError(f"{folder} has no table of VizWiz-Classification; expected {folder.name}/{TABLE}")
    source = _pictures(folder, [str(picture) for picture in public["images"]])
    classes = _classes(public, mapping)
    if not classes:
        raise SourceError(f"{folder}/{TABLE} lists no categories; fetch it again")
    return [Pass(name, source, (), classes, upload=True)]


def _tables(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(public, labelled, IN_to_VizWiz), each {} if it is not there."""
    public: dict[str, Any] = {}
    labelled: dict[str, Any] = {}
    mapping: dict[str, Any] = {}
    for path in sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json")]):
        if is_hidden(path.name):
            continue
        table = read_json(path)
        if not isinstance(table, dict) or not table:
            continue
        if {"categories", "images"} <= set(table):
            public = table
        elif all(isinstance(entry, dict) and "labels" in entry for entry in table.values()):
            labelled = table
        elif all(key.isdecimal() and isinstance(value, int) for key, value in table.items()):
            mapping = table
    return public, labelled, mapping


def _classes(public: dict[str, Any], mapping: dict[str, Any]) -> tuple[int, ...]:
    """Class numbers that compete; () if no table lists them."""
    try:
        categories = [(int(category["id"]), category["wordnet_id"]) for category in public.get("categories", ())]
    except (KeyError, TypeError, ValueError):
        raise SourceError(f"{TABLE}: a category has no id or no wordnet_id; fetch it again") from None
    for number, wnid in categories:
        if not 0 <= number < COUNT or wnid != wnids()[number]:
            raise SourceError(f"{TABLE}: category {number} is called {wnid}, which is not ImageNet's class {number}")
    return tuple(sorted([number for number, _ in categories] or map(int, mapping)))


def _rows(name: str, labels: LabelSets, entries: list[dict[str, Any]]) -> tuple[Row, ...]:
    flags = [entry.get("flaws") or {} for entry in entries]

    def having(*keys: str) -> np.ndarray:
        return np.array([any(flag.get(key) for key in keys) for flag in flags], dtype=bool)

    return (
        Row(name, labels, np.ones(len(entries), bool)),
        Row(f"{name}-clean", labels, having(CLEAN)),
        *(Row(f"{name}-{word}", labels, having(key)) for key, word in FLAWS.items()),
        Row(f"{name}-any-flaw", labels, having(*FLAWS)),
    )


def _pictures(folder: Path, names: list[str]) -> FileSource:
    """Each is in images/, or where the zips put it, images/val/ or val/."""
    files, missing = [], []
    for name in names:
        split = name.split("_")[1] if name.count("_") > 1 else ""
        places = (Path(place, name) for place in ("images", f"images/{split}", split, ""))
        found = next((place for place in places if (folder / place).is_file()), None)
        if found is None:
            missing.append(name)
        else:
            files.append(found.as_posix())
    if missing:
        raise SourceError(
            f"{folder} lacks {len(missing)} of {len(names)} pictures, the first is {missing[0]}; unpack train.zip, "
            f"val.zip and test.zip of VizWiz into {folder.name}/images"
        )
    return FileSource(folder, files)
