"""Masks in one black-and-white file for each class: masks/bed_cat.png, masks/bed_dog.png, or masks/cat/bed.png.

Classes are called as the files, in the order of their names behind "background", which is what no file shows; a class
file beside the folders gives another order. Where two classes have the same pixel, the later one of the class file lies
on top; without such a file the picture is refused.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from volovan.data.errors import BadImage, SourceError, printable
from volovan.data.formats.outlines import ground_of, with_background
from volovan.data.masks.class_files import find_classes
from volovan.data.masks.coding import Colour
from volovan.data.masks.files import MaskFiles, inside
from volovan.data.masks.folder import mask_folders
from volovan.data.masks.maps import SALIENT, grey_of
from volovan.data.pairing.pair_lists import Openers
from volovan.data.pairing.partners import Pairs
from volovan.data.pictures.decoding import decode_stored
from volovan.data.pictures.palettes import spread
from volovan.data.samples import Names
from volovan.data.source import Splits


def layered_splits(root: Path, openers: Openers, above: Path | None = None) -> Splits:
    """{split: opener} of pairs whose layers are classes; above: where the class file may lie as well."""
    return {split: partial(_open, root, split, openers, above) for split in openers}


def _open(root: Path, split: str, openers: Openers, above: Path | None) -> "LayeredMasks":
    pairs = {name: opener() for name, opener in openers.items()}
    found = sorted({name for part in pairs.values() for name in part.layers})  # of all splits
    folders = mask_folders(root, [mask for part in pairs.values() for mask in part.masks])
    classes, palette, origin = _classes(root, found, [*([above] if above else []), *folders])
    on_top = f", a later one of {origin} on top" if origin else ""
    note = f"One file for each class ({', '.join(map(printable, found))}): what none shows is background{on_top}."
    return LayeredMasks(root, pairs[split], classes, palette, note, ordered=bool(origin))


def _classes(
    root: Path, found: Sequence[str], folders: Sequence[Path]
) -> tuple[tuple[str, ...], tuple[Colour, ...], str]:
    """(names, colours, file that gives their order or "")."""
    told = find_classes(root, folders)
    if told is None:
        names, _ = with_background(found)
        return names, spread(len(names)), ""
    coding = told.coding
    known = {name.lower() for name in coding.classes}
    if unknown := [name for name in found if name.lower() not in known]:
        raise SourceError(
            f"{root} has masks for a class {unknown[0]!r} (files that are called as a picture and {unknown[0]}), but "
            f"{coding.origin} names {', '.join(coding.classes[:8])}; add its name, or rename the files"
        )
    classes, first = with_background(coding.classes)
    return classes, ((0, 0, 0),) * first + coding.palette, coding.origin


class LayeredMasks(MaskFiles):
    """Pictures with a black-and-white mask for each class. ordered: a later class lies on top of an earlier one."""

    def __init__(
        self,
        root: Path,
        pairs: Pairs,
        classes: Sequence[str],
        palette: Sequence[Colour],
        note: str = "",
        ordered: bool = False,
    ) -> None:
        super().__init__(root, replace(pairs, layers={}), _black_and_white, classes, palette, note)
        numbers = {name.lower(): number for number, name in enumerate(classes)}
        by_number = sorted((numbers[name.lower()], files) for name, files in pairs.layers.items())
        self.layers = [(number, Names(files)) for number, files in by_number]
        self.ground, self.ordered = ground_of(classes), ordered

    def mask(self, index: int) -> np.ndarray:
        drawn: np.ndarray | None = None
        for number, files in self.layers:
            if not files[index]:
                continue
            name = printable(inside(files[index]))
            shown = _black_and_white(self.root / files[index], name)
            if drawn is None:
                drawn = np.full(shown.shape, self.ground, np.uint8)
            if drawn.shape != shown.shape:
                sizes = f"{shown.shape[1]} x {shown.shape[0]}, the other masks of the picture"
                raise BadImage(name, f"{sizes} are {drawn.shape[1]} x {drawn.shape[0]}; draw it again at that size")
            both = shown & (drawn != self.ground)
            if both.any() and not self.ordered:
                row, column = divmod(int(both.argmax()), both.shape[1])
                here, there = self.classes[number], self.classes[drawn[row, column]]
                raise BadImage(
                    name,
                    f"row {row}, column {column} is {here!r} here and {there!r} in another mask of the picture; put a "
                    "classes.txt with the names of the classes beside the folders, then a later one lies on top",
                )
            drawn[shown] = number
        assert drawn is not None  # a picture without masks is no pair
        return drawn


def _black_and_white(path: Path, name: str) -> np.ndarray:
    """(H, W) bool: where a mask shows its class: what is not 0 of two values, else what is nearer to white."""
    image = decode_stored(path, name)
    values = np.asarray(image) if image.mode == "P" else grey_of(image, name)
    found = np.unique(values)
    if len(found) <= 2 and (len(found) == 1 or found[0] == 0):
        return values != 0
    if image.mode == "P" or found[-1] <= SALIENT:
        raise BadImage(name, f"values {', '.join(map(str, found[:5]))}, expected black and white: 0 and one other")
    return values > SALIENT
