"""open_saliency: pictures with masks of what stands out, 0 to 255. Soft values are allowed: 255 is salient, 0 is not.

Decisions, each of them tested in tests/data/test_saliency_sources.py:
- grey, one bit, 16 bits and equal channels are read as grey values; a palette by its colours, which must be grey.
- JPEG is allowed: values in between are soft, and every measure cuts at a threshold.
- masks that all hold 0 and 1 only are scaled to 0 and 255, and the note says so; one such mask among others is refused.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from volovan.data.decoding import decode_stored
from volovan.data.errors import BadImage, SourceError
from volovan.data.mask_samples import MaskFiles
from volovan.data.pairs import Pairs, find_pairs, listed_pairs, pair, refuse_unpaired
from volovan.data.segmentation import choose_split, existing_path, is_shapes, unpaired

if TYPE_CHECKING:
    from PIL import Image


class SaliencySource(Protocol):
    """Numbered pictures with their masks. Picklable and without open files, so that every worker can have its own."""

    note: str  # what the user should know of how it was opened; "" if nothing

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """The picture, such as "train/a.jpg"; never begins with / or ../"""
        ...

    def load(self, index: int) -> "Image.Image":
        """The picture, RGB; BadImage if it cannot be decoded."""
        ...

    def mask(self, index: int) -> np.ndarray:
        """(H, W) uint8 of the size of the picture, 255 salient; BadImage names the mask file."""
        ...


Splits = Mapping[str, Callable[[], SaliencySource]]

_SETS = {  # folders of pictures and of masks, as the data sets are handed out; {split: folders}
    "DUTS": {
        "train": ("DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask"),
        "test": ("DUTS-TE/DUTS-TE-Image", "DUTS-TE/DUTS-TE-Mask"),
    },
    "DUTS-TR": {"train": ("DUTS-TR-Image", "DUTS-TR-Mask")},
    "DUTS-TE": {"test": ("DUTS-TE-Image", "DUTS-TE-Mask")},
    "DUT-OMRON": {"test": ("DUT-OMRON-image", "pixelwiseGT-new-PNG")},
    "PASCAL-S": {"test": ("datasets/imgs/pascal", "datasets/masks/pascal")},
    "ECSSD": {"test": ("images", "ground_truth_mask")},
}
_LOOKED_AT = 16  # masks, to see whether they hold 0 and 1


def open_saliency(spec: str | Path, split: str | None = None) -> SaliencySource:
    """Open a source of pictures with saliency masks; docs/data.md lists the layouts.

    split   "train", "val", "test", or None for all of it. A source without splits holds out a tenth as val, one with
            train and test only gives test as val; source.note says so.
    raises  SourceError: there is no such thing or split, or a picture without its mask, or a mask without its picture
    """
    source = open_saliency_unchecked(spec, split)
    refuse_unpaired(unpaired(source))
    return source


def list_saliency_splits(spec: str | Path) -> tuple[str, ...]:
    """The splits that a source has, () if it is not split."""
    found = _find_splits(str(spec))
    return tuple(split for split in ("train", "val", "test") if split in found)


def open_saliency_unchecked(spec: str | Path, split: str | None) -> SaliencySource:
    """open_saliency without a complaint about partners that are missing: check-data wants to list them all."""
    return choose_split(spec, _find_splits(str(spec)), split)


def _find_splits(spec: str) -> Splits:
    if is_shapes(spec):
        from volovan.data.shapes import salient_splits

        return salient_splits(spec)
    path = existing_path(spec)
    if path.is_dir() and (found := _known_set(path)):
        name, folders = found
        return {
            split: partial(_open, path, partial(pair, path, path / pictures, path / masks), name)
            for split, (pictures, masks) in folders.items()
        }
    openers = find_pairs(path) if path.is_dir() else None
    if path.suffix.lower() in (".csv", ".tsv"):
        openers, path = listed_pairs(path), path.parent
    if openers:
        return {split: partial(_open, path, opener, "") for split, opener in openers.items()}
    raise SourceError(
        f"{spec} is no source of pictures with saliency masks that is known; give a folder with images and masks "
        "(docs/data.md shows how it may look), DUTS, DUT-OMRON, PASCAL-S, ECSSD or HKU-IS, a .csv with the columns "
        "image,mask,split, or shapes"
    )


def is_saliency_set(folder: Path) -> bool:
    """Whether folder is a known data set with saliency masks."""
    return _known_set(folder) is not None


def _known_set(root: Path) -> tuple[str, dict[str, tuple[str, str]]] | None:
    for name, folders in _SETS.items():
        there = {split: both for split, both in folders.items() if all((root / folder).is_dir() for folder in both)}
        if there:
            return name, there
    return None


def _open(root: Path, opener: Callable[[], Pairs], name: str) -> MaskFiles:
    pairs = opener()
    binary = _hold_zero_and_one(root, pairs)
    note = "The masks hold 0 and 1: 1 counts as 255." if binary else ""
    return MaskFiles(root, pairs, partial(read_saliency, scale=255 if binary else 1), note=note)


def _hold_zero_and_one(root: Path, pairs: Pairs) -> bool:
    step = max(1, len(pairs.masks) // _LOOKED_AT)
    largest = 0
    for mask in pairs.masks[::step][:_LOOKED_AT]:
        try:
            largest = max(largest, int(_grey(root / mask, mask).max()))
        except BadImage:  # named when it is read
            continue
    return largest == 1


def read_saliency(path: Path, name: str, scale: int = 1) -> np.ndarray:
    """(H, W) uint8: 255 salient, 0 not.

    name    how errors call the file
    scale   255 where masks hold 0 and 1
    raises  BadImage: it cannot be decoded, is coloured, or holds another range than scale says
    """
    values = _grey(path, name)
    largest = int(values.max())
    if scale == 1 and largest == 1:
        raise BadImage(name, "values 0 and 1, where other masks go up to 255; multiply it by 255")
    if scale != 1 and largest > 1:
        raise BadImage(name, f"values up to {largest}, where other masks hold 0 and 1; save all masks with 0 to 255")
    return values if scale == 1 else values * np.uint8(scale)


def _grey(path: Path, name: str) -> np.ndarray:
    """(H, W) uint8: grey values as a viewer shows them."""
    image = decode_stored(path, name)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise BadImage(name, f"grey values from {values.min()} to {values.max()}; save it with 8 bits")
        if 0 < values.max() < 257:  # 8-bit values in a 16-bit file: its object would be read as nothing
            raise BadImage(name, f"16-bit grey values up to {values.max()}, expected up to 65535; save it with 8 bits")
        return (values // 257).astype(np.uint8)
    if image.mode in ("RGBA", "LA", "PA") and np.asarray(image.getchannel("A")).min() < 255:
        raise BadImage(name, "transparent pixels, so which channel is the mask is unknown; save it as 8-bit grey PNG")
    pixels = np.asarray(image.convert("RGB"))
    coloured = (pixels != pixels[..., :1]).any(-1)
    if coloured.any():
        row, column = divmod(int(coloured.argmax()), coloured.shape[1])
        raise BadImage(
            name,
            f"colour {tuple(pixels[row, column].tolist())} at row {row}, column {column}, expected grey from 0 to 255; "
            "save it as 8-bit grey PNG",
        )
    return pixels[..., 0].copy()
