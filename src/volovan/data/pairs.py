"""Where the pictures of a folder lie, and where their masks.

root/images/a/b.jpg      root/masks/a/b.png           one folder of each, with or without train, val, test inside
root/train/image/b.jpg   root/train/label/b.png       the splits above
root/train/b.jpg         root/trainannot/b.png        two folders for each split (train_images, train_masks)
root/train/b.jpg         root/train/b_mask.png        one folder for both
root/train.txt, val.txt  names, where the folders themselves have no splits
root/masks.csv           two columns of files, also train.csv and val.csv

Folders are known by the words in their names, see name_words.py. How names pair up is said in partners.py.
"""

from functools import partial
from pathlib import Path

from volovan.data.decoding import SUFFIXES
from volovan.data.errors import SourceError
from volovan.data.folder import SPLIT_FOLDERS, pictures_below, split_folders, subfolders, told_splits
from volovan.data.name_words import MASKS, PICTURES, says_mask, says_pictures, split_in
from volovan.data.pair_lists import Openers as Openers
from volovan.data.pair_lists import lists_with_masks, name_lists, pair_tables
from volovan.data.partners import MASK_SUFFIXES, pair_in_one
from volovan.data.partners import Pairs as Pairs
from volovan.data.partners import pair as pair


def find_pairs(root: Path) -> Openers | None:
    """The pairs of a folder in any of the arrangements above, paths relative to root; None if it is in none."""
    if tables := pair_tables(root):
        return tables
    if folders := pair_folders(root):
        return _splits_of_two(root, *folders)
    whole = split_folders(root)
    if (splits := _splits_above(root)) or whole:
        return splits or None
    if lists := lists_with_masks(root):
        return lists
    if alone := pair_in_one(root, root):
        return {SPLIT_FOLDERS.get(root.resolve().name.lower(), ""): partial(_given, alone)}
    return None


def pair_folders(folder: Path) -> tuple[Path, Path] | None:
    """(folder of pictures, folder of masks) inside folder, by their names."""
    return _both([path for path in subfolders(folder) if not split_in(path.name)[0]])


def _both(folders: list[Path]) -> tuple[Path, Path] | None:
    """The one that says pictures and the one that says masks; of several the first with a usual name and with files."""
    names = {path.name.lower(): path for path in folders}
    found = []
    for usual, says, suffixes in ((PICTURES, says_pictures, SUFFIXES), (MASKS, says_mask, MASK_SUFFIXES)):
        called = [names[name] for name in usual if name in names]
        others = [path for path in folders if says(path.name)]
        if not called and len(others) != 1:
            return None
        found.append(
            next((path for path in called if any(pictures_below(path, suffixes=suffixes))), [*called, *others][0])
        )
    return found[0], found[1]


def _splits_of_two(root: Path, pictures: Path, masks: Path) -> Openers:
    """The splits inside of two folders, else those of lists beside them, else the one that root is called."""
    inside, inside_masks = told_splits(pictures)[0], split_folders(masks)
    if inside:
        for split in {*inside} & {"train", "val"} - {*inside_masks}:
            raise SourceError(f"{pictures} has the folder {inside[split].name}, but {masks} has none of that split")
        return {
            split: partial(pair, root, inside[split], inside_masks[split]) for split in inside if split in inside_masks
        }
    if lists := name_lists(root):
        above = f"{pictures.name}/"  # some lists begin at root
        return {
            split: partial(pair, root, pictures, masks, names=[name.removeprefix(above) for name in names])
            for split, names in lists.items()
        }
    return {SPLIT_FOLDERS.get(root.resolve().name.lower(), ""): partial(pair, root, pictures, masks)}


def _splits_above(root: Path) -> Openers:
    """train/image and train/label, train and train_masks, train_images and train_masks, or both in train."""
    folders: dict[str, dict[str, Path]] = {}  # split -> {what its name says besides: folder}
    for path in subfolders(root):
        split, rest = split_in(path.name)
        if split and (not rest or says_mask(rest) or says_pictures(rest)):
            folders.setdefault(split, {})[rest] = path
    found: Openers = {}
    for split, said in folders.items():
        masks = [path for rest, path in said.items() if says_mask(rest)]
        whole = said.get("")
        pictures = [path for rest, path in said.items() if says_pictures(rest)] or ([whole] if whole else [])
        if whole and (inside := pair_folders(whole)):
            found[split] = partial(pair, root, *inside)
        elif len(pictures) == 1 and len(masks) == 1:
            found[split] = partial(pair, root, pictures[0], masks[0])
        elif whole and (one := pair_in_one(root, whole)):
            found[split] = partial(_given, one)
    return found


def _given(pairs: Pairs) -> Pairs:
    return pairs
