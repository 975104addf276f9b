"""Of which kind the targets of a source are, where nobody says it: volovan check-data looks at the layout."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from volovan.data.class_files import find_class_file
from volovan.data.class_sources import known_pictures
from volovan.data.errors import BadImage
from volovan.data.manifest import read_rows
from volovan.data.map_sources import salient_splits
from volovan.data.maps import read_map
from volovan.data.mask_sources import known_masks
from volovan.data.masks import open_mask
from volovan.data.pairs import find_pairs
from volovan.data.shapes import is_shapes

_LOOKED_AT = 8  # masks
_SOFT = 100  # grey values from which on masks are soft, not classes
_LOOKS = {
    "mask": "The masks look like ids of classes",
    "map": "The masks look like those of what is salient (black and white, or soft)",
}


def recognise(spec: str) -> tuple[str, str]:
    """(kind, why): "class", "mask" or "map", as open_source takes it.

    why, a sentence without its full stop, is "" where nothing is in doubt.

    raises  SourceError: it has masks, but their lists cannot be read
    """
    if is_shapes(spec):
        return "mask", "Scenes of shapes are read with class masks"
    path = Path(spec).expanduser() if spec.strip() else Path("\0")
    if path.suffix.lower() in (".csv", ".tsv") and path.is_file():
        columns = {cell.strip().lower() for cell in read_rows(path)[0][1]}
        return ("mask", _LOOKS["mask"]) if {"image", "mask"} <= columns else ("class", "")
    if not path.is_dir():
        return "class", ""
    if salient_splits(path):
        return "map", ""
    if known_masks(path):
        return "mask", ""
    openers = None if known_pictures(path) else find_pairs(path)
    if not openers:
        return "class", ""
    if find_class_file(path):
        return "mask", ""
    pairs = next(iter(openers.values()))()
    kind = "map" if _look_salient([path.resolve() / mask for mask in pairs.masks]) else "mask"
    return kind, _LOOKS[kind]


def _look_salient(masks: list[Path]) -> bool:
    """Whether masks hold 0 and 255 only, or very many grey values."""
    step = max(1, len(masks) // _LOOKED_AT)
    values: set[int] = set()
    for mask in masks[::step][:_LOOKED_AT]:
        with suppress(BadImage):
            if open_mask(mask, mask.name).mode == "P":  # indices, whatever their colours
                return False
            values |= set(np.unique(read_map(mask, mask.name)).tolist())
    return values == {0, 255} or len(values) > _SOFT
