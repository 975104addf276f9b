"""Whether the masks or maps of a split teach anything: a run and check-data ask it alike, of all of them."""

from collections.abc import Callable, Iterator

import numpy as np

from volovan.data.errors import BadImage
from volovan.data.maps import SALIENT
from volovan.data.masks import IGNORE
from volovan.data.samples import spread_indices
from volovan.data.source import Source

_FIRST = 100  # targets, spread over all, that are read first: as a rule one of them is enough


def unlabelled(source: Source[np.ndarray], split: str) -> str:
    """Why nothing can be learned from masks or scored on them, "" if it can."""
    if not _none(source, lambda mask: bool((mask != IGNORE).any())):
        return ""
    other = ", or name other data with --data.val" if split != "train" else ""
    return (
        f"all pixels of the {split} split ({_count(source)}) are ignored ({IGNORE}), so nothing can be learned or "
        f"scored; label some of them{other}"
    )


def class_numbers(source: Source[np.ndarray], split: str) -> str:
    """Why maps with values, none of which is salient, are refused: they name classes, it seems. "" if one is salient,
    or none has any value."""
    if not _none(source, lambda found: int(found.max()) > SALIENT):
        return ""
    most = max((int(found.max()) for found in _targets(source)), default=0)
    if not most:
        return ""
    return (
        f"the largest value of the {split} split ({_count(source)}) is {most}, but what is salient lies above "
        f"{SALIENT}, white being 255; if these are numbers of classes, `volovan fit finetune_masks` is for them"
    )


def _none(source: Source[np.ndarray], useful: Callable[[np.ndarray], bool]) -> bool:
    """Whether no target is useful. One that cannot be read is for the loader to report or to skip; so are all."""
    read = False
    for target in _targets(source):
        if useful(target):
            return False
        read = True
    return read


def _targets(source: Source[np.ndarray]) -> Iterator[np.ndarray]:
    for index in dict.fromkeys([*spread_indices(len(source), _FIRST), *range(len(source))]):
        try:
            yield source.target(index)
        except BadImage:
            continue


def _count(source: Source[np.ndarray]) -> str:
    return f"{len(source):,} mask{'s' if len(source) != 1 else ''}"
