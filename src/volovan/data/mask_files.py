"""Pictures with masks or maps in files of their own."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from volovan.data.decoding import picture_size
from volovan.data.errors import BadImage, SourceError, printable
from volovan.data.masks import Coding, Colour, read_mask
from volovan.data.pairs import Pairs
from volovan.data.samples import Names, PictureFiles, join_notes

MaskReader = Callable[[Path, str], np.ndarray]
"""(path, name for messages) -> (H, W) uint8"""


class MaskFiles(PictureFiles):
    """Pictures and masks that are files. Paths are relative to root, and may begin with ../

    classes, palette   () for maps, which have none
    unpaired           sentences on pictures without a mask and masks without a picture: open_source refuses them
    """

    def __init__(
        self,
        root: Path,
        pairs: Pairs,
        reader: MaskReader,
        classes: Sequence[str] = (),
        palette: Sequence[Colour] = (),
        note: str = "",
        kind: str = "mask",
    ) -> None:
        if pairs.layers:
            raise SourceError(
                f"{root} has several masks for a picture, one each for {', '.join(map(printable, pairs.layers))}; "
                "one mask for each picture is expected here"
            )
        super().__init__(root, pairs.pictures, join_notes(pairs.note, note))
        self.masks, self.reader, self.unpaired, self.kind = Names(pairs.masks), reader, pairs.unpaired, kind
        self.classes, self.palette = tuple(classes), tuple(palette)

    def name(self, index: int) -> str:
        return printable(inside(self.files[index]))

    def mask(self, index: int) -> np.ndarray:
        """The target, of whatever size its file has."""
        return self.reader(self.root / self.masks[index], printable(inside(self.masks[index])))

    def target(self, index: int) -> np.ndarray:
        name = printable(inside(self.masks[index]))
        mask = self.mask(index)
        width, height = picture_size(self.root / self.files[index], self.name(index))
        if mask.shape != (height, width):
            sizes = f"{mask.shape[1]} x {mask.shape[0]}, but {self.name(index)} is {width} x {height}"
            remedy = "a mask needs the size of its picture; draw it again at that size, or scale it without smoothing"
            if mask.shape == (width, height):
                remedy = "turn the mask by 90 degrees (a picture with an EXIF orientation is used as viewers show it)"
            raise BadImage(name, f"{sizes}; {remedy}")
        return mask


def class_masks(root: Path, pairs: Pairs, coding: Coding, note: str = "") -> MaskFiles:
    """The MaskSource of files in a coding."""
    return MaskFiles(root, pairs, partial(read_mask, coding=coding), coding.classes, coding.palette, note)


def inside(path: str) -> str:
    """path without leading ../, which must not lead out of a folder that predictions are written to."""
    while path.startswith("../"):
        path = path[3:]
    return path
