"""What was annotated in a picture: the target of samples of the kind "boxes"."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Protocol

import numpy as np

from volovan.data.objects.shapes import Affine, Box, Shape


@dataclass(frozen=True)
class Thing:
    """One object as a file tells it, in pixels of what it was drawn on.

    category  its id or name in the file
    box       None: that around its shape
    shape     its outline; None where there is only a box
    crowd     many objects in one, or one that is hard to see: not learned, and neither missed nor wrongly found
    area      in pixels, where the file says it
    place     in the file, for messages: "line 3", "annotation 7"
    """

    category: Hashable
    box: Box | None = None
    shape: Shape | None = None
    crowd: bool = False
    area: float | None = None
    place: str = ""


class Teller(Protocol):
    """A format of annotations: what it tells of each picture, by number. Picklable, and without open files."""

    def name(self, index: int) -> str:
        """How messages call what tells of a picture: its own file, or the picture where one file tells of all."""
        ...

    def things(self, index: int, width: int, height: int) -> Iterator[Thing]:
        """In the order of the file; width, height: of the picture that they were drawn on. BadImage: not readable."""
        ...

    def categories(self, index: int) -> Iterable[Hashable]:
        """Of its objects that are no crowds, of each again; the picture is not looked at. BadImage likewise."""
        ...

    def size_said(self, index: int) -> tuple[int, int] | None:
        """(width, height) of what they were drawn on, where the file says it."""
        ...

    def no_masks(self) -> str:
        """Why no masks can be drawn of all this, in one sentence: nothing has an outline; "" if they can."""
        ...


@dataclass(frozen=True)
class Annotated:
    """N objects of a picture, in pixels of the picture as it is shown.

    boxes   (N, 4) float64: x1, y1, x2, y2 as they were written, perhaps outside of the picture or without area
    labels  (N,) int64 class numbers
    crowd   (N,) bool, see `Thing`
    areas   (N,) float64, in pixels: as written, else of the outline, else of the box
    shapes  of each its outline, or None where there is only a box
    places  of each where it stands in its file; () where nothing does, or in another picture (`drawn`)
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    shapes: tuple[Shape | None, ...]
    places: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def outlined(self) -> bool:
        """Whether each has an outline."""
        return all(shape is not None for shape in self.shapes)

    def only(self, chosen: np.ndarray) -> Annotated:
        """Some of them. chosen: (N,) bool."""
        shapes = tuple(compress(self.shapes, chosen.tolist()))
        places = tuple(compress(self.places, chosen.tolist()))
        return Annotated(
            self.boxes[chosen], self.labels[chosen], self.crowd[chosen], self.areas[chosen], shapes, places
        )

    def drawn(self, to: Affine, height: int, width: int) -> Annotated:
        """The same in another picture of this size; boxes are not cut at its edges."""
        shapes = tuple(shape and shape.drawn(to, height, width) for shape in self.shapes)
        return Annotated(to.boxes(self.boxes), self.labels, self.crowd, self.areas * to.area(), shapes)


def annotated(things: Sequence[Thing], labels: Sequence[int]) -> Annotated:
    """Things and the class number of each; every thing has a box or a shape."""
    boxes, areas = np.zeros((len(things), 4)), np.zeros(len(things))
    for row, thing in enumerate(things):
        around = thing.box if thing.box is not None else thing.shape.box()  # type: ignore[union-attr]
        boxes[row] = around
        own = (around[2] - around[0]) * (around[3] - around[1]) if thing.shape is None else thing.shape.area()
        areas[row] = own if thing.area is None else thing.area
    crowd = np.array([thing.crowd for thing in things], bool)
    shapes, places = tuple(thing.shape for thing in things), tuple(thing.place for thing in things)
    return Annotated(boxes, np.array(labels, np.int64), crowd, areas, shapes, places if any(places) else ())
