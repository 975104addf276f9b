"""Of which kind the targets of a source are, where nobody says it: volovan check-data looks at the layout."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import permutations
from pathlib import Path

import numpy as np

from volovan.data.errors import BadImage, SourceError
from volovan.data.folder import pictures_below, split_folders, subfolders
from volovan.data.formats.coco_panoptic import panoptic_files, panoptic_folder_splits
from volovan.data.formats.coco_places import is_panoptic
from volovan.data.layouts.classes import known_pictures
from volovan.data.layouts.maps import salient_splits
from volovan.data.layouts.masks import known_masks, with_wrapped
from volovan.data.layouts.told import says_points, told_besides, told_file, told_without_masks
from volovan.data.lists.manifest import SUFFIXES as TABLES
from volovan.data.masks.class_files import find_class_file
from volovan.data.masks.folder import mask_folders
from volovan.data.masks.maps import grey_of
from volovan.data.objects.files import Tellings
from volovan.data.packs.packed import is_pack
from volovan.data.packs.table import read_about
from volovan.data.pairing.pair_lists import Openers, listed_pairs, lists_pairs
from volovan.data.pairing.pairs import find_pairs
from volovan.data.pictures.decoding import decode_stored
from volovan.data.samples import join_notes, spread_first, spread_indices
from volovan.data.synthetic.shapes_sources import is_shapes

_LOOKED_AT = 8  # masks
_SOFT = 100  # grey values from which on masks are soft, not classes
_SOME = 16  # likewise, where most pixels are black or white
_NEAR = 12  # grey values from black or from white, as JPEG makes them
_FOLDERS = 8  # more are classes, whatever their files are called
GUESSES = {
    "mask": "The masks look like ids of classes; --task saliency reads saliency masks instead.",
    "map": "The masks look like those of what is salient (black and white, or soft); --task segment reads them as ids.",
}
"""why masks are taken for one kind, where they may be of the other"""
_OUTLINES = "Masks are drawn from the outlines of objects; --task detect reads the objects."
_OBJECTS = "Masks are read; --task detect reads the objects that are annotated beside them."
_SHAPES = (
    "Scenes of shapes are read with class masks; --task saliency reads saliency masks instead, --task detect objects, "
    "--task pose their points, --task panoptic segments."
)
_POINTS = "Named points are read; --task detect reads the boxes of their objects."
_SEGMENTS = "Panoptic segments are listed as well; --task panoptic reads those."


def recognise(spec: str) -> tuple[str, str]:
    """(kind, why): "class", "mask", "map", "boxes", "points" or "panoptic", as open_source takes it.

    why: a sentence, "" where there is no other reading.

    raises  SourceError: it has masks, but their lists cannot be read, or nothing says which folder is which
    """
    if is_shapes(spec):
        return "mask", _SHAPES
    path = Path(spec).expanduser() if spec.strip() else Path("\0")
    if is_pack(path):
        kind = read_about(path).kind
        return ("class" if kind in ("labels", "numbers", "none") else kind), ""
    if path.suffix.lower() in TABLES and path.is_file():
        return _by_masks(path.parent, listed_pairs(path), path.parent) if lists_pairs(path) else ("class", "")
    if is_panoptic(path):
        return "panoptic", ""
    if path.is_file() and (told := told_file(path)):
        return ("points", _POINTS) if says_points(path) else _by_outlines(told)
    if not path.is_dir():
        return "class", ""
    for folder in with_wrapped(path):
        if salient_splits(folder):
            return "map", ""
        if known_masks(folder):
            return "mask", join_notes(_OBJECTS if told_besides(folder) else "", _segments_beside(folder))
        if known_pictures(folder):
            return "class", ""
        if told := told_without_masks(folder):
            kind, why = ("points", _POINTS) if says_points(folder) else _by_outlines(told)
            return kind, join_notes(why, _segments_beside(folder))
        if panoptic_folder_splits(folder):
            return "panoptic", ""
        if openers := find_pairs(folder):
            return _by_masks(folder, openers, path)
    _refuse_unnamed_masks(path)
    return "class", ""


def _segments_beside(folder: Path) -> str:
    """A sentence, where panoptic annotations lie beside what is read."""
    with suppress(SourceError):  # they are not read
        return _SEGMENTS if any(any(panoptic_files(one)) for one in with_wrapped(folder)) else ""
    return ""


def _by_masks(folder: Path, openers: Openers, above: Path) -> tuple[str, str]:
    """What the masks say; those of a class file, or one for each class, are in no doubt."""
    pairs = next(iter(openers.values()))()
    if pairs.layers or find_class_file(folder, [above, *mask_folders(folder, pairs.masks)]):
        return "mask", _OBJECTS if told_besides(folder) else ""
    chosen = spread_first(len(pairs.masks), _LOOKED_AT)
    kind = "map" if _look_salient(folder.resolve() / pairs.masks[index] for index in chosen) else "mask"
    return kind, GUESSES[kind]


def _by_outlines(told: Tellings) -> tuple[str, str]:
    """A file that is named itself, or a folder: masks, where some can be drawn, else boxes."""
    return ("boxes", "") if next(iter(told.values()))().teller.no_masks() else ("mask", _OUTLINES)


def _look_salient(masks: Iterable[Path]) -> bool:
    """Whether masks are black and white, or soft: very many grey values, or some and most pixels black or white."""
    counts = np.zeros(256, np.int64)
    jpeg = False
    for place, mask in enumerate(masks):
        if place >= _LOOKED_AT and counts[1:].any():
            break  # empty masks alone do not tell
        with suppress(BadImage):
            image = decode_stored(mask, mask.name)
            if image.mode == "P":  # indices, whatever their colours
                return False
            counts += np.bincount(grey_of(image, mask.name).ravel(), minlength=256)
            jpeg |= image.info["format"] == "JPEG"
            if image.mode in ("RGBA", "LA") and np.asarray(image.getchannel("A")).min() < 255:
                return True  # grey_of takes it for a matte
    values = np.flatnonzero(counts).tolist()
    extremes = counts[: _NEAR + 1].sum() + counts[-_NEAR - 1 :].sum()
    both = bool(counts[: _NEAR + 1].any() and counts[-_NEAR - 1 :].any()) and 2 * extremes > counts.sum()
    return values == [0, 255] or len(values) > _SOFT or (both and (jpeg or len(values) > _SOME))


def _refuse_unnamed_masks(path: Path) -> None:
    """SourceError where two folders hold files of the same names, and those of one of them look like masks."""
    for above in (path, *split_folders(path).values()):
        folders = subfolders(above)
        if not 2 <= len(folders) <= _FOLDERS:
            continue
        files = {folder: {file.stem: file for file in pictures_below(folder)} for folder in folders}
        for pictures, masks in permutations(folders, 2):
            both = sorted(files[pictures].keys() & files[masks].keys())
            if len(both) < 2 or len(both) < 0.8 * max(len(files[pictures]), len(files[masks])):
                continue
            chosen = [both[index] for index in spread_indices(len(both), _LOOKED_AT)]
            if _few_values([files[masks][stem] for stem in chosen]) and not _few_values(
                [files[pictures][stem] for stem in chosen]
            ):
                raise SourceError(
                    f"{above} looks like pictures and their masks, and not like classes: {masks.name} has masks for "
                    f"the pictures of {pictures.name}; call the folders images and masks, or list the files in a "
                    "masks.csv with the columns image,mask; if they are classes, say --task classify"
                )


def _few_values(files: Sequence[Path]) -> bool:
    """Whether files are like masks: of one channel, and with few values."""
    values: set[int] = set()
    for file in files:
        with suppress(BadImage):
            image = decode_stored(file, file.name)
            if image.mode not in ("1", "L", "P", "I") and not image.mode.startswith("I;16"):
                return False
            values |= set(np.unique(np.asarray(image)).tolist())
    return 0 < len(values) <= _SOME
