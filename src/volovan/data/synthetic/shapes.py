"""Scenes of overlapping shapes over textured grounds, with exact masks, boxes, keypoints and panoptic segments.

They are the embedded data of all dense tasks: `shapes` is 2,000 scenes of 128 x 128 pixels to train with and a tenth as
many others for val; `shapes:500@480x360` says another count and size, width first. Scene i follows from (split, i,
size) alone, on every machine. Outlines are tested at the middles of the pixels and the picture is painted from the
masks, so that there is nothing to argue about along an edge. Things of a class have a hue of their own, which helps a
small network along; light, lightness and saturation differ from scene to scene; grounds are told by their pattern only.

Three kinds: "crowd" (two or three things that hide parts of each other, on one or two grounds), "salient" (one or two
large things that stand out, over a ground with faint shapes that do not) and "figures" (one or two figures, perhaps
before another thing: in a crowd only every third scene has one). shapes_classes.py lists the classes.
"""

from dataclasses import dataclass

import numpy as np

from volovan.data.synthetic import shapes_paint as paint
from volovan.data.synthetic.shapes_classes import (
    FIGURE,
    GROUNDS,
    REACH,
    SHAPE_CLASSES,
    THINGS,
    Limbs,
    any_limbs,
    inside,
    points,
)

SPLITS = ("train", "val")
_KINDS = ("crowd", "salient", "figures")  # a new one comes last: its number draws the scenes
_TRIES, _VISIBLE = 12, 0.65  # places that are tried for a thing, and the share of all others that must stay in view


@dataclass(frozen=True)
class Instance:
    """One thing of a scene.

    category   number in SHAPE_CLASSES
    box        x0, y0, x1, y1 of the visible part; pixel (row, column) covers [column, column + 1) x [row, row + 1)
    mask       (H, W) bool: the visible part
    keypoints  (K, 3) float32: x, y, and as COCO has it 0 for a point outside the picture, 1 for a hidden one, 2 for a
               visible one; K and the names are those of the class
    """

    category: int
    box: tuple[float, float, float, float]
    mask: np.ndarray
    keypoints: np.ndarray


@dataclass(frozen=True)
class Segment:
    """A row of the table of panoptic segments, in the words of COCO; bbox is x, y, width, height in whole pixels."""

    id: int
    category_id: int
    isthing: int
    area: int
    bbox: tuple[int, int, int, int]
    iscrowd: int = 0


@dataclass(frozen=True)
class Scene:
    """A picture and all that is known of it; every pixel belongs to exactly one segment.

    image     (H, W, 3) uint8
    labels    (H, W) uint8: numbers in SHAPE_CLASSES
    instances  things from the back to the front
    panoptic  (H, W) int32: ids of segments, from 1; things are those of instances, in their order, after the grounds
    segments  the table of these ids
    salient   (H, W) uint8: 255 where there is a thing, else 0
    """

    image: np.ndarray
    labels: np.ndarray
    instances: tuple[Instance, ...]
    panoptic: np.ndarray
    segments: tuple[Segment, ...]
    salient: np.ndarray


def draw_scene(split: str, index: int, height: int, width: int, kind: str = "crowd") -> Scene:
    """Scene number index of "train" or "val", of the kind "crowd", "salient" or "figures"."""
    draw = np.random.default_rng([SPLITS.index(split), _KINDS.index(kind), index])
    canvas = _Canvas(draw, height, width)
    if kind == "crowd":
        canvas.lay_grounds(1 + (draw.random() < 0.7))
        for _ in range(2 + int(2 * draw.random())):
            canvas.put_thing(0.27, 0.43)
    elif kind == "figures":
        canvas.lay_grounds(1 + (draw.random() < 0.7))
        if draw.random() < 0.5:
            canvas.put_thing(0.2, 0.35)
        for _ in range(1 + (draw.random() < 0.5)):
            canvas.put_thing(0.27, 0.43, FIGURE)
    else:
        canvas.lay_grounds(1 + (draw.random() < 0.4))
        canvas.put_distractors(2 + int(4 * draw.random()))
        for _ in range(1 + (draw.random() < 0.25)):
            canvas.put_thing(0.25, 0.36)
    return canvas.finish(apart=110 if kind == "salient" else 70)


