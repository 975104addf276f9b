"""What was annotated in a picture: the target of samples of the kinds "boxes" and "points"."""

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
    box       None: that around its shape, else around its labelled points
    shape     its outline; None where there is only a box
    crowd     many objects in one, or one that is hard to see: not learned, and neither missed nor wrongly found
    area      in pixels, where the file says it
    place     in the file, for messages: "line 3", "annotation 7"
    points    (K, 3) x, y, v of its named points (`skeleton.py`); None where nothing is said of them
    """

    category: Hashable
    box: Box | None = None
    shape: Shape | None = None
    crowd: bool = False
    area: float | None = None
    place: str = ""
    points: np.ndarray | None = None


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
    points  (N, K, 3) float64: x, y, v of its named points as `skeleton.py` says, perhaps outside of the picture; None
            but for the kind "points"
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    shapes: tuple[Shape | None, ...]
    places: tuple[str, ...] = ()
    points: np.ndarray | None = None

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
        points = None if self.points is None else self.points[chosen]
        return Annotated(
            self.boxes[chosen], self.labels[chosen], self.crowd[chosen], self.areas[chosen], shapes, places, points
        )

    def drawn(self, to: Affine, height: int, width: int) -> Annotated:
        """The same in another picture of this size; boxes are not cut at its edges, and no point is left out there.

        Points keep their names: where it mirrors, `Skeleton.swapped` gives them those of the mirror picture.
        """
        shapes = tuple(shape and shape.drawn(to, height, width) for shape in self.shapes)
        points = None
        if self.points is not None:
            points = np.concatenate((to.points(self.points[..., :2]), self.points[..., 2:]), axis=-1)
        return Annotated(to.boxes(self.boxes), self.labels, self.crowd, self.areas * to.area(), shapes, points=points)


def annotated(things: Sequence[Thing], labels: Sequence[int], joints: int | None = None) -> Annotated:
    """Things and the class number of each; every thing has a box, a shape or a labelled point. joints: K, for points"""
    boxes, areas = np.zeros((len(things), 4)), np.zeros(len(things))
    points = None if joints is None else np.zeros((len(things), joints, 3))
    for row, thing in enumerate(things):
        around = _around(thing)
        boxes[row] = around
        if points is not None and thing.points is not None:
            points[row] = thing.points
        own = (around[2] - around[0]) * (around[3] - around[1]) if thing.shape is None else thing.shape.area()
        areas[row] = own if thing.area is None else thing.area
    crowd = np.array([thing.crowd for thing in things], bool)
    shapes, places = tuple(thing.shape for thing in things), tuple(thing.place for thing in things)
    return Annotated(boxes, np.array(labels, np.int64), crowd, areas, shapes, places if any(places) else (), points)


def _around(thing: Thing) -> Box:
    if thing.box is not None:
        return thing.box
    if thing.shape is not None:
        return thing.shape.box()
    assert thing.points is not None  # as readers see to
    labelled = thing.points[thing.points[:, 2] > 0, :2]
    (left, top), (right, bottom) = labelled.min(axis=0).tolist(), labelled.max(axis=0).tolist()
    return (left, top, right, bottom)
