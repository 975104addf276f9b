"""Which task a source is for, where nobody says it: volovan check-data looks at the layout."""

from pathlib import Path

import numpy as np

from volovan.data.class_files import find_class_file
from volovan.data.errors import BadImage
from volovan.data.manifest import read_rows
from volovan.data.masks import open_mask
from volovan.data.pairs import find_pairs
from volovan.data.saliency import is_saliency_set, read_saliency
from volovan.data.segmentation import is_mask_set, is_shapes
from volovan.data.sources import is_picture_set

_LOOKED_AT = 8  # masks
_SOFT = 100  # grey values from which on masks are soft, not classes


def recognise(spec: str) -> tuple[str, str]:
    """(task, why): "classify", "segment" or "saliency"; why is a sentence for the report, "" where nothing is in doubt.

    raises  SourceError: it has masks, but their lists cannot be read
    """
    if is_shapes(spec):
        return "segment", "Scenes of shapes are read with class masks; --task saliency reads those with salient things."
    path = Path(spec).expanduser() if spec.strip() else Path("\0")
    if path.suffix.lower() in (".csv", ".tsv") and path.is_file():
        columns = {cell.strip().lower() for cell in read_rows(path)[0][1]}
        return ("segment", _why("segment")) if {"image", "mask"} <= columns else ("classify", "")
    if not path.is_dir():
        return "classify", ""
    if is_saliency_set(path):
        return "saliency", ""
    if is_mask_set(path):
        return "segment", ""
    return ("classify", "") if is_picture_set(path) else _of_pairs(path)


def _of_pairs(path: Path) -> tuple[str, str]:
    openers = find_pairs(path)
    if not openers:
        return "classify", ""
    if find_class_file(path):
        return "segment", ""
    pairs = next(iter(openers.values()))()
    task = "saliency" if _look_salient([path.resolve() / mask for mask in pairs.masks]) else "segment"
    return task, _why(task)


def _why(task: str) -> str:
    other = {"segment": "--task saliency reads them as saliency masks", "saliency": "--task segment reads them as ids"}
    found = {"segment": "ids of classes", "saliency": "saliency masks (black and white, or soft)"}
    return f"The masks look like {found[task]}; {other[task]}."


def _look_salient(masks: list[Path]) -> bool:
    """Whether masks hold 0 and 255 only, or very many grey values."""
    step = max(1, len(masks) // _LOOKED_AT)
    values: set[int] = set()
    for mask in masks[::step][:_LOOKED_AT]:
        try:
            if open_mask(mask, mask.name).mode == "P":  # indices, whatever their colours
                return False
            values |= set(np.unique(read_saliency(mask, mask.name)).tolist())
        except BadImage:
            continue
    return values == {0, 255} or len(values) > _SOFT
