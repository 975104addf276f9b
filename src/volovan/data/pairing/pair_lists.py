"""Lists that say which pictures belong to a split, or which mask belongs to which picture.

train.txt, val.txt     names (with or without suffix), one a line
masks.csv, train.csv   two columns of files, picture and mask, and if wanted the split; paths relative to the list
"""

import csv
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from volovan.data.errors import SourceError, printable
from volovan.data.folder import pictures_below, split_named, subfolders
from volovan.data.lists.columns import KNOWN
from volovan.data.lists.listed import find_listed
from volovan.data.lists.manifest import SUFFIXES, delimiter_of, read_rows
from volovan.data.pairing.name_words import MASKS, says_mask, says_pictures
from volovan.data.pairing.partners import MASK_SUFFIXES, Pairs, pair
from volovan.data.samples import join_notes
from volovan.data.source import SPLITS
from volovan.data.text import read_lines
from volovan.files.hidden import is_hidden
from volovan.files.results import results_in

Openers = dict[str, Callable[[], Pairs]]  # split -> pairs; {"": ...} where nothing says which split it is

_FIRST = ("masks", "pairs")  # lists that are taken where others lie beside
_SPLIT_COLUMNS = (*KNOWN["split"], "phase")
_HEAD = 65536


# names


def name_lists(folder: Path) -> dict[str, tuple[str, ...]]:
    """{"train": names in folder/train.txt, ...} without suffixes."""
    lists = {split: folder / f"{split}.txt" for split in SPLITS}
    return {split: read_names(path) for split, path in lists.items() if path.is_file()}


def read_names(path: Path) -> tuple[str, ...]:
    """The names of a list, without the suffix of a picture. Of lines with two files, picture and mask, the first."""
    stems = []
    for _, line in read_lines(path):
        first, *others = line.split()
        two = others and _is_file_name(first) and _is_file_name(others[-1])
        name = Path((first if two else line).replace("\\", "/").lstrip("/"))
        stems.append((name.with_suffix("") if _is_file_name(name.name) else name).as_posix())
    if not stems:
        raise SourceError(f"{path} is empty; expected one name a line")
    if len(set(stems)) < len(stems):
        twice = next(stem for place, stem in enumerate(stems) if stem in stems[:place])
        raise SourceError(f"{path} lists {twice} twice; remove one of the lines")
    return tuple(stems)


def _is_file_name(name: str) -> bool:
    return Path(name.strip()).suffix.lower() in MASK_SUFFIXES


def lists_with_masks(root: Path) -> Openers | None:
    """Masks and lists of names, the pictures in a folder beside root: in the only one there that has all of them."""
    masks = next((path for path in subfolders(root) if path.name.lower() in MASKS), None)
    lists = name_lists(root) if masks else {}
    if not masks or not lists:
        return None
    needed = {name for names in lists.values() for name in names}
    beside = [root.resolve().parent, *subfolders(root.resolve().parent)]
    candidates = [path for folder in beside for path in subfolders(folder) if says_pictures(path.name)]
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


# tables


def pair_tables(folder: Path) -> Openers | None:
    """The pairs that tables in a folder list: masks.csv, or train.csv and val.csv, or the only one; None without."""
    others = results_in(folder) or ()  # a table of predictions is no list of data
    there = (path for path in sorted(folder.glob("*.*")) if path.suffix.lower() in SUFFIXES)
    listed = (path for path in there if not is_hidden(path.name) and path.name not in others and path.is_file())
    tables = [path for path in listed if lists_pairs(path)]
    if first := next((path for name in _FIRST for path in tables if path.stem.lower() == name), None):
        return listed_pairs(first)
    of_splits = {path: split for path in tables if (split := split_named(path.stem))}
    if of_splits:
        found: Openers = {}
        for path, split in of_splits.items():
            if split in found:
                raise SourceError(f"{folder} has two lists of the {split} split, one is {path.name}; remove one")
            found |= listed_pairs(path, split)
        return found
    if len(tables) > 1:
        names = " and ".join(path.name for path in tables)
        raise SourceError(f"{folder} has several lists of pictures and masks, {names}; call one of them masks.csv")
    return listed_pairs(tables[0]) if tables else None


