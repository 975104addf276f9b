"""GRAZ-02 (Opelt et al., 2006) with the masks of INRIA (IG02: Marszałek and Schmid, 2007): bike, car, person.

bikes/bike_001.image.png   bikes/bike_001.mask.0.png, bike_001.mask.1.png ...   (cars/, people/ alike)
bikes_train.txt, bikes_test.txt   names, taken where all three folders have both

Every object has a mask of its own: red where it is seen, green where it is hidden. All that is red counts; hidden parts
show something else, so they are background. Grey masks count from 128 on, and JPEG is allowed, since it is cut there.

Assumed, since neither paper of ours nor the leaderboard says it: without lists, odd numbers train and even ones test;
pixels outside of objects are a fourth class, background. Lists make any other split.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from volovan.data.errors import BadImage, SourceError
from volovan.data.folder import subfolders
from volovan.data.masks.class_files import class_files_in
from volovan.data.masks.files import MaskFiles
from volovan.data.pairing.pair_lists import read_names
from volovan.data.pairing.partners import Pairs
from volovan.data.pictures.decoding import decode
from volovan.files.hidden import is_hidden

_CLASSES = ("background", "bike", "car", "person")
_PALETTE = ((60, 60, 60), (230, 120, 30), (60, 140, 230), (220, 40, 90))
_FOLDERS = {"bikes": 1, "bike": 1, "cars": 2, "car": 2, "people": 3, "persons": 3, "person": 3}
_PICTURE = re.compile(r"(.+?)(\d+)\.image\.(png|jpe?g|bmp)", re.IGNORECASE)


def graz02_splits(root: Path) -> dict[str, Callable[[], MaskFiles]] | None:
    """{"train": opener, "test": opener} if root holds folders of GRAZ-02 with masks, else None."""
    folders = [path for path in subfolders(root) if path.name.lower() in _FOLDERS and any(path.glob("*.image.*"))]
    return {split: partial(_open, root, folders, split) for split in ("train", "test")} if folders else None


def _open(root: Path, folders: list[Path], split: str) -> MaskFiles:
    listed = all((root / f"{folder.name}_{part}.txt").is_file() for folder in folders for part in ("train", "test"))
    pictures: list[str] = []
    masks: list[str] = []
    unpaired: list[str] = []
    for folder in folders:
        names = read_names(root / f"{folder.name}_{split}.txt") if listed else ()
        stems = {Path(name.split(".")[0]).name for name in names}
        for file in sorted(folder.glob("*.image.*")):
            match = _PICTURE.fullmatch(file.name)
            if not match or is_hidden(file.name):
                continue
            stem = match[1] + match[2]
            wanted = stem in stems if listed else (int(match[2]) % 2 == 1) == (split == "train")
            if not wanted:
                continue
            relative = file.relative_to(root).as_posix()
            objects = _masks_of(file.with_name(f"{stem}.mask"))
            if not objects:
                unpaired.append(f"{relative} has no mask {stem}.mask.0.png")
                continue
            pictures.append(relative)
            masks.append(objects[0].relative_to(root).as_posix())
    if not pictures:
        raise SourceError(f"{root} has no picture with masks for {split}; unpack the archives of IG02 there")
    how = "the lists beside the folders" if listed else "odd numbers train, even ones test"
    note = f"GRAZ-02: split by {how}; all that is no object is background."
    if unread := [path.name for path in class_files_in(root)]:
        note += f" {', '.join(unread)} beside the folders is not read: they are the classes."
    return MaskFiles(
        root, Pairs(tuple(pictures), tuple(masks), tuple(unpaired)), read_objects, _CLASSES, _PALETTE, note
    )


def _masks_of(beginning: Path) -> list[Path]:
    """NAME.mask.png, NAME.mask.0.png, NAME.mask.1.png ..., also .jpg."""
    every = beginning.parent.glob(f"{beginning.name}.*")
    return sorted(path for path in every if path.suffix.lower() in (".png", ".jpg", ".jpeg"))


def read_objects(path: Path, name: str) -> np.ndarray:
    """(H, W) uint8: the class of the folder where a mask of the picture shows an object. path: the first of them."""
    seen: np.ndarray | None = None
    for file in _masks_of(path.with_name(path.name.split(".mask.")[0] + ".mask")):
        red = np.asarray(decode(file, name=f"{path.parent.name}/{file.name}"))[..., 0] >= 128
        if seen is not None and seen.shape != red.shape:
            raise BadImage(name, f"{file.name} has another size than the masks before it; fetch the data set again")
        seen = red if seen is None else seen | red
    if seen is None:
        raise BadImage(name, "there is no such file")
    return np.where(seen, np.uint8(_FOLDERS[path.parent.name.lower()]), np.uint8(0))
