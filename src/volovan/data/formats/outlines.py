"""Masks that are drawn from outlines, as formats of annotations tell them (coco.py, yolo.py).

Later outlines of a picture lie on top of earlier ones, and what none of them holds is background, class 0. A pixel is
inside where its middle is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from volovan.data.errors import BadImage, SourceError
from volovan.data.masks.files import turned
from volovan.data.objects.files import Told, ToldPictures
from volovan.data.samples import join_notes

BACKGROUND = "background"


class OutlineFiles(ToldPictures):
    """Pictures whose masks are drawn. told: of the objects that they are drawn of."""

    def __init__(self, told: Told, classes: Sequence[str], numbers: Mapping[Any, int], note: str) -> None:
        super().__init__(told, classes, numbers, note)
        self.told = told

    def target(self, index: int) -> np.ndarray:
        width, height, turn = self.drawn_size(index)
        mask = np.full((height, width), ground_of(self.classes), np.uint8)
        for thing in self.teller.things(index, width, height):
            if thing.shape is None:
                raise BadImage(
                    self.teller.name(index), f"{thing.place} has a box but no outline; export outlines for masks"
                )
            thing.shape.paint(mask, self.number_of(index, thing))
        return mask if turn is None else turned(mask, turn)


def outline_files(told: Told) -> OutlineFiles:
    """Behind "background" come the classes. SourceError where nothing has an outline."""
    if why := told.teller.no_masks():
        raise SourceError(why)
    classes, first = with_background(told.classes)
    numbers = {id: number + first if number < len(told.classes) else number for id, number in told.numbers.items()}
    ground = f"Outlines of {told.origin}: what none of them holds is background."
    return OutlineFiles(told, classes, numbers, join_notes(ground, told.note))


def with_background(names: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """(classes, number of the first name): background comes first, unless it is one of the names."""
    return (tuple(names), 0) if ground_of(names) is not None else ((BACKGROUND, *names), 1)


def ground_of(classes: Sequence[str]) -> int | None:
    """The number of the class that is called background."""
    return next((number for number, name in enumerate(classes) if name.lower() == BACKGROUND), None)
