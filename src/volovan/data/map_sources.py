"""Pictures with maps of what is salient: layouts of the known data sets, and folders or lists of pairs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from volovan.data.errors import BadImage, SourceError
from volovan.data.maps import grey_values, read_map
from volovan.data.mask_files import MaskFiles
from volovan.data.pairs import Pairs, existing_path, find_pairs, listed_pairs, pair
from volovan.data.shapes import is_shapes, shapes_splits
from volovan.data.source import Splits

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
_REMEDY = (
    "give a folder with images and masks (docs/data.md shows how it may look), DUTS, DUT-OMRON, PASCAL-S, ECSSD or "
    "HKU-IS, a .csv with the columns image,mask,split, or shapes"
)


def map_splits(spec: str) -> Splits:
    """The splits of pictures with a map of what is salient."""
    if is_shapes(spec):
        return shapes_splits(spec, "map")
    path = existing_path(spec, _REMEDY)
    if path.is_dir() and (known := _known_set(path)):
        return {
            split: partial(_open, path, partial(pair, path, path / pictures, path / masks))
            for split, (pictures, masks) in known.items()
        }
    openers = find_pairs(path) if path.is_dir() else None
    if path.suffix.lower() in (".csv", ".tsv"):
        openers, path = listed_pairs(path), path.parent
    if openers:
        return {split: partial(_open, path, opener) for split, opener in openers.items()}
    raise SourceError(f"{spec} is no source of pictures with masks of what is salient that is known; {_REMEDY}")


def is_map_set(folder: Path) -> bool:
    """Whether folder is a known data set with maps of what is salient."""
    return _known_set(folder) is not None


def _known_set(root: Path) -> dict[str, tuple[str, str]] | None:
    for folders in _SETS.values():
        there = {split: both for split, both in folders.items() if all((root / folder).is_dir() for folder in both)}
        if there:
            return there
    return None


def _open(root: Path, opener: Callable[[], Pairs]) -> MaskFiles:
    pairs = opener()
    binary = _hold_zero_and_one(root, pairs)
    note = "The masks hold 0 and 1: 1 counts as 255." if binary else ""
    return MaskFiles(root, pairs, partial(read_map, scale=255 if binary else 1), note=note, kind="map")


def _hold_zero_and_one(root: Path, pairs: Pairs) -> bool:
    step = max(1, len(pairs.masks) // _LOOKED_AT)
    largest = 0
    for mask in pairs.masks[::step][:_LOOKED_AT]:
        try:
            largest = max(largest, int(grey_values(root / mask, mask).max()))
        except BadImage:  # named when it is read
            continue
    return largest == 1
