"""The folder that people have: pictures, masks, and perhaps a file that names the classes.

Without a class file all masks are read once to find their values. Then 255 is ignored, the classes are 0 to the largest
value, called "class 0", "class 1" ... Masks that hold 0 and 255 only are black and white: two classes.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from volovan.data.class_files import find_class_file, read_class_file
from volovan.data.errors import BadImage, SourceError
from volovan.data.mask_files import MaskFiles, class_masks, open_masks
from volovan.data.masks import IGNORE, MAX_CLASSES, Coding, mask_values, open_mask, plain_ids, ranges
from volovan.data.pairs import Openers
from volovan.data.palettes import spread
from volovan.data.source import Splits


def mask_folder_splits(folder: Path, openers: Openers) -> Splits:
    """{split: opener} of pairs in a folder of one's own."""
    path = find_class_file(folder)
    if path is None:
        return {split: partial(_open_scanned, folder, split, openers) for split in openers}
    coding = read_class_file(path)
    ids = [value for value, number in coding.ids.items() if number == IGNORE and value != IGNORE]
    note = f"Pixels with id {ranges(ids)} are ignored, as {coding.origin} says." if ids and not coding.colours else ""
    return {split: partial(open_masks, folder, opener, coding, note) for split, opener in openers.items()}


def _open_scanned(root: Path, split: str, openers: Openers) -> MaskFiles:
    """One numbering for all splits, so all of their masks are looked at."""
    pairs = {name: opener() for name, opener in openers.items()}
    masks = tuple(mask for part in pairs.values() for mask in part.masks)
    states = ((root / mask).stat() for mask in masks)
    coding, note = _coding_of_values(root, masks, tuple((state.st_size, state.st_mtime_ns) for state in states))
    return class_masks(root, pairs[split], coding, note)


@lru_cache(maxsize=4)  # train and val of a run are opened one after the other
def _coding_of_values(root: Path, masks: tuple[str, ...], stamps: tuple[tuple[int, int], ...]) -> tuple[Coding, str]:
    """stamps change when a mask does."""
    present = np.zeros(65536, dtype=bool)
    with ThreadPoolExecutor(2) as pool, tqdm(total=len(masks), desc="read masks", delay=2, disable=None) as bar:
        for found in pool.map(partial(_values, root), masks):
            present[found] = True
            bar.update()
    values = np.flatnonzero(present).tolist()
    if values == [0, IGNORE]:
        classes = ("class 0", "class 1")
        return Coding(classes, spread(2), {0: 0, IGNORE: 1}), "No class file: the masks hold 0 and 255, two classes."
    known = [value for value in values if value != IGNORE]
    if not known:
        held = "255 only, which is ignored" if values else "colours, or cannot be read"
        raise SourceError(
            f"the masks of {root} hold {held}; expected class numbers from 0, or a classes.csv with name,r,g,b"
        )
    count = max(known) + 1
    missing = sorted({*range(count)} - {*known})
    if count > MAX_CLASSES or 2 * len(missing) > count:
        raise SourceError(
            f"the masks of {root} hold the values {ranges(values)}, which are no class numbers from 0; put a "
            "classes.txt with a line ID NAME for each there"
        )
    names = tuple(f"class {number}" for number in range(count))
    note = f"No class file: the masks hold {ranges(values)}, so there are {count} classes."
    if missing:
        note += f" No mask holds {ranges(missing)}."
    return Coding(names, spread(count), plain_ids(count)), note


def _values(root: Path, mask: str) -> np.ndarray:
    """The ids in a mask; none if it is broken or coloured, which is refused when the mask is read."""
    with suppress(BadImage):
        image = open_mask(root / mask, mask)
        if image.mode != "RGB":
            return np.unique(mask_values(image, mask))
        channels = np.asarray(image)
        if (channels == channels[..., :1]).all():
            return np.unique(channels[..., 0])
    return np.zeros(0, np.uint8)
