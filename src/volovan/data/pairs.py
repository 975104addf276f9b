"""Which mask belongs to which picture: the same relative path but for the suffix, in two folders.

root/images/a/b.jpg      root/masks/a/b.png           one folder of each, with or without train, val, test inside
root/train/image/b.jpg   root/train/label/b.png       the splits above
root/train/b.jpg         root/trainannot/b.png        (or train_labels, train_masks)
root/train.txt, val.txt  names (with or without suffix), one a line, where the folders themselves have no splits
root/masks.csv           columns image, mask and, if wanted, split; paths relative to the list
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from volovan.data.errors import SourceError, printable
from volovan.data.folder import SPLIT_FOLDERS, pictures_below, split_folders, subfolders
from volovan.data.manifest import read_rows

PICTURE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit", "pictures", "photos", "input")
MASK_FOLDERS = (
    "masks", "mask", "labels", "label", "annotations", "segmentationclass", "gtfine", "gt", "groundtruth",
    "ground_truth", "ground_truth_mask", "targets",
)  # fmt: skip
_SIBLINGS = ("annot", "_labels", "_label", "_masks", "_mask")  # train -> trainannot
_ENDINGS = ("_mask", "_masks", "_label", "_labels", "_L", "_seg", "_gt", "-mask", "_segmentation", ".mask")


@dataclass(frozen=True)
class Pairs:
    """Paths relative to a root, in the order of pictures. unpaired: a sentence for each that has no partner."""

    pictures: tuple[str, ...]
    masks: tuple[str, ...]
    unpaired: tuple[str, ...] = ()


Openers = dict[str, Callable[[], Pairs]]  # split -> pairs; {"": ...} where nothing says which split it is


def find_pairs(root: Path) -> Openers | None:
    """The pairs of a folder in any of the arrangements above, paths relative to root; None if it is in none."""
    for name in ("masks.csv", "pairs.csv"):
        if (root / name).is_file():
            return listed_pairs(root / name)
    if folders := pair_folders(root):
        return _splits_of_two(root, *folders)
    found: Openers = {}
    splits = split_folders(root)
    for split, folder in splits.items():
        beside = ((folder, folder.with_name(folder.name + ending)) for ending in _SIBLINGS)
        if both := pair_folders(folder) or next((both for both in beside if both[1].is_dir()), None):
            found[split] = partial(pair, root, *both)
    if splits and not found:
        return None
    return found or _lists_with_masks(root)


def pair_folders(folder: Path) -> tuple[Path, Path] | None:
    """(folder of pictures, folder of masks) inside folder, by their names."""
    names = {path.name.lower(): path for path in subfolders(folder)}
    pictures = next((names[name] for name in PICTURE_FOLDERS if name in names), None)
    masks = next((names[name] for name in MASK_FOLDERS if name in names), None)
    return (pictures, masks) if pictures and masks else None


def _splits_of_two(root: Path, pictures: Path, masks: Path) -> Openers:
    """The splits inside of two folders, else those of lists beside them, else the one that root is called."""
    inside, inside_masks = split_folders(pictures), split_folders(masks)
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


# two folders


def pair(
    root: Path,
    pictures: Path,
    masks: Path,
    picture_end: str = "",
    mask_end: str | None = None,
    names: Iterable[str] | None = None,
) -> Pairs:
    """Pictures and masks with the same path but for the suffix.

    picture_end, mask_end  what their stems end with, such as _leftImg8bit; mask_end None: nothing, or what fits
    names                  only these stems; default: all
    raises                 SourceError: two files of the same stem, or no pair at all
    """
    picture_of, mask_of = _by_stem(root, pictures, picture_end), _by_stem(root, masks, mask_end or "")
    if mask_end is None and mask_of and not mask_of.keys() & picture_of.keys():
        every = (_by_stem(root, masks, ending) for ending in _ENDINGS)
        mask_of = next((found for found in every if found.keys() & picture_of.keys()), mask_of)
    chosen = sorted(picture_of.keys() | mask_of.keys()) if names is None else list(names)
    both = [stem for stem in chosen if stem in picture_of and stem in mask_of]
    if not both:
        raise SourceError(
            f"no file in {masks} ({len(mask_of)} of them) is called as a picture in {pictures} ({len(picture_of)}); "
            f"expected pairs such as {pictures.name}/NAME.jpg and {masks.name}/NAME.png"
        )
    picture_folder, mask_folder = _relative(root, pictures), _relative(root, masks)
    unpaired: list[str] = []
    for stem in chosen:
        if stem in picture_of and stem not in mask_of:
            unpaired.append(f"{printable(picture_of[stem])} has no mask in {mask_folder}")
        elif stem in mask_of and stem not in picture_of:
            unpaired.append(f"{printable(mask_of[stem])} has no picture in {picture_folder}")
        elif stem not in picture_of:
            unpaired.append(f"{printable(stem)} is listed, but has no picture in {picture_folder}")
    return Pairs(tuple(picture_of[stem] for stem in both), tuple(mask_of[stem] for stem in both), tuple(unpaired))


def _by_stem(root: Path, folder: Path, ending: str) -> dict[str, str]:
    """{path inside of folder without suffix and ending: path relative to root}, of files whose stem ends so."""
    beginning = _relative(root, folder)
    found: dict[str, str] = {}
    for file in pictures_below(folder):
        inside = file.relative_to(folder).as_posix()
        stem = os.path.splitext(inside)[0]
        if not stem.endswith(ending):
            continue
        stem = stem.removesuffix(ending)
        if stem in found:
            raise SourceError(
                f"{printable(found[stem])} and {printable(file.name)} differ only in their suffix, so which of them is "
                "meant is unknown; rename or remove one"
            )
        found[stem] = f"{beginning}/{inside}"
    return found


def _relative(root: Path, path: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


# lists


def name_lists(folder: Path) -> dict[str, tuple[str, ...]]:
    """{"train": names in folder/train.txt, ...} without suffixes."""
    lists = {split: folder / f"{split}.txt" for split in ("train", "val", "test")}
    return {split: read_names(path) for split, path in lists.items() if path.is_file()}


def read_names(path: Path) -> tuple[str, ...]:
    """The names of a list, without the suffix of a picture. Of lines with two files, picture and mask, the first."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read ({error}); expected one name a line") from None
    stems = []
    for line in filter(None, map(str.strip, lines)):
        first, *others = line.split()
        two = others and _has_suffix(Path(first)) and _has_suffix(Path(others[-1]))
        name = Path((first if two else line).lstrip("/"))
        stems.append((name.with_suffix("") if _has_suffix(name) else name).as_posix())
    if not stems:
        raise SourceError(f"{path} is empty; expected one name a line")
    if len(set(stems)) < len(stems):
        twice = next(stem for place, stem in enumerate(stems) if stem in stems[:place])
        raise SourceError(f"{path} lists {twice} twice; remove one of the lines")
    return tuple(stems)