def lists_pairs(path: Path) -> bool:
    """Whether a CSV or TSV lists a picture and a mask in each line, by its first two lines."""
    with suppress(SourceError, OSError, UnicodeDecodeError, csv.Error):
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = file.read(_HEAD).splitlines()[:2] or [""]
        heading, *rows = [*csv.reader(lines, delimiter=delimiter_of(path, lines[0]) or ",")] or [[]]
        columns = _columns(heading, rows)
        return {"image", "mask"} <= columns.keys()
    return False


def _columns(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, int]:
    """{"image": 0, "mask": 1, "split": 2}: columns by what they are called, where their cells are files.

    Without a heading, columns of files are picture and mask, in this order.
    """
    cells = (rows[0] if rows else heading)[: len(heading)]
    files = [place for place, cell in enumerate(cells) if _is_file_name(cell)]
    if all(_is_file_name(heading[place]) for place in files):
        names = ("image", "mask", "split")
        return dict(zip(names, range(len(heading)), strict=False)) if files == [0, 1] else {}
    titles = [cell.strip().lower() for cell in heading]
    places = {
        "image": [place for place in files if says_pictures(titles[place]) or titles[place] in KNOWN["path"]],
        "mask": [place for place in files if says_mask(titles[place])],
        "split": [place for place, title in enumerate(titles) if title in _SPLIT_COLUMNS],
    }
    columns = {name: found[0] for name, found in places.items() if found}
    exact = {"image", "mask"} & {*titles}  # as the docs call them: whatever their cells are
    return columns | {title: titles.index(title) for title in exact}


def listed_pairs(path: Path, split: str = "") -> Openers:
    """The pairs of a table; split: of lines without one. SourceError if it does not list a picture and a mask."""
    rows = read_rows(path)
    columns = _columns(rows[0][1], [row for _, row in rows[1:2]])
    if not {"image", "mask"} <= columns.keys():
        titles = ", ".join(cell.strip().lower() for cell in rows[0][1])
        raise SourceError(f"{path} has the columns {titles}, expected image, mask and, if wanted, split")
    headed = not all(_is_file_name(rows[0][1][columns[name]]) for name in ("image", "mask"))
    members: dict[str, list[tuple[int, str, str]]] = {}
    for line, row in rows[1:] if headed else rows:
        cells = {name: row[place].strip() if place < len(row) else "" for name, place in columns.items()}
        if not cells["image"] or not cells["mask"]:
            raise SourceError(f"{path} line {line} lacks the picture or the mask")
        said = split_named(cells.get("split", split))
        if "split" in cells and not said:
            raise SourceError(f"{path} line {line} has split {cells['split']!r}, expected train, val or test")
        members.setdefault(said, []).append((line, cells["image"], cells["mask"]))
    if not members:
        raise SourceError(f"{path} lists no pictures; expected lines such as images/1.jpg,masks/1.png")
    return {name: partial(_of_table, path, tuple(listed)) for name, listed in members.items()}


def _of_table(path: Path, listed: Sequence[tuple[int, str, str]]) -> Pairs:
    pictures, moved = find_listed(path.parent, [picture for _, picture, _ in listed], str(path))
    masks, masks_moved = find_listed(path.parent, [mask for _, _, mask in listed], str(path))
    missing: list[str] = []
    there: list[tuple[str, str]] = []
    for (line, *_), *both in zip(listed, pictures, masks, strict=True):
        gone = [name for name in both if not (path.parent / name).is_file()]
        missing += [
            f"{printable(name)}, which {path.name} line {line} lists, is not there{_elsewhere(path.parent, name)}"
            for name in gone
        ]
        if not gone:
            there.append((both[0], both[1]))
    note = join_notes(moved, masks_moved)
    return Pairs(tuple(picture for picture, _ in there), tuple(mask for _, mask in there), tuple(missing), note)


def _elsewhere(folder: Path, name: str) -> str:
    """Where a file of that name is, for a remedy."""
    last = name.replace("\\", "/").rpartition("/")[2]
    same = next((path / last for path in (folder, *subfolders(folder)) if (path / last).is_file()), None)
    return f" ({same.relative_to(folder).as_posix()} is: mend the path)" if same else ""
