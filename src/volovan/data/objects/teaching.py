"""Whether the objects of a split teach anything: a run and check-data ask it alike, of all of them."""

import numpy as np

from volovan.data.errors import BadImage
from volovan.data.objects.annotated import Annotated
from volovan.data.samples import spread_first
from volovan.data.source import Source

_FIRST = 100  # pictures, spread over all, that are looked at first: as a rule the first one is enough


def useless_objects(spec: object, source: Source[Annotated], split: str) -> str:
    """Why nothing can be learned from objects or scored on them, "" if it can.

    One is needed that is no crowd and whose box has an area and lies in its picture, at least in part; of the kind
    "points" one that has a labelled point as well.

    spec  what the user calls the source
    """
    crowds = flat = outside = bare = 0
    readable = not len(source)
    for index in spread_first(len(source), _FIRST):
        try:
            target = source.target(index)
            wide = (target.boxes[:, 2:] > target.boxes[:, :2]).all(axis=1)
            usable = wide & ~target.crowd
            pointed = usable if target.points is None else usable & (target.points[..., 2] > 0).any(axis=1)
            boxes = target.boxes[pointed]
            if len(boxes) and _within(boxes, *source.load(index).size).any():
                return ""
        except BadImage:
            continue  # for the loader to report or to skip
        readable = True
        crowds += int(target.crowd.sum())
        flat += int((~wide & ~target.crowd).sum())
        outside += len(boxes)
        bare += int((usable & ~pointed).sum())
    if not readable:
        return ""
    other = "" if split == "train" else ", or name other data with --data.val"
    of_points = ("an object with a labelled point", "label points")
    what, draw = of_points if source.kind == "points" else ("an object", "draw boxes")
    return (
        f"{spec}: no picture of the {split} split ({len(source):,}) shows {what}"
        f"{_but(crowds, flat, outside, bare)}, so nothing can be {'learned' if split == 'train' else 'scored'}; "
        f"{draw} in some{other}"
    )


def _within(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """(N,) bool: which of them cover some of the picture."""
    low, high = boxes[:, :2].clip(0, (width, height)), boxes[:, 2:].clip(0, (width, height))
    return np.logical_and(*(high > low).T)


def _but(crowds: int, flat: int, outside: int, bare: int) -> str:
    """What there is instead."""
    counts = {"crowds": crowds, "boxes without area": flat, "boxes outside of the picture": outside}
    counts["objects without a labelled point"] = bare
    said = [f"{what}: {count:,}" for what, count in counts.items() if count]
    return f" ({', '.join(said)})" if said else ""
