"""Pictures that are files, of which a format of annotations tells.

A format (volovan.data.formats) opens a `Told` for each split. `ObjectFiles` makes samples with boxes of it, and
formats/outlines.py such with masks that are drawn.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from volovan.data.errors import BadImage, printable, shortened
from volovan.data.masks.coding import IGNORE, ranges
from volovan.data.masks.files import MaskedPictures
from volovan.data.objects.annotated import Annotated, Teller, Thing, annotated
from volovan.data.objects.skeleton import Skeleton
from volovan.data.objects.turned import turned_thing
from volovan.data.pictures.decoding import SIDEWAYS, exif_turn, picture_size
from volovan.data.pictures.palettes import spread


@dataclass(frozen=True)
class Told:
    """What a format says of the pictures of a split.

    pictures  paths relative to root, each once
    classes   names in the order of their numbers
    numbers   ids in the files -> class number or IGNORE
    origin    what tells it, for notes
    unpaired  sentences on what is listed and not there, and the other way round
    skeleton  the points that all objects of a class have, where they were asked for
    """

    root: Path
    pictures: Sequence[str]
    teller: Teller
    classes: tuple[str, ...]
    numbers: Mapping[Any, int]
    origin: str
    note: str = ""
    unpaired: Sequence[str] = field(default=())
    skeleton: Skeleton | None = None


Tellings = Mapping[str, Callable[[], Told]]
"""split -> opener, as `volovan.data.source.Splits`"""


class ToldPictures(MaskedPictures):
    """What samples of objects and of masks that are drawn have in common."""

    def __init__(self, told: Told, classes: Sequence[str], numbers: Mapping[Any, int], note: str) -> None:
        super().__init__(told.root, told.pictures, note)
        self.teller, self.unpaired = told.teller, tuple(told.unpaired)
        self.classes, self.palette, self.numbers = tuple(classes), spread(len(classes)), dict(numbers)

    def drawn_size(self, index: int) -> tuple[int, int, Image.Transpose | None]:
        """(width, height) of what the objects were drawn on, and the turn from there to the picture as it is shown."""
        path, name = self.root / self.files[index], self.name(index)
        width, height = picture_size(path, name)
        turn = exif_turn(path, name)
        swapped = self.teller.size_said(index) == (height, width) != (width, height)
        if turn is None or not (self.drawn_on == "stored" or swapped):
            return width, height, None
        return (height, width, turn) if turn in SIDEWAYS else (width, height, turn)

    def may_be_turned(self, index: int) -> bool:
        """Whether nobody has said what the objects were drawn on, and no size tells."""
        path, name = self.root / self.files[index], self.name(index)
        if self.drawn_on or (turn := exif_turn(path, name)) is None:
            return False
        width, height = picture_size(path, name)
        return width == height or turn not in SIDEWAYS or self.teller.size_said(index) is None

    def number_of(self, index: int, thing: Thing) -> int:
        """The class number of a thing, or IGNORE; BadImage if its category is none."""
        number = self.numbers.get(thing.category)
        if number is None:
            ids = [id for id in self.numbers if isinstance(id, int)]
            known = ranges(ids) if len(ids) == len(self.numbers) else ", ".join(map(printable, self.classes[:8]))
            raise BadImage(
                self.teller.name(index),
                f"{thing.place} has class {shortened(thing.category)}, expected {known}; mend the file or name the "
                "class",
            )
        return number


class ObjectFiles(ToldPictures):
    """Pictures with annotated objects; of the kind "points" where their points are told."""

    def __init__(self, told: Told) -> None:
        super().__init__(told, told.classes, told.numbers, told.note)
        self.kind, self.skeleton = "points" if told.skeleton else "boxes", told.skeleton

    def told_things(self, index: int) -> list[Thing]:
        """Those of a picture, in pixels of it as it is shown; also those of ignored classes."""
        width, height, turn = self.drawn_size(index)
        found = list(self.teller.things(index, width, height))
        for thing in found:
            if thing.box is not None and (thing.box[2] < thing.box[0] or thing.box[3] < thing.box[1]):
                x1, y1, x2, y2 = thing.box
                raise BadImage(
                    self.teller.name(index),
                    f"{thing.place} has a box from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}), expected the upper left "
                    "corner and the lower right one; mend it",
                )
        flips = self.skeleton.flips if self.skeleton else ()
        return found if turn is None else [turned_thing(thing, turn, width, height, flips) for thing in found]

    def classes_in(self, index: int) -> set[int]:
        """Numbers of the classes that a picture has, of objects that are no crowds; none where they cannot be read."""
        with suppress(BadImage):
            return {self.numbers.get(category, IGNORE) for category in self.teller.categories(index)} - {IGNORE}
        return set()

    def target(self, index: int) -> Annotated:
        things = self.told_things(index)
        numbers = [self.number_of(index, thing) for thing in things]
        every = annotated(things, numbers, len(self.skeleton) if self.skeleton else None)
        return every.only(np.array(numbers, int) != IGNORE) if IGNORE in numbers else every
