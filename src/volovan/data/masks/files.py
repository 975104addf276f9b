"""Pictures with masks or maps in files of their own."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from volovan.data.errors import BadImage, SourceError, printable
from volovan.data.masks.coding import Coding, Colour, read_mask
from volovan.data.pairing.partners import Pairs
from volovan.data.pictures import arrays
from volovan.data.pictures.decoding import SIDEWAYS, exif_turn, picture_size
from volovan.data.samples import Names, PictureFiles, join_notes

DrawnOn = Literal["shown", "stored"]
"""what masks were drawn on: the picture as viewers show it, upright, or its pixels as the file has them"""

MaskReader = Callable[[Path, str], np.ndarray]
"""(path, name for messages) -> (H, W) uint8, of ids of segments int32"""


class MaskedPictures(PictureFiles):
    """Pictures that are files, with masks of any kind or objects. Paths are relative to root, and may begin with ../

    classes, palette   () for maps, which have none
    unpaired           sentences on pictures and what belongs to them, one without the other: open_source refuses them
    drawn_on           None: shown, but nobody has said so
    """

    kind = "mask"
    drawn_on: DrawnOn | None = None
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    unpaired: tuple[str, ...]

    def name(self, index: int) -> str:
        return printable(inside(self.files[index]))


class PairedMasks(MaskedPictures):
    """Pictures and masks of any kind that are files."""

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

    def mask(self, index: int) -> np.ndarray:
        """What the file of a mask holds, of whatever size that is."""
        return self.reader(self.root / self.masks[index], printable(inside(self.masks[index])))

    def upright(self, index: int) -> np.ndarray:
        """The same as the picture is shown, and of its size; BadImage if it is of another."""
        name = printable(inside(self.masks[index]))
        mask = self.mask(index)
        if self.drawn_on == "stored" and (turn := self._turn(index)) is not None:
            mask = turned(mask, turn)
        width, height = picture_size(self.root / self.files[index], self.name(index))
        if mask.shape != (height, width):
            sizes = f"{mask.shape[1]} x {mask.shape[0]}, but {self.name(index)} is {width} x {height}"
            remedy = "a mask needs the size of its picture; draw it again at that size, or scale it without smoothing"
            if mask.shape == (width, height) and self._turn(index) is not None and self.drawn_on != "stored":
                remedy = (
                    "the picture is used as viewers show it, turned by its EXIF: if masks were drawn on stored pixels, "
                    "say --data.drawn_on stored (check-data --drawn-on stored), else turn the mask by 90 degrees"
                )
            raise BadImage(name, f"{sizes}; {remedy}")
        return mask

    def _turn(self, index: int) -> Image.Transpose | None:
        """What makes the picture upright, and its mask if that was drawn on stored pixels and has no turn itself."""
        turn = exif_turn(self.root / self.files[index], self.name(index))
        mask = self.root / self.masks[index]
        if turn is None or mask.suffix.lower() == arrays.SUFFIX:
            return turn
        return turn if exif_turn(mask, printable(inside(self.masks[index]))) is None else None

    def may_be_turned(self, index: int) -> bool:
        """Whether nobody has said what the mask was drawn on, and its size does not tell."""
        turn = None if self.drawn_on else self._turn(index)
        width, height = picture_size(self.root / self.files[index], self.name(index))
        return turn is not None and (width == height or turn not in SIDEWAYS)


class MaskFiles(PairedMasks):
    """Pictures and masks that are (H, W) uint8."""

    def target(self, index: int) -> np.ndarray:
        return self.upright(index)


def class_masks(root: Path, pairs: Pairs, coding: Coding, note: str = "") -> MaskFiles:
    """The MaskSource of files in a coding."""
    return MaskFiles(root, pairs, partial(read_mask, coding=coding), coding.classes, coding.palette, note)


def turned(mask: np.ndarray, turn: Image.Transpose) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).transpose(turn))


def inside(path: str) -> str:
    """path without leading ../, which must not lead out of a folder that predictions are written to."""
    while path.startswith("../"):
        path = path[3:]
    return path
