"""Class folders, root/<class>/<picture>, with or without train, val and test above them; and flat folders."""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from volovan.data.errors import SourceError, printable
from volovan.data.pictures.decoding import SUFFIXES
from volovan.data.samples import FileSource, join_notes
from volovan.files.hidden import is_hidden
from volovan.files.results import holds_results_alone, named_above, results_in

SPLIT_FOLDERS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def by_split(names: Sequence[str], split_of: Callable[[str], str], what: str) -> tuple[dict[str, list[int]], str]:
    """({split: places of the names}, note) of folders or files that lie together; {"": all} where they are no splits.

    A single one that is called like a split, among others that are not, may be anything, a class of trains too: it is
    a split only where each of the others is one, or where a second split lies beside. Then the others are left out.

    split_of  the split that a name says, "" for none
    what      they are, such as "folders"
    """
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        found.setdefault(split_of(name), []).append(place)
    if "" not in found or len(found) == 1:
        return found, ""
    others = listed_names([names[place] for place in found.pop("")])
    splits = listed_names([names[places[0]] for places in found.values()])
    if len(found) > 1:
        return found, f"The {what} {others} are left out, since {splits} beside them are splits."
    note = f"{splits} is not taken for a split, since the {what} {others} lie beside it; if it is one, move those away."
    return {"": list(range(len(names)))}, note


def listed_names(names: Sequence[str], most: int = 5) -> str:
    """The first names, for a sentence."""
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + rest


def split_named(name: str) -> str:
    """The split that a folder is called like, "" if it is not."""
    return SPLIT_FOLDERS.get(name.lower(), "")


def split_in(name: str) -> str:
    """The split that the name of a file begins with, as in train-000000.tar or validation_2.parquet; "" for none."""
    word = re.match("[a-z]*", name.lower())
    assert word is not None  # it may be empty
    return {**SPLIT_FOLDERS, "trainval": "train", "dev": "val"}.get(word[0], "")


def split_folders(root: Path) -> dict[str, Path]:
    """{"train": root/train, "val": root/validation, ...}: those that are there, whatever lies beside them."""
    found: dict[str, Path] = {}
    for folder in subfolders(root):
        split = split_named(folder.name)
        if split in found:
            raise SourceError(f"{root} has two {split} folders, {found[split].name} and {folder.name}; rename one")
        if split:
            found[split] = folder
    return found


def told_splits(root: Path) -> tuple[dict[str, Path], str]:
    """(split folders, note) of a folder whose other folders hold pictures too, as `by_split` tells them."""
    folders = subfolders(root)
    if not any(split_named(folder.name) for folder in folders):
        return {}, ""
    filled = [folder.name for folder in folders if split_named(folder.name) or any(pictures_below(folder))]
    found, note = by_split(filled, split_named, "folders")
    return {} if "" in found else split_folders(root), note


def folder_splits(root: Path) -> dict[str, Callable[[], FileSource]]:
    """{split: opener}. A folder without split folders is {"": opener}, or its own split if it is called like one."""
    splits, note = told_splits(root)
    if not splits:
        own = split_named(root.resolve().name)
        return {own: partial(class_folders, root, root, tuple(folder.name for folder in picture_folders(root)), note)}
    # One numbering for all splits, also where a class occurs in one only.
    classes = sorted({folder.name for split in splits.values() for folder in picture_folders(split)})
    return {split: partial(class_folders, root, folder, tuple(classes), note) for split, folder in splits.items()}


@dataclass
class LeftOut:
    """What lies among pictures and is not taken: links that lead back to a folder above, results, and other files, by
    suffix."""

    links: list[Path] = field(default_factory=list)
    results: list[Path] = field(default_factory=list)
    suffixes: Counter[str] = field(default_factory=Counter)

    def notes(self, root: Path) -> list[str]:
        """A sentence for each kind, with paths from root."""
        found = []
        if self.suffixes:
            kinds = ", ".join(f"{suffix or 'no suffix'}: {count}" for suffix, count in sorted(self.suffixes.items()))
            found.append(
                f"{self.suffixes.total():,} files are left out since their suffix is not that of a picture ({kinds})."
            )
        if self.links:
            names = ", ".join(printable(path.relative_to(root).as_posix()) for path in self.links)
            found.append(f"{len(self.links)} links are left out since they lead back to a folder above ({names}).")
        if self.results:
            names = ", ".join(sorted({printable(os.path.relpath(path, root)) for path in self.results}))
            found.append(f"What volovan has written as results is left out ({names}).")
        return found


