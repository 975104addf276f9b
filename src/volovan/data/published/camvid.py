"""CamVid (Brostow, Fauqueur, Cipolla, 2009) in the version of SegNet: 11 classes, 480 x 360, 367 / 101 / 233 pictures.

train/NAME.png         trainannot/NAME.png         as in SegNet's repository (val, test alike)
train/image/NAME.jpg   train/label/NAME.png        with a classes.txt that names the same 11 classes
Id 11 is void and ignored. The original of 32 colours is an ordinary folder with label_colors.txt or class_dict.csv.
"""

from contextlib import suppress
from pathlib import Path

from volovan.data.errors import SourceError
from volovan.data.masks.class_files import find_classes
from volovan.data.masks.coding import IGNORE, Coding, plain_ids
from volovan.data.masks.folder import Published, published_splits
from volovan.data.pairing.pairs import find_pairs
from volovan.data.source import Splits

_CLASSES = {  # name -> colour in the figures of SegNet
    "sky": (128, 128, 128), "building": (128, 0, 0), "pole": (192, 192, 128), "road": (128, 64, 128),
    "pavement": (60, 40, 222), "tree": (128, 128, 0), "sign_symbol": (192, 128, 128), "fence": (64, 64, 128),
    "car": (64, 0, 128), "pedestrian": (64, 64, 0), "bicyclist": (0, 128, 192),
}  # fmt: skip
CODING = Coding(tuple(_CLASSES), tuple(_CLASSES.values()), {**plain_ids(len(_CLASSES)), 11: IGNORE}, origin="CamVid")
_PUBLISHED = Published(CODING, "CamVid: pixels with id 11 (void) are ignored.")


def camvid_splits(root: Path) -> Splits | None:
    """{"train": opener, "val": opener, "test": opener} if root is CamVid with 11 classes, else None."""
    if not (root / "trainannot").is_dir() and not _named(root):
        return None
    found = find_pairs(root) or {}
    return published_splits(root, {split: (pairs, _PUBLISHED) for split, pairs in found.items()}) or None


def _named(root: Path) -> bool:
    with suppress(SourceError):  # said when the folder is opened for its masks, if it has any
        told = find_classes(root)
        return told is not None and told.coding.classes == CODING.classes
    return False
