"""Pascal VOC 2012 (Everingham et al.): 21 classes with the background, 1,464 pictures to train, 1,449 to validate.

JPEGImages/NAME.jpg
SegmentationClass/NAME.png                palette PNG, 255 along borders, which is ignored
ImageSets/Segmentation/{train,val}.txt    names, one a line
SegmentationClassAug/, trainaug.txt       where both are there, train is these 10,582 (Hariharan et al., 2011)
root may be the folder of the year, or VOCdevkit above it.
"""

from functools import partial
from pathlib import Path

from volovan.data.masks.coding import Coding, plain_ids
from volovan.data.masks.folder import Published, PublishedPairs, published_splits
from volovan.data.pairing.pair_lists import read_names
from volovan.data.pairing.partners import Pairs, pair
from volovan.data.pictures.palettes import voc
from volovan.data.source import Splits

_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
CODING = Coding(_CLASSES, voc(len(_CLASSES)), plain_ids(len(_CLASSES)), origin="Pascal VOC")
_TRAINAUG = Path("ImageSets", "Segmentation", "trainaug.txt")
_NOTE = "Pascal VOC: 255 is ignored."
_AUGMENTED = " Training pictures are those of trainaug.txt, masks those of SegmentationClassAug."


def voc_splits(root: Path) -> Splits | None:
    """{"train": opener, "val": opener} if root is Pascal VOC with masks, else None."""
    for folder in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        lists = folder / "ImageSets" / "Segmentation"
        if lists.is_dir() and (folder / "JPEGImages").is_dir() and (folder / "SegmentationClass").is_dir():
            found = {split: _split(folder, split) for split in ("train", "val") if (lists / f"{split}.txt").is_file()}
            return published_splits(folder, found, above=root) or None
    return None


def _split(root: Path, split: str) -> PublishedPairs:
    masks, names, note = root / "SegmentationClass", root / _TRAINAUG.with_name(f"{split}.txt"), _NOTE
    augmented = root / "SegmentationClassAug", root / _TRAINAUG
    if split == "train" and augmented[0].is_dir() and augmented[1].is_file():
        (masks, names), note = augmented, _NOTE + _AUGMENTED
    return partial(_pairs, root, masks, names), Published(CODING, note)


def _pairs(root: Path, masks: Path, names: Path) -> Pairs:
    listed = [name.rpartition("/")[2] for name in read_names(names)]  # some lists name /JPEGImages/NAME.jpg
    return pair(root, root / "JPEGImages", masks, names=listed)