@dataclass(frozen=True)
class _Pose:
    """Where a shape is: its middle and size in pixels, cosine and sine of its turn, the ends of a figure's limbs."""

    name: str
    x: float
    y: float
    size: float
    turn: tuple[float, float]
    limbs: Limbs

    def inside(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Which places of the picture lie in the shape."""
        x, y = (x - self.x) / self.size, (y - self.y) / self.size
        cosine, sine = self.turn
        return inside(self.name, cosine * x + sine * y, cosine * y - sine * x, self.limbs)

    def points(self) -> np.ndarray:
        """(K, 2): the keypoints in the picture."""
        x, y = np.array(points(self.name, self.limbs)).T
        cosine, sine = self.turn
        return np.stack([self.x + self.size * (cosine * x - sine * y), self.y + self.size * (sine * x + cosine * y)], 1)


@dataclass
class _Thing:
    """A thing that was put on the canvas: its segment, and its pixels before and after others hid some."""

    number: int
    pose: _Pose
    rows: slice
    columns: slice
    area: int
    visible: int


class _Canvas:
    """A scene while it is being made, from the back to the front."""

    def __init__(self, draw: np.random.Generator, height: int, width: int) -> None:
        self.draw, self.height, self.width = draw, height, width
        self.x = np.arange(width, dtype=np.float32)[None, :] + 0.5  # middles of the pixels
        self.y = np.arange(height, dtype=np.float32)[:, None] + 0.5
        self.unit = min(height, width)  # pixels; all sizes are shares of it
        self.panoptic = np.ones((height, width), dtype=np.int32)
        self.categories: list[int] = []  # of segment 1, 2, ...
        self.things: list[_Thing] = []
        self.tone = np.ones((height, width), dtype=np.float32)
        self.shadow = round(self.unit * paint.between(draw, -0.03, 0.03)), round(self.unit * 0.03)  # right, down

    def lay_grounds(self, count: int) -> None:
        ranks = {kind: self.draw.random() for kind in GROUNDS}
        for number, kind in enumerate(sorted(GROUNDS, key=ranks.__getitem__)[:count], 1):
            tone = paint.texture(self.draw, SHAPE_CLASSES[kind].name, self.x, self.y, self.unit)
            if number == 1:
                self.tone = tone
            else:
                beyond = paint.curve(self.draw, self.x, self.y, self.unit)
                self.panoptic[beyond] = number
                self.tone[beyond] = tone[beyond]
            self.categories.append(kind)

    def put_distractors(self, count: int) -> None:
        """Faint small shapes, which are part of the ground."""
        for _ in range(count):
            rows, columns, mask = self._cut(self._pose(0.06, 0.15)[1])
            darker = paint.between(self.draw, 0.07, 0.15)
            self.tone[rows, columns][mask] *= np.float32(1 - darker if self.draw.random() < 0.5 else 1 + darker)

    def put_thing(self, small: float, large: float, only: int | None = None) -> None:
        """One more thing, in front of all others, where enough of each stays in view; none if there is no place. only:
        of this category."""
        first = len(self.categories) - len(self.things) + 1
        for _ in range(_TRIES):
            category, pose = self._pose(small, large, only)
            rows, columns, mask = self._cut(pose)
            hides = np.bincount(self.panoptic[rows, columns][mask], minlength=len(self.categories) + 1)[first:]
            if all(each.visible - part >= _VISIBLE * each.area for each, part in zip(self.things, hides, strict=True)):
                break
        else:
            return
        for each, part in zip(self.things, hides, strict=True):
            each.visible -= int(part)
        right, down = self.shadow
        top, left = rows.start + down, columns.start + right
        shade = mask[max(-top, 0) : self.height - top, max(-left, 0) : self.width - left]
        top, left = max(top, 0), max(left, 0)
        self.tone[top : top + shade.shape[0], left : left + shade.shape[1]][shade] *= np.float32(0.75)
        self.categories.append(category)
        self.panoptic[rows, columns][mask] = len(self.categories)
        strength = paint.between(self.draw, 0.05, 0.15) / pose.size  # by which it is lighter above, and darker below
        sheen = 1 - (self.y[rows] - pose.y) * strength - (self.x[:, columns] - pose.x) * (strength / 2)
        self.tone[rows, columns][mask] = sheen[mask]
        area = int(np.count_nonzero(mask))
        self.things.append(_Thing(len(self.categories), pose, rows, columns, area, area))

    def _pose(self, small: float, large: float, only: int | None = None) -> tuple[int, _Pose]:
        draw = self.draw
        category = THINGS[int(draw.random() * len(THINGS))] if only is None else only
        size = self.unit * paint.between(draw, small, large)
        x, y = (paint.between(draw, 0.7 * size, side - 0.7 * size) for side in (self.width, self.height))
        turn = paint.direction(paint.between(draw, -0.27, 0.27))  # up to 30 degrees: top stays top
        name = SHAPE_CLASSES[category].name
        limbs = any_limbs(*(draw.random() for _ in range(4))) if name == "figure" else ()
        return category, _Pose(name, x, y, size, turn, limbs)

    def _cut(self, pose: _Pose) -> tuple[slice, slice, np.ndarray]:
        """The rows and columns around a shape, and where in them it is."""
        reach = pose.size * REACH
        rows = slice(max(int(pose.y - reach), 0), min(int(pose.y + reach) + 2, self.height))
        columns = slice(max(int(pose.x - reach), 0), min(int(pose.x + reach) + 2, self.width))
        return rows, columns, pose.inside(self.x[:, columns], self.y[rows])

    def finish(self, apart: float) -> Scene:
        """apart: grey levels, of 255, between any two colours of the scene."""
        colours = np.zeros((len(self.categories) + 1, 3))  # row 0 belongs to no segment
        # Things of a class have a hue of their own, as lawns and tomatoes have; grounds are told by their pattern.
        hues = [THINGS.index(number) / len(THINGS) if number in THINGS else None for number in self.categories]
        colours[1:] = paint.colours_apart(self.draw, hues, apart)
        tone = self.tone * paint.light(self.draw, self.height, self.width)
        instances = tuple(self._instance(thing) for thing in self.things)
        segments = []
        for number, category in enumerate(self.categories, 1):
            is_thing = SHAPE_CLASSES[category].is_thing
            mask = instances[number - len(self.categories) - 1].mask if is_thing else self.panoptic == number
            if mask.any():
                left, top, right, bottom = _extent(mask)
                box = (left, top, right - left, bottom - top)
                segments.append(Segment(number, category, int(is_thing), int(np.count_nonzero(mask)), box))
        labels = np.array([0, *self.categories], dtype=np.uint8)[self.panoptic]
        return Scene(
            image=paint.develop(self.draw, self.panoptic, colours, tone),
            labels=labels,
            instances=instances,
            panoptic=self.panoptic,
            segments=tuple(segments),
            salient=np.where(labels >= THINGS[0], np.uint8(255), np.uint8(0)),
        )

    def _instance(self, thing: "_Thing") -> Instance:
        places = thing.pose.points()
        x, y = places[:, 0], places[:, 1]
        hidden = np.zeros(len(places), dtype=bool)
        for above in self.things:
            if above.number > thing.number:
                hidden |= above.pose.inside(x, y)
        outside = (x < 0) | (x >= self.width) | (y < 0) | (y >= self.height)
        seen = np.where(outside, 0, np.where(hidden, 1, 2))
        visible = self.panoptic[thing.rows, thing.columns] == thing.number
        mask = np.zeros((self.height, self.width), dtype=bool)
        mask[thing.rows, thing.columns] = visible
        left, top, right, bottom = _extent(visible, thing.columns.start, thing.rows.start)
        return Instance(
            category=self.categories[thing.number - 1],
            box=(float(left), float(top), float(right), float(bottom)),
            mask=mask,
            keypoints=np.column_stack([places * (seen > 0)[:, None], seen]).astype(np.float32),
        )


def _extent(mask: np.ndarray, left: int = 0, top: int = 0) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of a mask that is not empty and whose own corner lies at (left, top)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1
