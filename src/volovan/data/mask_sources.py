"""Pictures with masks of classes, or maps of what is salient: each layout has a page, here they are told apart."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from volovan.data.ade20k import ade20k_splits
from volovan.data.camvid import camvid_splits
from volovan.data.cityscapes import cityscapes_splits
from volovan.data.coco_stuff import coco_stuff_splits
from volovan.data.errors import SourceError
from volovan.data.graz02 import graz02_splits
from volovan.data.map_sources import open_maps, salient_splits
from volovan.data.mask_folder import mask_folder_splits
from volovan.data.pairs import find_pairs, listed_pairs
from volovan.data.shapes import is_shapes, shapes_splits
from volovan.data.source import Splits
from volovan.data.voc import voc_splits

_DATA_SETS: tuple[Callable[[Path], Splits | None], ...] = (  # each knows its own layout, and says None to any other
    cityscapes_splits,
    ade20k_splits,
    voc_splits,
    coco_stuff_splits,
    graz02_splits,
    camvid_splits,
)
_MASKS = "masks", "the folder of a known data set"
_MAPS = "masks of what is salient", "DUTS, DUT-OMRON, PASCAL-S, ECSSD or HKU-IS"


def mask_splits(spec: str, kind: Literal["mask", "map"] = "mask") -> Splits:
    """The splits of pictures with a class for every pixel, or with a map of what is salient."""
    if is_shapes(spec):
        return shapes_splits(spec, kind)
    what, sets = _MASKS if kind == "mask" else _MAPS
    remedy = (
        f"give a folder with images and masks (docs/data.md shows how it may look), {sets}, a .csv with the columns "
        "image,mask,split, or shapes"
    )
    path = Path(spec).expanduser()
    if not path.exists():
        raise SourceError(f"{spec}: there is no such file or folder; {remedy}")
    if path.is_dir():
        if known := known_masks(path) if kind == "mask" else salient_splits(path):
            return known
        openers = find_pairs(path)
    else:
        openers = listed_pairs(path) if path.suffix.lower() in (".csv", ".tsv") else None
    if not openers:
        raise SourceError(f"{spec} is no source of pictures with {what} that is known; {remedy}")
    root = path if path.is_dir() else path.parent
    if kind == "mask":
        return mask_folder_splits(root, openers)
    return {split: partial(open_maps, root, opener) for split, opener in openers.items()}


def known_masks(folder: Path) -> Splits | None:
    """The splits of a known data set with class masks."""
    return next((splits for data_set in _DATA_SETS if (splits := data_set(folder))), None)