def class_folders(root: Path, folder: Path, classes: tuple[str, ...], note: str = "") -> FileSource:
    """The pictures below folder/<class>; without class folders those in folder, unlabelled. Names start at root."""
    numbers = {name: number for number, name in enumerate(classes)}
    files: list[str] = []
    labels: list[int] = []
    entries, filled = _entries(folder), picture_folders(folder)
    left = LeftOut([path for path in entries if _leads_above(path)])
    left.results += [path for path in entries if path not in left.links and path not in filled]
    for subfolder in filled if classes else []:
        pictures = [file.relative_to(root).as_posix() for file in pictures_below(subfolder, left)]
        files += pictures
        labels += [numbers[subfolder.name]] * len(pictures)
    if files:
        return FileSource(root, files, labels, classes, join_notes(note, *left.notes(root)))
    left = LeftOut()
    flat = [file.relative_to(root).as_posix() for file in pictures_below(folder, left)]
    if not flat:
        but = " but results of volovan, which are never taken for them" if left.results else ""
        expected = f"{folder.name}/<class>/<picture>.jpg, or tar shards"
        raise SourceError(f"{folder} holds no pictures{but}; expected {expected}")
    known = () if folder == root else classes  # beside flat pictures, an empty folder is no class
    return FileSource(root, flat, None, known, join_notes(note, *left.notes(root)))


def subfolders(folder: Path) -> list[Path]:
    """Visible subfolders in plain order of their names, which is the order of class numbers everywhere in the field.

    Links are followed, except those that lead back above: such a link would be a class that repeats all pictures. One
    that holds nothing but results is left out, unless they belong to a folder above, as masks beside their pictures do.
    """
    return [path for path in _entries(folder) if not _leads_above(path) and not holds_results_alone(path)]


def picture_folders(folder: Path) -> list[Path]:
    """Subfolders that may hold pictures of the user: none of results."""
    return [path for path in subfolders(folder) if not _holds_results(path)]


def _entries(folder: Path) -> list[Path]:
    try:
        # of os.path, since a link to itself has no state
        entries = [one for one in os.scandir(folder) if not is_hidden(one.name) and os.path.isdir(one.path)]
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}") from None
    return [Path(entry.path) for entry in sorted(entries, key=lambda entry: entry.name)]


def _holds_results(folder: Path) -> bool:
    return holds_results_alone(folder, named_above(folder))


def _leads_above(path: Path) -> bool:
    """Whether path is a link to the folder that it lies in, or to one above."""
    return path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve())


def pictures_below(folder: Path, left: LeftOut | None = None, suffixes: Collection[str] = SUFFIXES) -> Iterator[Path]:
    """Files with the suffix of a picture, at any depth, in order; links are followed unless they lead back above.

    Results are left out, but for masks those that a folder above names: they may belong to pictures beside them.

    left      gets what is left out
    suffixes  others than those of pictures, as masks and their outlines have
    """
    seen: set[tuple[int, int]] = set()
    named = named_above(folder) if suffixes is SUFFIXES else ()
    if "" in named:
        if left is not None:
            left.results.append(folder)
        return
    results = {os.path.join(folder, name) for name in named}
    if results and left is not None:
        left.results.append(folder)
    for path, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        if (names := results_in(path)) is not None:
            results |= {os.path.join(path, name) for name in names}
            if left is not None:
                left.results.append(Path(path))
        folders[:] = [name for name in folders if os.path.join(path, name, "") not in results]
        back = sorted(name for name in folders if not is_hidden(name) and _leads_above(Path(path, name)))
        folders[:] = sorted(name for name in folders if not is_hidden(name) and name not in back)
        if left is not None:
            left.links += [Path(path, name) for name in back]
        for name in sorted(files):
            suffix = os.path.splitext(name)[1].lower()
            if is_hidden(name) or os.path.join(path, name) in results:
                continue
            if suffix in suffixes:
                yield Path(path, name)
            elif left is not None:
                left.suffixes[suffix] += 1
