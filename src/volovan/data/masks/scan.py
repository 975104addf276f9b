"""What the mask files of a folder hold, looked at before it is decided what their values mean."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from volovan.data.errors import BadImage, SourceError, printable
from volovan.data.masks.coding import IGNORE, Colour, mask_values, open_mask, shown_colours


@dataclass(frozen=True)
class Seen:
    """values: the ids in each mask that can be read. broken: of each other one, why not. shown: the colours of
    palettes. clash: which palettes give one of these to several ids, "" if none do."""

    values: dict[str, tuple[int, ...]]
    broken: tuple[BadImage, ...]
    shown: tuple[Colour, ...]
    clash: str

    @property
    def ids(self) -> list[int]:
        """All of them, sorted."""
        return sorted({value for values in self.values.values() for value in values})


def look_at(root: Path, masks: Sequence[str]) -> Seen:
    """masks: paths relative to root."""
    states = ((root / mask).stat() for mask in masks)
    return _look_at(root, tuple(masks), tuple((state.st_size, state.st_mtime_ns) for state in states))


@lru_cache(maxsize=4)  # train and val of a run are opened one after the other
def _look_at(root: Path, masks: tuple[str, ...], stamps: tuple[tuple[int, int], ...]) -> Seen:
    """stamps change when a mask does."""
    values: dict[str, tuple[int, ...]] = {}
    broken: list[BadImage] = []
    first: dict[Colour, tuple[int, str]] = {}  # colour of a palette -> index and mask where it was seen first
    clash = ""
    with ThreadPoolExecutor(2) as pool, tqdm(total=len(masks), desc="read masks", delay=2, disable=None) as bar:
        for mask, found in zip(masks, pool.map(partial(_held, root), masks), strict=True):
            bar.update()
            if isinstance(found, BadImage):
                broken.append(found)
                continue
            values[mask], shown = found
            for index, colour in shown.items():
                other, where = first.setdefault(colour, (index, mask))
                if other != index and not clash:
                    both = f"{printable(where)} and {printable(mask)}"
                    clash = f"the palettes of {both} show the colour {colour} for the ids {other} and {index}"
    return Seen(values, tuple(broken), tuple(sorted(first)), clash)


def _held(root: Path, mask: str) -> tuple[tuple[int, ...], dict[int, Colour]] | BadImage:
    """The ids in a mask, and the colours of those that alone have theirs in its palette."""
    try:
        image = open_mask(root / mask, mask)
        values = mask_values(image, mask)
    except BadImage as error:
        return error
    ids = np.flatnonzero(np.bincount(values.ravel())).tolist()  # faster than np.unique, which sorts
    shown = shown_colours(image, values) if image.mode == "P" else {}
    alone = {index: colour for index, colour in shown.items() if [*shown.values()].count(colour) == 1}
    return tuple(ids), alone


def refuse_clash(seen: Seen) -> None:
    """SourceError where palettes contradict each other, so that ids mean nothing."""
    if seen.clash:
        lines = ", ".join("NAME,{},{},{}".format(*colour) for colour in seen.shown[:8])
        raise SourceError(
            f"{seen.clash}, so their ids mean different things; if the colours are right, put a classes.csv with the "
            f"heading name,r,g,b beside the folders (lines: {lines}{' ...' if len(seen.shown) > 8 else ''}), if the "
            "ids are, save the masks as 8-bit grey"
        )


def white_is_second(seen: Seen, names: Sequence[str], origin: str) -> bool:
    """Whether masks of the ids 0 and 1 write 1 as 255, as black and white masks do; names: of both classes.

    raises  SourceError: some masks hold 0 and 1, others 0 and 255, so whether 255 is ignored is unknown
    """
    if not {*seen.ids} <= {0, 1, IGNORE}:
        return False
    white = [mask for mask, values in seen.values.items() if {0, IGNORE} <= {*values}]
    ones = [mask for mask, values in seen.values.items() if 1 in values]
    if not white or any(IGNORE in seen.values[mask] for mask in ones):
        return False
    if ones:
        first, second = names
        how = f"put a classes.txt {f'in place of {origin}' if origin else 'beside the folders'} with"
        if origin == "classes.txt":
            how = "write into classes.txt"
        raise SourceError(
            f"0 and 255 are in {_some(white)}, 0 and 1 in {_some(ones)}, so whether 255 is {second} as well is "
            f"unknown; {how} the lines '0 {first}', '1 {second}' and '255 {second}' if it is, "
            "or '255 ignore' if it is not"
        )
    return True


def _some(masks: Sequence[str]) -> str:
    more = len(masks) - 1
    return printable(masks[0]) + (f" and {more:,} other{'s' if more > 1 else ''}" if more else "")
