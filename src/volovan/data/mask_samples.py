"""The sources that hold pictures with masks: pairs of files, a part of another source, several in a row."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from volovan.data.decoding import decode, picture_size
from volovan.data.errors import BadImage, printable
from volovan.data.masks import Coding, Colour, read_mask
from volovan.data.pairs import Pairs
from volovan.data.samples import Names, hash_draw

if TYPE_CHECKING:
    from PIL import Image


class Masked(Protocol):
    """What sources of class masks and of saliency masks have in common."""

    note: str

    def __len__(self) -> int: ...
    def name(self, index: int) -> str: ...
    def load(self, index: int) -> "Image.Image": ...
    def mask(self, index: int) -> np.ndarray: ...


class MaskReader(Protocol):
    """Reads one mask file: (path, name for messages) -> (H, W) uint8."""

    def __call__(self, path: Path, name: str) -> np.ndarray: ...


class MaskFiles:
    """Pictures and masks that are files. Paths are relative to root, and may begin with ../

    reader             (path, name for messages) -> (H, W) uint8
    classes, palette   () for saliency, which has none
    unpaired           sentences on pictures without a mask and masks without a picture: open_masks refuses them
    """

    def __init__(
        self,
        root: Path,
        pairs: Pairs,
        reader: MaskReader,
        classes: Sequence[str] = (),
        palette: Sequence[Colour] = (),
        note: str = "",
    ) -> None:
        self.root, self.pictures, self.masks = root, Names(pairs.pictures), Names(pairs.masks)
        self.reader, self.classes, self.palette, self.note = reader, tuple(classes), tuple(palette), note
        self.unpaired = pairs.unpaired

    def __len__(self) -> int:
        return len(self.pictures)

    def name(self, index: int) -> str:
        return printable(_inside(self.pictures[index]))

    def mask_name(self, index: int) -> str:
        return printable(_inside(self.masks[index]))

    def load(self, index: int) -> "Image.Image":
        return decode(self.root / self.pictures[index], name=self.name(index))

    def mask(self, index: int) -> np.ndarray:
        name = self.mask_name(index)
        mask = self.reader(self.root / self.masks[index], name)
        width, height = picture_size(self.root / self.pictures[index], self.name(index))
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


class MaskPart:
    """Some samples of another source, in the order of indices. classes, palette: () for saliency, which has none."""

    def __init__(self, whole: Any, indices: Sequence[int] | np.ndarray, note: str = "") -> None:
        self.whole, self.indices, self.note = whole, np.asarray(indices, dtype=np.int64), note or whole.note
        self.classes, self.palette = getattr(whole, "classes", ()), getattr(whole, "palette", ())

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        return self.whole.name(int(self.indices[index]))

    def load(self, index: int) -> "Image.Image":
        return self.whole.load(int(self.indices[index]))

    def mask(self, index: int) -> np.ndarray:
        return self.whole.mask(int(self.indices[index]))


class MaskChain:
    """Several sources of the same classes one after the other."""

    def __init__(self, sources: Sequence[Any]) -> None:
        self.sources = tuple(sources)
        self.starts = [0, *accumulate(len(source) for source in sources)]
        self.note = " ".join(dict.fromkeys(source.note for source in sources if source.note))
        self.classes, self.palette = getattr(sources[0], "classes", ()), getattr(sources[0], "palette", ())

    def __len__(self) -> int:
        return self.starts[-1]

    def _find(self, index: int) -> tuple[Any, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} samples")
        which = bisect_right(self.starts, index) - 1
        return self.sources[which], index - self.starts[which]

    def name(self, index: int) -> str:
        source, inner = self._find(index)
        return source.name(inner)

    def load(self, index: int) -> "Image.Image":
        source, inner = self._find(index)
        return source.load(inner)

    def mask(self, index: int) -> np.ndarray:
        source, inner = self._find(index)
        return source.mask(inner)


def hold_out_masks(source: Masked, split: str, share: float = 0.1) -> MaskPart:
    """The "train" or the "val" part of a source without splits, by the hash of names, as samples.hold_out does.

    A sample stays where it is when others are added; each part has at least one where there are two samples.
    """
    draws = np.array([hash_draw(source.name(index)) for index in range(len(source))])
    in_val = draws < share
    if len(draws) >= 2:
        in_val[draws.argmin()], in_val[draws.argmax()] = True, False
    note = (
        f"No splits found: {in_val.sum():,} of {len(source):,} pictures, chosen by the hash of their names, are held "
        "out as val."
    )
    return MaskPart(
        source, np.flatnonzero(in_val if split == "val" else ~in_val), " ".join(filter(None, (source.note, note)))
    )


def take_masks(source: Masked, count: int, seed: int = 0) -> MaskPart:
    """count samples of a source (all, if it has no more), the same ones for the same seed, in their order."""
    if count < 1:
        raise ValueError(f"count is {count}, expected at least 1")
    order = np.random.default_rng(seed).permutation(len(source))
    return MaskPart(source, np.sort(order[:count]))


def _inside(path: str) -> str:
    """path without leading ../, which must not lead out of a folder that predictions are written to."""
    while path.startswith("../"):
        path = path[3:]
    return path
