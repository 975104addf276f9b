"""Outlines as YOLO writes them: images/train/bed.jpg with labels/train/bed.txt, or train/images with train/labels.

A line is CLASS X Y X Y ..., from 0 to 1 of width and height. data.yaml or another class file names the classes; train,
val and test of data.yaml, where they are folders that are there, say where the pictures lie. Classes are the names
behind "background". A picture without a .txt is all background, as YOLO has it.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from volovan.data.errors import BadImage, SourceError, printable
from volovan.data.folder import pictures_below
from volovan.data.formats.outlines import OutlineFiles, fill, with_background
from volovan.data.masks.class_files import SETTINGS, find_classes, read_yaml
from volovan.data.masks.coding import IGNORE, ranges, unnamed
from volovan.data.pairing.pairs import Folders
from volovan.data.pairing.partners import MASK_SUFFIXES, by_stem, relative
from volovan.data.pictures.decoding import SUFFIXES
from volovan.data.samples import join_notes
from volovan.data.source import SPLITS, Splits
from volovan.data.text import read_lines

_FARTHEST = 1.5  # of a picture: outlines end at its border, but for rounding
_LOOKED_AT = 50  # files with lines, to tell outlines from boxes


def yolo_splits(root: Path, folders: Mapping[str, Folders]) -> Splits | None:
    """{split: opener} of pictures with outlines in .txt files, None if there are none; folders: as two_folders says."""
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


def _open(root: Path, split: str, every: Mapping[str, Folders]) -> "YoloFiles":
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
    nothing = f"{bare:,} of {len(there):,} pictures have no .txt: all of them is background." if bare else ""
    _refuse_boxes([root / file for file in files if file])
    classes, ids, note = _classes(root, [part.masks for part in every.values() if part.masks])
    return YoloFiles(root, [pictures[stem] for stem in there], files, classes, ids, join_notes(note, nothing), unpaired)


def _classes(root: Path, folders: Sequence[Path]) -> tuple[tuple[str, ...], dict[int, int], str]:
    """(classes, id in the files -> class number, note)."""
    note = "Outlines of YOLO: what none of them holds is background."
    told = find_classes(root, folders)
    if told is None:
        files = [file for folder in folders for file in _labels(root, folder).values()]
        ids = {number for file in files for number, _ in _lines(root / file, printable(file))}
        names = unnamed(max(ids, default=0) + 1)
        classes, first = with_background(names)
        return classes, {number: number + first for number in range(len(names))}, f"{note} No class file names them."
    classes, first = with_background(told.coding.classes)
    numbers = {id: number if number == IGNORE else number + first for id, number in told.coding.ids.items()}
    return classes, numbers, join_notes(note, told.note)


def _refuse_boxes(files: Sequence[Path]) -> None:
    """SourceError where the first files hold boxes, which are no outlines."""
    with_lines = 0
    for file in files:
        lines = [line.split() for _, line in read_lines(file)]
        if any(len(line) != 5 for line in lines) or with_lines == _LOOKED_AT:
            return
        with_lines += bool(lines)
    if with_lines:
        raise SourceError(
            f"{files[0].parent} holds boxes (CLASS X Y WIDTH HEIGHT), not outlines (CLASS X Y X Y ...); masks cannot "
            "be made of them, so export the labels for segmentation"
        )


def _lines(path: Path, name: str) -> Iterator[tuple[int, np.ndarray]]:
    """(id, corners (N, 2) from 0 to 1) of each line; BadImage names one that is wrong."""
    try:
        lines = read_lines(path)
    except SourceError as error:
        raise BadImage(name, str(error)) from None
    for place, line in lines:
        cells = line.split()
        try:
            number, values = int(float(cells[0])), np.array(cells[1:], np.float64)
        except ValueError:
            raise BadImage(name, f"line {place} is {printable(line[:60])!r}, expected CLASS X Y X Y X Y ...") from None
        if len(values) % 2 or len(values) < 6:
            box = ", a box" if len(values) == 4 else ""
            raise BadImage(
                name, f"line {place} has {len(values)} numbers after the class{box}; expected 3 corners, X Y"
            )
        if not (abs(values) <= _FARTHEST).all():
            raise BadImage(
                name, f"line {place} has {values[abs(values).argmax()]:g}, expected 0 to 1 of width or height"
            )
        yield number, values.reshape(-1, 2)


class YoloFiles(OutlineFiles):
    """drawings: paths of the label files, "" for a picture without one."""

    def draw(self, index: int, mask: np.ndarray) -> None:
        if not (file := self.drawings[index]):
            return
        name = printable(file)
        for number, corners in _lines(self.root / file, name):
            if number not in self.numbers:
                known = ranges([*self.numbers])
                raise BadImage(name, f"class {number}, expected {known}; mend the file or name the class")
            fill(mask, corners * mask.shape[::-1], self.numbers[number])
