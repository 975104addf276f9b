"""Where the pictures of a folder lie, and where their masks.

root/images/a/b.jpg      root/masks/a/b.png           one folder of each, with or without train, val, test inside
root/train/image/b.jpg   root/train/label/b.png       the splits above
root/train/b.jpg         root/trainannot/b.png        two folders for each split (train_images, train_masks)
root/train/b.jpg         root/train/b_mask.png        one folder for both
root/train.txt, val.txt  names, where the folders themselves have no splits
root/masks.csv           two columns of files, also train.csv and val.csv

Folders are known by the words in their names, see name_words.py. How names pair up is said in partners.py.
"""

from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from volovan.data.errors import SourceError
from volovan.data.folder import picture_folders, pictures_below, split_folders, split_named, subfolders, told_splits
from volovan.data.pairing.name_words import MASKS, PICTURES, says_mask, says_pictures, split_in
from volovan.data.pairing.pair_lists import Openers, lists_with_masks, name_lists, pair_tables
from volovan.data.pairing.partners import MASK_SUFFIXES, pair, pair_in_one
from volovan.data.pictures.decoding import SUFFIXES


@dataclass(frozen=True)
class Folders:
    """Where the pictures and the masks of a split are; masks None: with the pictures. names: only these pictures."""

    pictures: Path
    masks: Path | None = None
    names: tuple[str, ...] | None = None


def find_pairs(root: Path) -> Openers | None:
    """The pairs of a folder in any of the arrangements above, paths relative to root; None if it is in none."""
    if tables := pair_tables(root):
        return tables
    found: Openers = {}
    for split, two in two_folders(root).items():
        if two.masks is not None:
            found[split] = partial(pair, root, two.pictures, two.masks, names=two.names)
        elif one := pair_in_one(root, two.pictures):
            found[split] = partial(copy, one)
    return found or lists_with_masks(root)


def two_folders(root: Path) -> dict[str, Folders]:
    """The folders of each split; {"": ...} where nothing says which split it is."""
    if both := pair_folders(root):
        return _splits_of_two(root, *both)
    whole = split_folders(root)
    return _splits_above(root) or ({} if whole else {split_named(root.resolve().name): Folders(root)})


def pair_folders(folder: Path) -> tuple[Path, Path] | None:
    """(folder of pictures, folder of masks) inside folder, by their names; of several the first with a usual name and
    with files. Masks may be results."""
    found = []
    for inside, usual, says, suffixes in (
        (picture_folders(folder), PICTURES, says_pictures, SUFFIXES),
        (subfolders(folder), MASKS, says_mask, MASK_SUFFIXES),
    ):
        folders = [path for path in inside if not split_in(path.name)[0]]
        names = {path.name.lower(): path for path in folders}
        called = [names[name] for name in usual if name in names]
        others = [path for path in folders if says(path.name)]
        if not called and len(others) != 1:
            return None
        found.append(
            next((path for path in called if any(pictures_below(path, suffixes=suffixes))), [*called, *others][0])
        )
    return found[0], found[1]


def _splits_of_two(root: Path, pictures: Path, masks: Path) -> dict[str, Folders]:
    """The splits inside of two folders, else those of lists beside them, else the one that root is called."""
    inside, inside_masks = told_splits(pictures)[0], split_folders(masks)
    if inside:
        for split in {*inside} & {"train", "val"} - {*inside_masks}:
            raise SourceError(f"{pictures} has the folder {inside[split].name}, but {masks} has none of that split")
        return {split: Folders(inside[split], inside_masks[split]) for split in inside if split in inside_masks}
    if lists := name_lists(root):
        above = f"{pictures.name}/"  # some lists begin at root
        return {
            split: Folders(pictures, masks, tuple(name.removeprefix(above) for name in names))
            for split, names in lists.items()
        }
    return {split_named(root.resolve().name): Folders(pictures, masks)}


def _splits_above(root: Path) -> dict[str, Folders]:
    """train/image and train/label, train and train_masks, train_images and train_masks, or both in train."""
    folders: dict[str, dict[str, Path]] = {}  # split -> {what its name says besides: folder}
    for path in subfolders(root):
        split, rest = split_in(path.name)
        if split and (not rest or says_mask(rest) or says_pictures(rest)):
            folders.setdefault(split, {})[rest] = path
    found: dict[str, Folders] = {}
    for split, said in folders.items():
        whole = said.get("")
        masks = [path for rest, path in said.items() if says_mask(rest)]
        pictures = [path for rest, path in said.items() if says_pictures(rest)] or ([whole] if whole else [])
        if whole and (inside := pair_folders(whole)):
            found[split] = Folders(*inside)
        elif len(pictures) == 1 and len(masks) == 1:
            found[split] = Folders(pictures[0], masks[0])
        elif whole:
            found[split] = Folders(whole)
    return found
