"""Annotations in a file of their own for each picture, called as the picture: Pascal VOC's XML, labelme's JSON.

root/JPEGImages/a.jpg       root/Annotations/a.xml        ImageSets/Main/train.txt, val.txt, test.txt, trainval.txt
root/images/a.jpg           root/annotations/a.xml        also folders xml, xmls, json; deeper ones are fine
root/images/train/a.jpg     root/annotations/train/a.xml  splits inside of the two folders
root/train/a.jpg            root/train/a.json             or above; both files may lie together, in images too
root/images/train/a.jpg     root/annotations/a.xml        or inside of that of the pictures
root/train.txt, val.txt     names, one a line             where the folders have no splits

A picture without such a file is left out: as a rule nobody has looked at it yet.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

from volovan.data.errors import SourceError, printable
from volovan.data.folder import pictures_below, split_folders, split_named, subfolders
from volovan.data.formats.named import Points, told_by_names
from volovan.data.objects.files import Tellings, Told
from volovan.data.objects.kept import Kept
from volovan.data.pairing.name_words import says_mask, says_pictures
from volovan.data.pairing.pair_lists import name_lists, read_names
from volovan.data.pairing.pairs import Folders
from volovan.data.pairing.partners import by_stem
from volovan.data.pictures.decoding import SUFFIXES
from volovan.data.text import read_lines

_LOOKED_AT = 8  # files, to know what a folder holds
_CALLED = ("xml", "xmls", "json", "jsons")


@dataclass(frozen=True)
class Format:
    """suffix: of its files; knows: whether one looks like it, by its beginning; read: what it tells; points: how it
    speaks of named points, where they are read."""

    title: str
    suffix: str
    knows: Callable[[Path], bool]
    read: Callable[[Path], Kept]
    points: Points | None = None


def beside_splits(root: Path, of: Format) -> Tellings | None:
    """{split: opener} of pictures with files of a format, None if there are none."""
    places = _voc_places(root, of) or _places(root, of)
    return {split: partial(_open, root, split, places, of) for split in places} or None


# where pictures and files are


def _voc_places(root: Path, of: Format) -> dict[str, Folders]:
    pictures, files = root / "JPEGImages", root / "Annotations"
    if not pictures.is_dir() or not _holds(files, of):
        return {}
    main = root / "ImageSets" / "Main"
    lists = {split: main / f"{split}.txt" for split in ("train", "val", "test")}
    if not lists["train"].is_file():
        lists["train"] = main / "trainval.txt"
    named = {split: path for split, path in lists.items() if path.is_file() and read_lines(path)}
    found = {split: Folders(pictures, files, read_names(path)) for split, path in named.items()}
    return found or {split_named(root.resolve().name): Folders(pictures, files)}


def _places(root: Path, of: Format) -> dict[str, Folders]:
    splits: dict[str, Path] = {}
    with suppress(SourceError):  # a folder that is something else
        splits = split_folders(root)
    if found := {split: two for split, folder in splits.items() if (two := _two(folder, of))}:
        return found
    if (two := _two(root, of)) is None:
        return {}
    assert two.masks is not None
    inside, pictures = split_folders(two.masks), split_folders(two.pictures)
    if inside:
        return {split: Folders(pictures.get(split, two.pictures), folder) for split, folder in inside.items()}
    if found := _by_pictures(root, pictures, two.masks, of):
        return found
    if lists := name_lists(root):
        above = f"{two.pictures.name}/"  # some lists begin at root
        return {
            split: Folders(two.pictures, two.masks, tuple(name.removeprefix(above) for name in names))
            for split, names in lists.items()
        }
    return {split_named(root.resolve().name): two}


def _by_pictures(root: Path, pictures: Mapping[str, Path], files: Path, of: Format) -> dict[str, Folders]:
    """Splits of pictures whose files lie all together; those without a picture are in the first, which reports them."""
    left = {*by_stem(root, files, (of.suffix,))}
    found: dict[str, Folders] = {}
    for split, folder in pictures.items():
        if own := left & by_stem(root, folder, SUFFIXES).keys():
            left, found[split] = left - own, Folders(folder, files, tuple(sorted(own)))
    for split in [*found][:1]:
        found[split] = replace(found[split], names=(*(found[split].names or ()), *sorted(left)))
    return found


def _two(folder: Path, of: Format) -> Folders | None:
    """(pictures, files) of one folder."""
    inside = subfolders(folder)
    pictures = [path for path in inside if says_pictures(path.name)]
    files = [path for path in inside if says_mask(path.name) or path.name.lower() in _CALLED]
    beside = sorted(path for path in folder.iterdir() if path.suffix.lower() == of.suffix)
    if any(map(of.knows, beside[:_LOOKED_AT])):
        return Folders(_with_pictures([folder, *pictures], folder), folder)
    for place in (*files, *pictures):
        if _holds(place, of):
            others = [] if place in pictures else pictures
            return Folders(_with_pictures([*others, place], folder), place)
    return None


def _holds(folder: Path, of: Format) -> bool:
    return folder.is_dir() and any(map(of.knows, islice(pictures_below(folder, suffixes=(of.suffix,)), _LOOKED_AT)))


def _with_pictures(folders: Sequence[Path], otherwise: Path) -> Path:
    return next((folder for folder in folders if any(pictures_below(folder))), otherwise)


# a split


def _open(root: Path, split: str, places: Mapping[str, Folders], of: Format) -> Told:
    two = places[split]
    assert two.masks is not None  # as they are chosen
    every = {one.masks: by_stem(root, one.masks, (of.suffix,)) for one in places.values() if one.masks is not None}
    files = tuple(sorted({file for found in every.values() for file in found.values()}))
    stamps = tuple(_stamp(root / file) for file in files)
    kept = dict(zip(files, _read(root, files, stamps, of.read), strict=True))
    there = by_stem(root, two.pictures, SUFFIXES)
    stems = every[two.masks]
    chosen = sorted(stems) if two.names is None else two.names
    pictures: dict[str, str] = {}  # path -> the file that tells of it
    unpaired: list[str] = []
    for stem in chosen:
        if stem not in stems:
            unpaired.append(f"{printable(stem)} is listed, but has no {of.suffix} in {two.masks.name}")
            continue
        file = stems[stem]
        picture = next((there[name] for name in _names(stem, kept[file].picture) if name in there), None)
        if picture is None:
            unpaired.append(f"{printable(file)} has no picture in {two.pictures.name}")
        elif picture in pictures:
            both = f"{printable(pictures[picture])} and {printable(file)}"
            raise SourceError(f"{root}: {both} both tell of {printable(picture)}; remove one of them")
        else:
            pictures[picture] = file
    told = {picture: (file, kept[file]) for picture, file in pictures.items()}
    bare = _bare_note(len({*there.values()} - {*pictures}), two, of)
    return told_by_names(root, told, kept, [*every], of.title, bare, unpaired, points=of.points)


def _stamp(path: Path) -> int:
    """0 of a link that leads nowhere, which is named when it is read."""
    return path.stat().st_mtime_ns if path.exists() else 0


@lru_cache(maxsize=2)  # train and val of a run are opened one after the other
def _read(root: Path, files: tuple[str, ...], stamps: tuple[int, ...], read: Callable[[Path], Kept]) -> list[Kept]:
    """What each file tells; stamps change when they do."""
    return [_tried(root / file, read) for file in files]


def _tried(path: Path, read: Callable[[Path], Kept]) -> Kept:
    try:
        return read(path)
    except OSError as error:
        return Kept(wrong=f"cannot be read ({error.strerror})")
    except ValueError as error:
        return Kept(wrong=str(error))


def _names(stem: str, said: str) -> Iterator[str]:
    """What the picture of a file may be called, without suffix: as the file, else as it says, wherever that was."""
    yield stem
    parts = [part for part in said.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for begin in range(len(parts)):
        yield Path(*parts[begin:]).with_suffix("").as_posix()


def _bare_note(count: int, two: Folders, of: Format) -> str:
    if not count or two.names is not None:
        return ""
    return (
        f"{count:,} pictures have no {of.suffix} and are left out; a picture that shows nothing needs one without "
        "objects."
    )