def _has_suffix(name: Path) -> bool:
    return name.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def _lists_with_masks(root: Path) -> Openers | None:
    """Masks and lists of names, the pictures in a folder beside root: in the only one there that has all of them."""
    masks = next((path for path in subfolders(root) if path.name.lower() in MASK_FOLDERS), None)
    lists = name_lists(root) if masks else {}
    if not masks or not lists:
        return None
    needed = {name for names in lists.values() for name in names}
    beside = [root.resolve().parent, *subfolders(root.resolve().parent)]
    candidates = [path for folder in beside for path in subfolders(folder) if path.name.lower() in PICTURE_FOLDERS]
    complete = [
        path
        for path in candidates
        if needed <= {file.relative_to(path).with_suffix("").as_posix() for file in pictures_below(path)}
    ]
    if len(complete) != 1:
        found = " and ".join(map(str, complete)) if complete else "none"
        raise SourceError(
            f"{root} has masks but no pictures, and of the folders beside it exactly one must hold all {len(needed)} "
            f"that its lists name, found {found}; put an images folder into {root}, or write a masks.csv with the "
            "columns image,mask,split"
        )
    return {
        split: partial(pair, root.resolve(), complete[0], masks.resolve(), names=names)
        for split, names in lists.items()
    }


def listed_pairs(path: Path) -> Openers:
    """The pairs of a CSV or TSV with the columns image, mask and, if wanted, split; paths relative to it."""
    (_, heading), *rows = read_rows(path)
    names = [cell.strip().lower() for cell in heading]
    if not {"image", "mask"} <= {*names}:
        raise SourceError(f"{path} has the columns {', '.join(names)}, expected image, mask and, if wanted, split")
    members: dict[str, list[tuple[str, str]]] = {}
    for line, row in rows:
        cells = dict(zip(names, (cell.strip() for cell in row), strict=False))
        split = cells.get("split", "").lower()
        if not cells.get("image") or not cells.get("mask"):
            raise SourceError(f"{path} line {line} lacks the picture or the mask")
        if "split" in names and split not in SPLIT_FOLDERS:
            raise SourceError(f"{path} line {line} has split {split!r}, expected train, val or test")
        members.setdefault(SPLIT_FOLDERS.get(split, ""), []).append((cells["image"], cells["mask"]))
    if not members:
        raise SourceError(f"{path} lists no pictures; expected lines such as images/1.jpg,masks/1.png")
    return {split: partial(_of_list, path, tuple(listed)) for split, listed in members.items()}


def _of_list(path: Path, listed: tuple[tuple[str, str], ...]) -> Pairs:
    missing = [file for both in listed for file in both if not (path.parent / file).is_file()]
    gone = {*missing}
    kept = [both for both in listed if gone.isdisjoint(both)]
    sentences = (f"{printable(file)}, which {path.name} lists, is not there" for file in missing)
    return Pairs(tuple(picture for picture, _ in kept), tuple(mask for _, mask in kept), tuple(sentences))
