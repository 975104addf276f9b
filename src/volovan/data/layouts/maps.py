"""Pictures with maps of what is salient: layouts of the known data sets, and how pairs of files are opened."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from volovan.data.errors import BadImage
from volovan.data.masks.files import MaskFiles
from volovan.data.masks.maps import grey_values, read_map
from volovan.data.pairing.partners import Pairs, pair
from volovan.data.samples import spread_first
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


def salient_splits(root: Path) -> Splits | None:
    """{split: opener} if root is a known data set with maps of what is salient, else None."""
    for splits in _SETS.values():
        there = {split: (root / pictures, root / masks) for split, (pictures, masks) in splits.items()}
        found: Splits = {
            split: partial(open_maps, root, partial(pair, root, *both))
            for split, both in there.items()
            if all(folder.is_dir() for folder in both)
        }
        if found:
            return found
    return None


def open_maps(root: Path, opener: Callable[[], Pairs]) -> MaskFiles:
    """Pictures and their maps, which hold 0 to 255, or all of them 0 and 1."""
    pairs, largest = opener(), 0
    for place, index in enumerate(spread_first(len(pairs.masks), _LOOKED_AT)):
        if largest and place >= _LOOKED_AT:
            break  # empty masks alone do not tell
        mask = pairs.masks[index]
        with suppress(BadImage):  # named when it is read
            largest = max(largest, int(grey_values(root / mask, mask).max()))
    scale, note = (255, "The masks hold 0 and 1: 1 counts as 255.") if largest == 1 else (1, "")
    return MaskFiles(root, pairs, partial(read_map, scale=scale), note=note, kind="map")
