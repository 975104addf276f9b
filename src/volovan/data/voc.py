"""Pascal VOC 2012 (Everingham et al.): 21 classes with the background, 1,464 pictures to train, 1,449 to validate.

JPEGImages/NAME.jpg
SegmentationClass/NAME.png                palette PNG, 255 along borders, which is ignored
ImageSets/Segmentation/{train,val}.txt    names, one a line
SegmentationClassAug/, trainaug.txt       where both are there, train is these 10,582 (Hariharan et al., 2011)
root may be the folder of the year, or VOCdevkit above it.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from volovan.data.mask_files import MaskFiles, class_masks
from volovan.data.masks import Coding, plain_ids
from volovan.data.pair_lists import read_names
from volovan.data.palettes import voc
from volovan.data.partners import pair

_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
CODING = Coding(_CLASSES, voc(len(_CLASSES)), plain_ids(len(_CLASSES)), origin="Pascal VOC")


def voc_splits(root: Path) -> dict[str, Callable[[], MaskFiles]] | None:
    """{"train": opener, "val": opener} if root is Pascal VOC with masks, else None."""
    for folder in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        lists = folder / "ImageSets" / "Segmentation"
        if lists.is_dir() and (folder / "JPEGImages").is_dir() and (folder / "SegmentationClass").is_dir():
            there = [split for split in ("train", "val") if (lists / f"{split}.txt").is_file()]
            return {split: partial(_open, folder, split) for split in there} or None
    return None


def _open(root: Path, split: str) -> MaskFiles:
    more = root / "ImageSets" / "Segmentation" / "trainaug.txt"
    masks, names, note = root / "SegmentationClass", more.with_name(f"{split}.txt"), "Pascal VOC: 255 is ignored."
    if split == "train" and more.is_file() and (root / "SegmentationClassAug").is_dir():
        masks, names = root / "SegmentationClassAug", more
        note += " Training pictures are those of trainaug.txt, masks those of SegmentationClassAug."
    listed = [name.rpartition("/")[2] for name in read_names(names)]  # some lists name /JPEGImages/NAME.jpg
    pairs = pair(root, root / "JPEGImages", masks, names=listed)
    return class_masks(root, pairs, CODING, note)
