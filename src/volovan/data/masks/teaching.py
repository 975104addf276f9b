"""Whether the masks or maps of a split teach anything: a run and check-data ask it alike, of all of them."""

from collections.abc import Iterator

import numpy as np

from volovan.data.errors import BadImage
from volovan.data.masks.coding import IGNORE
from volovan.data.masks.maps import SALIENT
from volovan.data.samples import spread_first
from volovan.data.source import Source

_FIRST = 100  # targets, spread over all, that are read first: as a rule they are enough


def useless_masks(spec: object, source: Source[np.ndarray], split: str) -> str:
    """Why nothing can be learned from masks or scored on them, "" if it can. To learn, two classes are needed.

    spec  what the user calls the source
    """
    enough = min(2, len(source.classes)) if split == "train" else 1
    found: set[int] = set()
    readable = False
    for mask in _targets(source):
        found |= {*np.unique(mask).tolist()} - {IGNORE}
        readable = True
        if len(found) >= enough:
            return ""
    if not readable:
        return ""  # for the loader to report or to skip
    if found:
        only = source.classes[next(iter(found))]
        return (
            f"{spec}: all labelled pixels of the {split} split ({_count(source)}) are {only!r}, so there is nothing to "
            "tell apart; label some of another class"
        )
    other = ", or name other data with --data.val" if split != "train" else ""
    return (
        f"{spec}: all pixels of the {split} split ({_count(source)}) are ignored ({IGNORE}), so nothing can be learned "
        f"or scored; label some of them{other}"
    )


def useless_maps(spec: object, source: Source[np.ndarray], split: str) -> str:
    """Why maps of which none is salient are refused, "" if one is; those to validate on may be empty."""
    largest = -1
    for found in _targets(source):
        largest = max(largest, int(found.max()))
        if largest > SALIENT:
            return ""
    if largest > 0:
        return (
            f"{spec}: the largest value of the {split} split ({_count(source)}) is {largest}, but what is salient lies "
            f"above {SALIENT}, white being 255; if these are numbers of classes, `volovan fit finetune_masks` is for "
            "them"
        )
    if largest == 0 and split == "train":
        count = _count(source)
        return f"{spec}: nothing is salient in the train split ({count}), so nothing can be learned; draw it in some"
    return ""


def _targets(source: Source[np.ndarray]) -> Iterator[np.ndarray]:
    """Those that can be read."""
    for index in spread_first(len(source), _FIRST):
        try:
            yield source.target(index)
        except BadImage:
            continue


def _count(source: Source[np.ndarray]) -> str:
    return f"{len(source):,} mask{'s' if len(source) != 1 else ''}"
