"""YOLO's annotations: images/train/bed.jpg with labels/train/bed.txt, or train/images with train/labels.

data.yaml or another class file names the classes; train, val and test of data.yaml say where the pictures lie, where
they are there: folders, lists of pictures (.txt), or several of these. The labels of a picture lie where its path says
labels in place of images, else beside it. A picture without a .txt has no objects, as YOLO has it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from volovan.data.errors import SourceError, printable, shortened
from volovan.data.folder import pictures_below
from volovan.data.formats.yolo_pose import Pose, read_pose
from volovan.data.formats.yolo_text import YoloTeller, yolo_lines
from volovan.data.masks.class_files import SETTINGS, ClassFile, find_classes, read_class_file, read_yaml
from volovan.data.masks.coding import unnamed
from volovan.data.objects.files import Tellings, Told
from volovan.data.pairing.inside import find_inside
from volovan.data.pairing.pairs import Folders
from volovan.data.pairing.partners import MASK_SUFFIXES, by_stem, relative
from volovan.data.pictures.decoding import SUFFIXES
from volovan.data.samples import join_notes
from volovan.data.source import SPLITS
from volovan.data.text import read_lines

_LAST = 65535  # class that nobody has named: a larger one is a slip
_NO_LABELS = ("classes",)  # classes.txt, which labelImg puts among them


@dataclass(frozen=True)
class _List:
    """A file that lists pictures, one a line."""

    path: Path


_Place = Folders | _List
_Places = Mapping[str, Sequence[_Place]]


def yolo_splits(root: Path, folders: Mapping[str, Folders], points: bool = False) -> Tellings | None:
    """{split: opener} of pictures with .txt files, None if there are none; folders: as two_folders says. points: None
    also where data.yaml says nothing of points."""
    settings = _settings_in(root)
    if points and (settings is None or read_pose(settings) is None):
        return None
    found = _stated(root, settings) if settings else {}
    found = found or _of_layout(root, folders)
    return {split: partial(_open, root, split, found, None, points) for split in found} or None


def yolo_file_splits(settings: Path, folders: Mapping[str, Folders], points: bool = False) -> Tellings | None:
    """The splits of a data.yaml that is named itself, whatever it is called; None if it is none. Where it says
    nothing of them, they are those of the folders beside it."""
    said = read_yaml(settings)
    if not isinstance(said, dict) or not ({*SPLITS, "names"} & said.keys()):
        return None
    root = settings.parent
    stated = {*SPLITS} & said.keys()
    found = _stated(root, settings) if stated else _of_layout(root, folders)
    if not found and stated:
        entries = ", ".join(f"{split}: {shortened(said[split])}" for split in SPLITS if said.get(split))
        raise SourceError(
            f"{settings} says where pictures are ({entries or 'nowhere'}), but no such folder or list with labels "
            "(images/... and labels/...) is there; mend path, train and val in it"
        )
    if points and read_pose(settings) is None:
        raise SourceError(
            f"{settings} has no kpt_shape, so its labels are boxes or outlines without points; add kpt_shape: [points, "
            "3] if points stand behind the boxes"
        )
    return {split: partial(_open, root, split, found, settings, points) for split in found} or None


# where pictures and labels are


def _settings_in(root: Path) -> Path | None:
    return next((root / name for name in SETTINGS if (root / name).is_file()), None)


def _of_layout(root: Path, folders: Mapping[str, Folders]) -> dict[str, list[_Place]]:
    return {split: [two] for split, two in folders.items() if _has_labels(root, two)}


def _stated(root: Path, settings: Path) -> dict[str, list[_Place]]:
    """What data.yaml names, where pictures and labels are there."""
    said = read_yaml(settings)
    if not isinstance(said, dict):
        return {}
    found: dict[str, list[_Place]] = {}
    for split in SPLITS:
        entries = said.get(split)
        for entry in entries if isinstance(entries, list) else [entries]:
            path = _find(root, str(said.get("path") or ""), entry)
            if path is None:
                continue
            place = Folders(path, _labels_of(root, path)) if path.is_dir() else _List(path)
            if _has_labels(root, place):
                found.setdefault(split, []).append(place)
    return found


def _find(root: Path, above: str, entry: Any) -> Path | None:
    """The folder or list of an entry of data.yaml."""
    name = entry.replace("\\", "/") if isinstance(entry, str) else ""
    inside = root / name.replace("../", "")  # ../train/images is what Roboflow writes into the folder of train
    tried = (*[inside] * (not above), root / above / name, root / name, inside)
    return next((path for path in tried if name and (path.is_dir() or path.is_file())), None)


def _labels_of(root: Path, pictures: Path) -> Path:
    """Where the labels of a folder of pictures are; what is above root says nothing."""
    parts = pictures.relative_to(root).parts if pictures.is_relative_to(root) else pictures.parts
    if "images" not in parts:
        return pictures
    place = max(at for at, part in enumerate(parts) if part == "images")
    return Path(root, *parts[:place], "labels", *parts[place + 1 :])


def _has_labels(root: Path, place: _Place) -> bool:
    """Whether there are .txt files, and no masks in the place of masks."""
    if isinstance(place, _List):
        return place.path.suffix.lower() == ".txt"
    if place.masks is None or not place.masks.is_dir():
        return False
    if place.masks == place.pictures:
        return bool(_labels(root, place).keys() & by_stem(root, place.pictures, SUFFIXES).keys())
    return not any(pictures_below(place.masks, suffixes=MASK_SUFFIXES)) and bool(_labels(root, place))


def _labels(root: Path, two: Folders) -> dict[str, str]:
    """{stem: path from root}."""
    if two.masks is None or not two.masks.is_dir():
        return {}
    files = by_stem(root, two.masks, (".txt",))
    return {stem: file for stem, file in files.items() if stem not in _NO_LABELS}


# a split


def _open(root: Path, split: str, every: _Places, settings: Path | None, points: bool) -> Told:
    pairs: dict[str, str] = {}  # path of a picture -> that of its labels, "" without
    unpaired: list[str] = []
    for place in every[split]:
        found, without = _listed(root, place) if isinstance(place, _List) else _paired(root, place)
        pairs |= found
        unpaired += without
    bare = [*pairs.values()].count("")
    nothing = f"{bare:,} of {len(pairs):,} pictures have no .txt: nothing is marked in them." if bare else ""
    stated = settings or _settings_in(root)
    said = read_yaml(stated) if stated else None
    boxes_of_poses = isinstance(said, dict) and "kpt_shape" in said and not points
    pose = read_pose(stated) if points and stated else None
    posed = pose.note if pose else "Of boxes with keypoints the boxes are taken." if boxes_of_poses else ""
    behind = pose or boxes_of_poses
    places = [place for places in every.values() for place in places]
    classes, ids, note = _classes(root, places, settings, behind)
    teller = YoloTeller(root, [*pairs.values()], behind)
    skeleton = pose.skeleton if pose else None
    return Told(root, [*pairs], teller, classes, ids, "YOLO", join_notes(note, nothing, posed), unpaired, skeleton)


def _paired(root: Path, two: Folders) -> tuple[dict[str, str], list[str]]:
    """({picture: labels}, sentences on what has no partner)."""
    pictures, labels = by_stem(root, two.pictures, SUFFIXES), _labels(root, two)
    chosen = sorted(pictures) if two.names is None else two.names
    unpaired = [f"{printable(stem)} is listed, but has no picture" for stem in chosen if stem not in pictures]
    if two.masks != two.pictures:  # beside pictures there may be other texts
        unpaired += [
            f"{printable(labels[stem])} has no picture in {relative(root, two.pictures)}"
            for stem in sorted(labels.keys() - pictures.keys())
        ]
    return {pictures[stem]: labels.get(stem, "") for stem in chosen if stem in pictures}, unpaired


def _listed(root: Path, place: _List) -> tuple[dict[str, str], list[str]]:
    """The same of a list."""
    found: dict[str, str] = {}
    missing: list[str] = []
    folders = [*dict.fromkeys((place.path.parent, root))]
    for line, name in read_lines(place.path):
        picture = find_inside(folders, name)
        if picture is None:
            missing.append(f"{printable(name)} is not there, which {place.path.name} lists in line {line}")
            continue
        labels = _labels_of(root, picture.parent) / f"{picture.stem}.txt"
        found[relative(root, picture)] = relative(root, labels) if labels.is_file() else ""
    return found, missing


# classes


def _classes(
    root: Path, places: Iterable[_Place], settings: Path | None, points: bool | Pose
) -> tuple[tuple[str, ...], dict[int, int], str]:
    """(classes, id in the files -> class number, note). points: as `YoloTeller` takes it."""
    folders = [place for place in places if isinstance(place, Folders)]
    told = _told_classes(root, [two.masks for two in folders if two.masks and two.masks.is_dir()], settings)
    if told is not None:
        _check_count(told.path)
        names, ids = told.coding.classes, told.coding.ids
        first = {number: min(id for id, of in ids.items() if of == number) for number in range(len(names))}
        order = sorted(first, key=first.__getitem__)  # that of the ids, which files may be written with again
        place = {number: place for place, number in enumerate(order)}
        return tuple(names[number] for number in order), {id: place.get(of, of) for id, of in ids.items()}, told.note
    used = {
        number: f"{root / file} {place}"
        for file in _label_files(root, places)
        for place, number, _ in yolo_lines(root / file, printable(file), points)
    }
    if (last := max(used, default=0)) > _LAST:
        raise SourceError(f"{used[last]} has class {last}; name the classes in a data.yaml, or mend the line")
    names = unnamed(last + 1)
    return names, {number: number for number in range(len(names))}, "No class file names the classes."


def _told_classes(root: Path, folders: Sequence[Path], settings: Path | None) -> ClassFile | None:
    """Of a data.yaml that the user named, if it names classes; else of the class file that is there."""
    said = read_yaml(settings) if settings else None
    own = settings is not None and isinstance(said, dict) and "names" in said
    return read_class_file(settings) if settings is not None and own else find_classes(root, folders)


def _check_count(path: Path) -> None:
    """SourceError where a data.yaml names more or fewer classes than it says."""
    said = read_yaml(path) if path.suffix.lower() in (".yaml", ".yml") else None
    count, names = (said.get("nc"), said.get("names")) if isinstance(said, dict) else (None, None)
    if count is not None and isinstance(names, list | dict) and count != len(names):
        raise SourceError(f"{path} says nc: {shortened(count)}, but names {len(names)} classes; mend either of them")


def _label_files(root: Path, places: Iterable[_Place]) -> Iterator[str]:
    for place in places:
        found = _listed(root, place)[0].values() if isinstance(place, _List) else _labels(root, place).values()
        yield from filter(None, found)
