"""YOLO's annotations: images/train/bed.jpg with labels/train/bed.txt, or train/images with train/labels.

A line is CLASS X Y WIDTH HEIGHT, a box around its middle, or CLASS X Y X Y X Y ..., an outline; all of them from 0 to 1
of width and height. data.yaml or another class file names the classes; train, val and test of data.yaml, where they are
folders that are there, say where the pictures lie. A picture without a .txt has no objects, as YOLO has it.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from volovan.data.errors import BadImage, SourceError, printable
from volovan.data.folder import pictures_below
from volovan.data.masks.class_files import SETTINGS, find_classes, read_yaml
from volovan.data.masks.coding import unnamed
from volovan.data.objects.annotated import Thing
from volovan.data.objects.files import Tellings, Told
from volovan.data.objects.shapes import Polygons
from volovan.data.pairing.pairs import Folders
from volovan.data.pairing.partners import MASK_SUFFIXES, by_stem, relative
from volovan.data.pictures.decoding import SUFFIXES
from volovan.data.samples import Names, join_notes
from volovan.data.source import SPLITS
from volovan.data.text import read_lines

_FARTHEST = 1.5  # of a picture: outlines end at its border, but for rounding
_ROUNDED = 0.01  # by which boxes may be larger than a picture
_LOOKED_AT = 50  # files with lines, to tell outlines from boxes


def yolo_splits(root: Path, folders: Mapping[str, Folders]) -> Tellings | None:
    """{split: opener} of pictures with .txt files, None if there are none; folders: as two_folders says."""
    found = _with_labels(root, _stated(root)) or _with_labels(root, folders)
    return {split: partial(_open, root, split, found) for split in found} or None


def _with_labels(root: Path, folders: Mapping[str, Folders]) -> dict[str, Folders]:
    """Those with .txt files and no masks in the place of masks."""
    return {
        split: two
        for split, two in folders.items()
        if two.masks and not any(pictures_below(two.masks, suffixes=MASK_SUFFIXES)) and _labels(root, two.masks)
    }


def _stated(root: Path) -> dict[str, Folders]:
    """The folders of pictures that data.yaml names, with those of the labels that belong to them."""
    said = next((read_yaml(root / name) for name in SETTINGS if (root / name).is_file()), None)
    if not isinstance(said, dict):
        return {}
    found: dict[str, Folders] = {}
    for split in SPLITS:
        entry = str(said.get(split) or "").replace("\\", "/")
        above = str(said.get("path") or "")
        tried = (root / above / entry, root / entry, root / entry.replace("../", ""))  # of an export, ../train/images
        pictures = next((folder for folder in tried if entry and folder.is_dir()), None)
        if pictures is not None and "images" in pictures.parts:
            place = max(at for at, part in enumerate(pictures.parts) if part == "images")
            found[split] = Folders(pictures, Path(*pictures.parts[:place], "labels", *pictures.parts[place + 1 :]))
    return found


def _labels(root: Path, folder: Path) -> dict[str, str]:
    """{stem: path from root}; classes.txt, which labelImg puts among them, is none."""
    return {stem: file for stem, file in by_stem(root, folder, (".txt",)).items() if stem != "classes"}


def _open(root: Path, split: str, every: Mapping[str, Folders]) -> Told:
    two = every[split]
    assert two.masks is not None  # as yolo_splits chooses them
    pictures, labels = by_stem(root, two.pictures, SUFFIXES), _labels(root, two.masks)
    chosen = sorted(pictures) if two.names is None else two.names
    unpaired = [f"{printable(stem)} is listed, but has no picture" for stem in chosen if stem not in pictures]
    unpaired += [
        f"{printable(labels[stem])} has no picture in {relative(root, two.pictures)}"
        for stem in sorted(labels.keys() - pictures.keys())
    ]
    there = [stem for stem in chosen if stem in pictures]
    files = [labels.get(stem, "") for stem in there]
    bare = files.count("")
    nothing = f"{bare:,} of {len(there):,} pictures have no .txt: nothing is marked in them." if bare else ""
    classes, ids, note = _classes(root, [part.masks for part in every.values() if part.masks])
    teller = YoloTeller(root, files)
    return Told(
        root, [pictures[stem] for stem in there], teller, classes, ids, "YOLO", join_notes(note, nothing), unpaired
    )


def _classes(root: Path, folders: Sequence[Path]) -> tuple[tuple[str, ...], dict[int, int], str]:
    """(classes, id in the files -> class number, note)."""
    told = find_classes(root, folders)
    if told is not None:
        return told.coding.classes, told.coding.ids, told.note
    files = [file for folder in folders for file in _labels(root, folder).values()]
    ids = {number for file in files for _, number, _ in _lines(root / file, printable(file))}
    names = unnamed(max(ids, default=0) + 1)
    return names, {number: number for number in range(len(names))}, "No class file names the classes."


class YoloTeller:
    """files: paths of the label files, "" for a picture without one."""

    def __init__(self, root: Path, files: Sequence[str]) -> None:
        self.root, self.files = root, Names(files)

    def name(self, index: int) -> str:
        return printable(self.files[index])

    def size_said(self, index: int) -> tuple[int, int] | None:
        return None

    def things(self, index: int, width: int, height: int) -> Iterator[Thing]:
        if not (file := self.files[index]):
            return
        for place, number, values in _lines(self.root / file, self.name(index)):
            said = values.reshape(-1, 2) * (width, height)
            if len(values) > 4:
                yield Thing(number, None, Polygons((said,)), place=place)
            else:
                (x1, y1), (x2, y2) = said[0] - said[1] / 2, said[0] + said[1] / 2
                yield Thing(number, (x1, y1, x2, y2), place=place)

    def no_masks(self) -> str:
        """Looks at the first files."""
        with_lines = [""]
        for file in filter(None, self.files):
            lines = [line.split() for _, line in read_lines(self.root / file)]
            if any(len(line) != 5 for line in lines) or len(with_lines) > _LOOKED_AT:
                return ""
            with_lines += [file] if lines else []
        if len(with_lines) == 1:
            return ""
        return (
            f"{(self.root / with_lines[1]).parent} holds boxes (CLASS X Y WIDTH HEIGHT), not outlines (CLASS X Y X Y "
            "...); masks cannot be made of them, so export the labels for segmentation"
        )


def _lines(path: Path, name: str) -> Iterator[tuple[str, int, np.ndarray]]:
    """("line 1", id, numbers from 0 to 1) of each line: of a box 4, else corners; BadImage names one that is wrong."""
    try:
        lines = read_lines(path)
    except SourceError as error:
        raise BadImage(name, str(error)) from None
    for at, line in lines:
        place, cells = f"line {at}", line.split()
        try:
            number, values = float(cells[0]), np.array(cells[1:], np.float64)
        except ValueError:
            number, values = np.nan, np.zeros(0)
        if not number.is_integer():
            raise BadImage(
                name, f"{place} is {printable(line[:60])!r}, expected CLASS X Y WIDTH HEIGHT or CLASS X Y X Y X Y ..."
            )
        if len(values) == 5:
            raise BadImage(
                name,
                f"{place} has 5 numbers after the class, a box and a confidence, as predictions have; labels are "
                "CLASS X Y WIDTH HEIGHT, so leave out the last one",
            )
        if len(values) % 2 or len(values) < 4:
            raise BadImage(
                name,
                f"{place} has {len(values)} numbers after the class; expected 4 of a box, X Y WIDTH HEIGHT, or 3 or "
                "more corners, X Y",
            )
        low, high = (-_ROUNDED, 1 + _ROUNDED) if len(values) == 4 else (-_FARTHEST, _FARTHEST)
        if not ((values >= low) & (values <= high)).all():
            wrong = values[~((values >= low) & (values <= high))][0]
            raise BadImage(name, f"{place} has {wrong:g}, expected 0 to 1 of width or height")
        yield place, int(number), values
