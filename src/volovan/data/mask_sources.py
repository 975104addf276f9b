"""Pictures with masks of classes: each layout has a page, here they are told apart."""

from collections.abc import Callable
from pathlib import Path

from volovan.data.ade20k import ade20k_splits
from volovan.data.camvid import camvid_splits
from volovan.data.cityscapes import cityscapes_splits
from volovan.data.coco_stuff import coco_stuff_splits
from volovan.data.errors import SourceError
from volovan.data.graz02 import graz02_splits
from volovan.data.mask_folder import mask_folder_splits
from volovan.data.pairs import existing_path
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
_REMEDY = (
    "give a folder with images and masks (docs/data.md shows how it may look), the folder of a known data set, a .csv "
    "with the columns image,mask,split, or shapes"
)


def mask_splits(spec: str) -> Splits:
    """The splits of pictures with a class for every pixel."""
    if is_shapes(spec):
        return shapes_splits(spec, "mask")
    path = existing_path(spec, _REMEDY)
    if path.is_dir():
        for data_set in _DATA_SETS:
            if known := data_set(path):
                return known
    if (path.is_dir() or path.suffix.lower() in (".csv", ".tsv")) and (splits := mask_folder_splits(path)):
        return splits
    raise SourceError(f"{spec} is no source of pictures with masks that is known; {_REMEDY}")


def is_mask_set(folder: Path) -> bool:
    """Whether folder is a known data set with class masks."""
    return any(data_set(folder) for data_set in _DATA_SETS)
