"""Words in names of folders, files and columns that say which of them are pictures and which are masks."""

import os
import re
from collections.abc import Callable, Iterator

from volovan.data.folder import SPLIT_FOLDERS
from volovan.data.pictures.decoding import SUFFIXES

PICTURES = (  # of several folders the first one is taken
    "images", "image", "imgs", "img", "jpegimages", "leftimg8bit", "pictures", "picture", "photos", "photo", "input",
    "inputs", "im", "rgb", "sat",
)  # fmt: skip
MASKS = (
    "masks", "mask", "labels", "label", "annotations", "segmentationclass", "gtfine", "gt", "groundtruth",
    "ground_truth", "ground_truth_mask", "targets", "target", "ann", "anns", "annotation", "annot", "seg", "segs",
    "segmentation", "segmentations", "gts", "truth", "alpha", "alphas", "matte", "mattes", "segmentationclasspng",
)  # fmt: skip
_IN_MASKS = {*MASKS, *(suffix[1:] for suffix in SUFFIXES)}  # NAME.jpg.png, NAME_jpg_mask.png
_LEFT_OF_CAMVID = "L"  # 0001TP_006690_L.png; in small letters it may mean left


def words_of(name: str) -> list[str]:
    """Parts of a name, of which a number behind a word is one: "mask12" and "mask_12" are the same."""
    found: list[str] = []
    for part in filter(None, re.split(r"[_\-. ]+", name)):
        match = re.fullmatch(r"([^\W\d_]+)(\d+)", part)
        found += match.groups() if match and match[1].lower() in {*PICTURES, *MASKS} else (part,)
    return found


def says_mask(name: str) -> bool:
    return any(word.lower() in MASKS for word in words_of(name))


def says_pictures(name: str) -> bool:
    return not says_mask(name) and any(word.lower() in PICTURES for word in words_of(name))


def split_in(name: str) -> tuple[str, str]:
    """(split, what is left) of a folder: ("train", "masks") of train_masks and of "masks-training", else ("", name)."""
    words = words_of(name)
    if len(words) == 1:  # trainannot
        begun = next((word for word in SPLIT_FOLDERS if name.lower().startswith(word)), "")
        if begun and name[len(begun) :].lower() in MASKS:
            words = [begun, name[len(begun) :]]
    splits = [word for word in words if word.lower() in SPLIT_FOLDERS]
    if len(splits) != 1:
        return "", name
    return SPLIT_FOLDERS[splits[0].lower()], "_".join(word for word in words if word != splits[0])


# names of files, as paths without suffix


def plain(stem: str) -> str:
    """The same for names that differ in what stands between their words."""
    return _joined(stem, words_of(os.path.basename(stem)))


def without_mask_word(stem: str) -> Iterator[str]:
    """plain names without one of the words that say mask, and without any of them."""
    yield from _without(stem, lambda word: word.lower() in _IN_MASKS or word == _LEFT_OF_CAMVID)


def without_picture_word(stem: str) -> Iterator[str]:
    yield from _without(stem, lambda word: word.lower() in PICTURES)


def _without(stem: str, said: Callable[[str], bool]) -> Iterator[str]:
    words = words_of(os.path.basename(stem))
    places = [place for place, word in enumerate(words) if said(word)]
    for left_out in (*([place] for place in places), places):
        if left_out and (kept := [word for place, word in enumerate(words) if place not in left_out]):
            yield _joined(stem, kept)


def _joined(stem: str, words: list[str]) -> str:
    return os.path.join(os.path.dirname(stem), "_".join(words))
