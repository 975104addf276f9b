"""Scenes of shapes.py as samples, with targets of every dense kind: shapes, shapes:COUNT, shapes:COUNT@WIDTHxHEIGHT."""

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from volovan.data.errors import SourceError
from volovan.data.objects.annotated import Annotated, Thing, annotated
from volovan.data.objects.shapes import cut_out
from volovan.data.objects.skeleton import Skeleton
from volovan.data.panoptic.segments import Panoptic, Segment
from volovan.data.source import Source, Splits
from volovan.data.synthetic.generated import Drawn
from volovan.data.synthetic.shapes import Scene, draw_scene
from volovan.data.synthetic.shapes_classes import FIGURE, SHAPE_CLASSES, THINGS

if TYPE_CHECKING:
    from PIL import Image

PREFIX = "shapes"
_SPEC = re.compile(r"shapes(?::(\d+)(?:@(\d+)x(\d+))?)?")
_COUNT, _SIZE = 2000, (128, 128)  # of the train part of "shapes": scenes, and their height and width
_LEAST_SIDE = 32

_remembered = lru_cache(maxsize=8)(draw_scene)  # load(i) and target(i) of a sample follow each other


class _Scenes(Drawn):
    scenes = "crowd"
    note = "The scenes are drawn: figures say nothing about photographs."

    def __init__(self, split: str, count: int = _COUNT, size: tuple[int, int] = _SIZE) -> None:
        super().__init__(split, count, size)

    def name(self, index: int) -> str:
        """ "train/shapes_00000012.png", as a folder of pictures would have it."""
        return f"{self.split}/shapes_{index:08d}.png"

    def scene(self, index: int) -> Scene:
        """All that is known of a scene; its arrays may be shared with other callers, copy what you change."""
        self.check(index)
        return _remembered(self.split, index, *self.size, self.scenes)

    def load(self, index: int) -> "Image.Image":
        from PIL import Image

        return Image.fromarray(self.scene(index).image)


class ShapesSource(_Scenes):
    """Scenes with a class for every pixel: a MaskSource."""

    kind = "mask"
    classes = tuple(about.name for about in SHAPE_CLASSES)
    palette = tuple(about.colour for about in SHAPE_CLASSES)

    def target(self, index: int) -> np.ndarray:
        """(H, W) uint8: numbers of classes."""
        return self.scene(index).labels.copy()


class SalientShapes(_Scenes):
    """Scenes with one or two things that stand out."""

    kind = "map"
    scenes = "salient"
    classes: tuple[str, ...] = ()

    def target(self, index: int) -> np.ndarray:
        """(H, W) uint8: 255 where something stands out, else 0."""
        return self.scene(index).salient.copy()


class BoxedShapes(_Scenes):
    """Scenes whose things are objects with boxes and outlines; grounds are no classes."""

    kind = "boxes"
    classes = tuple(SHAPE_CLASSES[number].name for number in THINGS)
    palette = tuple(SHAPE_CLASSES[number].colour for number in THINGS)

    def target(self, index: int) -> Annotated:
        """Things from the back to the front, where they are visible."""
        found = [Thing(one.category, one.box, cut_out(one.mask)) for one in self.scene(index).instances]
        return annotated(found, [THINGS.index(one.category) for one in self.scene(index).instances])


class PointedShapes(_Scenes):
    """Scenes whose figures are objects with named points; other things may stand behind them."""

    kind = "points"
    scenes = "figures"
    classes: tuple[str, ...] = (SHAPE_CLASSES[FIGURE].name,)
    palette = (SHAPE_CLASSES[FIGURE].colour,)
    skeleton = Skeleton(
        SHAPE_CLASSES[FIGURE].keypoints, SHAPE_CLASSES[FIGURE].skeleton, flips=SHAPE_CLASSES[FIGURE].flips
    )

    def target(self, index: int) -> Annotated:
        """Figures from the back to the front; points outside of the picture are not labelled."""
        figures = [one for one in self.scene(index).instances if one.category == FIGURE]
        found = [Thing(FIGURE, one.box, cut_out(one.mask), points=one.keypoints.astype(np.float64)) for one in figures]
        return annotated(found, [0] * len(found), len(self.skeleton))


class PanopticShapes(_Scenes):
    """Scenes whose every pixel belongs to a thing or to a ground."""

    kind = "panoptic"
    classes = tuple(about.name for about in SHAPE_CLASSES)
    palette = tuple(about.colour for about in SHAPE_CLASSES)
    things = tuple(about.is_thing for about in SHAPE_CLASSES)

    def target(self, index: int) -> Panoptic:
        scene = self.scene(index)
        return Panoptic(scene.panoptic.copy(), tuple(Segment(one.id, one.category_id) for one in scene.segments))


_OF_KIND: dict[str, Callable[..., Source]] = {
    "mask": ShapesSource,
    "map": SalientShapes,
    "boxes": BoxedShapes,
    "points": PointedShapes,
    "panoptic": PanopticShapes,
}


def is_shapes(spec: str) -> bool:
    """Whether spec asks for scenes that are drawn; a folder may be called shapes_of_mine."""
    return spec == PREFIX or spec.startswith(f"{PREFIX}:")


def shapes_splits(spec: str, kind: str) -> Splits:
    """{"train": opener, "val": opener} of a spec that begins with PREFIX; SourceError if it cannot be read."""
    match = _SPEC.fullmatch(spec)
    words = match.groups() if match else ("0",)
    numbers = [int(word) if word else default for word, default in zip(words, (_COUNT, *_SIZE[::-1]), strict=False)]
    if not match or numbers[0] < 1 or min(numbers[1:]) < _LEAST_SIDE:
        raise SourceError(
            f"{spec} cannot be read; expected shapes, shapes:COUNT or shapes:COUNT@WIDTHxHEIGHT with at least 1 scene "
            f"and {_LEAST_SIDE} pixels a side, such as shapes:500@160x120"
        )
    count, width, height = numbers
    counts = {"train": count, "val": -(-count // 10)}
    return {split: partial(_OF_KIND[kind], split, number, (height, width)) for split, number in counts.items()}
