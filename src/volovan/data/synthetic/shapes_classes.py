"""What there is to see in the scenes of shapes.py: three grounds and seven things, with their points and colours.

Coordinates of a thing are its own: origin in its middle, about 1 to every side, x to the right, y down, before it is
turned, enlarged and moved. All tests of a place are inequalities in sums, products and quotients of IEEE doubles, which
come out the same on every machine; sines would not.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np

Points = tuple[tuple[float, float], ...]
Limbs = tuple[tuple[float, float], ...]  # of a figure: where its hands and feet are
_SIN_36, _SIN_72 = sqrt(10 - 2 * sqrt(5)) / 4, sqrt(10 + 2 * sqrt(5)) / 4  # IEEE rounds square roots exactly, too
_COS_36, _COS_72 = (sqrt(5) + 1) / 4, (sqrt(5) - 1) / 4


@dataclass(frozen=True)
class ShapeClass:
    """A class of the scenes.

    colour     RGB by which it is shown in masks and overlays; pictures have colours of their own
    keypoints  names, in the order of Instance.keypoints; left and right are those of the one who is shown, facing us
    flips      of each point the number of the one that it becomes in a mirrored picture
    skeleton   pairs of points to be joined by lines
    """

    name: str
    colour: tuple[int, int, int]
    is_thing: bool
    keypoints: tuple[str, ...] = ()
    flips: tuple[int, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()


_FIGURE_POINTS = ("head", "neck", "left_hand", "right_hand", "hip", "left_foot", "right_foot")
_FIGURE_BONES = ((0, 1), (1, 2), (1, 3), (1, 4), (4, 5), (4, 6))

SHAPE_CLASSES = (
    ShapeClass("plain", (196, 178, 148), False),
    ShapeClass("stripes", (92, 148, 190), False),
    ShapeClass("checks", (128, 158, 110), False),
    ShapeClass("disc", (214, 69, 65), True, ("centre",), (0,)),
    ShapeClass("ring", (240, 150, 50), True, ("top", "right", "bottom", "left"), (0, 3, 2, 1), ()),
    ShapeClass(
        "square",
        (245, 205, 65),
        True,
        ("top_left", "top_right", "bottom_right", "bottom_left"),
        (1, 0, 3, 2),
        ((0, 1), (1, 2), (2, 3), (3, 0)),
    ),
    ShapeClass("triangle", (60, 170, 90), True, ("top", "right", "left"), (0, 2, 1), ((0, 1), (1, 2), (2, 0))),
    ShapeClass(
        "star",
        (45, 110, 215),
        True,
        ("top", "upper_right", "lower_right", "lower_left", "upper_left"),
        (0, 4, 3, 2, 1),
        ((0, 2), (2, 4), (4, 1), (1, 3), (3, 0)),
    ),
    ShapeClass("cross", (130, 75, 175), True, ("top", "right", "bottom", "left"), (0, 3, 2, 1), ((0, 2), (1, 3))),
    ShapeClass("figure", (225, 95, 160), True, _FIGURE_POINTS, (0, 1, 3, 2, 4, 6, 5), _FIGURE_BONES),
)
GROUNDS = tuple(number for number, about in enumerate(SHAPE_CLASSES) if not about.is_thing)
THINGS = tuple(number for number, about in enumerate(SHAPE_CLASSES) if about.is_thing)
FIGURE = THINGS[-1]

HOLE = 0.5  # radius of the hole of a ring
HALF_SIDE = 0.84  # of a square
ARM = (0.37, 0.98)  # half width and length of the arms of a cross
TRIANGLE: Points = ((0.0, -1.1), (1.05, 0.75), (-1.05, 0.75))
_TIPS = ((0.0, -1.0), (_SIN_72, -_COS_72), (_SIN_36, _COS_36), (-_SIN_36, _COS_36), (-_SIN_72, -_COS_72))
_NOTCHES = ((_SIN_36, -_COS_36), (_SIN_72, _COS_72), (0.0, 1.0), (-_SIN_72, _COS_72), (-_SIN_36, -_COS_36))
STAR: Points = tuple(
    point
    for tip, notch in zip(_TIPS, _NOTCHES, strict=True)
    for point in ((1.15 * tip[0], 1.15 * tip[1]), (0.6 * notch[0], 0.6 * notch[1]))
)
HEAD, NECK, HIP = (0.0, -0.82), (0.0, -0.40), (0.0, 0.25)  # the middles of head, shoulders and hips of a figure
HEAD_RADIUS, BODY_RADIUS, LIMB_RADIUS = 0.33, 0.28, 0.19
REACH = 1.4  # no shape goes further from its middle


def _inside_polygon(x: np.ndarray, y: np.ndarray, right_half: Points) -> np.ndarray:
    """Even-odd rule for an outline that equals its mirror picture: a ray to the right, from |x|, crosses the right half
    an odd number of times."""
    x = abs(x)
    within = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=bool)
    for (x0, y0), (x1, y1) in pairwise(right_half):
        if y0 != y1:
            within ^= (y >= min(y0, y1)) & (y < max(y0, y1)) & (x < x0 + (y - y0) * ((x1 - x0) / (y1 - y0)))
    return within


def _near_segment(
    x: np.ndarray, y: np.ndarray, a: tuple[float, float], b: tuple[float, float], radius: float
) -> np.ndarray:
    """Within a radius of the straight line from a to b."""
    along_x, along_y = b[0] - a[0], b[1] - a[1]
    x, y = x - a[0], y - a[1]
    share = ((x * along_x + y * along_y) / (along_x * along_x + along_y * along_y)).clip(0, 1)
    away_x, away_y = x - share * along_x, y - share * along_y
    return away_x * away_x + away_y * away_y <= radius * radius


_MIDDLE = (1 + HOLE) / 2  # of the band of a ring
_POINTS: dict[str, Points] = {
    "disc": ((0.0, 0.0),),
    "ring": ((0.0, -_MIDDLE), (_MIDDLE, 0.0), (0.0, _MIDDLE), (-_MIDDLE, 0.0)),
    "square": tuple((HALF_SIDE * x, HALF_SIDE * y) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))),
    "triangle": TRIANGLE,
    "star": STAR[::2],
    "cross": ((0.0, -ARM[1]), (ARM[1], 0.0), (0.0, ARM[1]), (-ARM[1], 0.0)),
}


def inside(name: str, x: np.ndarray, y: np.ndarray, limbs: Limbs) -> np.ndarray:
    """Which places lie in the shape of that name; x and y are arrays that broadcast, limbs is () unless a figure's."""
    match name:
        case "disc":
            return x * x + y * y <= 1
        case "ring":
            squares = x * x + y * y
            return (squares <= 1) & (squares >= HOLE * HOLE)
        case "square":
            return np.maximum(abs(x), abs(y)) <= HALF_SIDE
        case "triangle":
            return _inside_polygon(x, y, TRIANGLE[:2])
        case "star":
            return _inside_polygon(x, y, STAR[:6])
        case "cross":
            x, y = abs(x), abs(y)
            return (np.minimum(x, y) <= ARM[0]) & (np.maximum(x, y) <= ARM[1])
    across, down = x - HEAD[0], y - HEAD[1]
    figure = across * across + down * down <= HEAD_RADIUS * HEAD_RADIUS
    figure |= _near_segment(x, y, NECK, HIP, BODY_RADIUS)
    for start, end in zip((NECK, NECK, HIP, HIP), limbs, strict=True):
        figure |= _near_segment(x, y, start, end, LIMB_RADIUS)
    return figure


def points(name: str, limbs: Limbs) -> Points:
    """The keypoints of the shape of that name, in the order of ShapeClass.keypoints."""
    return (HEAD, NECK, limbs[0], limbs[1], HIP, limbs[2], limbs[3]) if name == "figure" else _POINTS[name]


def any_limbs(left_arm: float, right_arm: float, left_leg: float, right_leg: float) -> Limbs:
    """Left hand, right hand, left foot, right foot of a figure whose limbs are at these places of their range, 0 to 1.

    Arms go from hanging to raised, legs from nearly closed to wide. The figure faces us: its left is on our right.
    """
    ends = []
    for side, share, lowest, highest, length, start in (
        (1, left_arm, -0.36, 0.52, 0.80, NECK),
        (-1, right_arm, -0.36, 0.52, 0.80, NECK),
        (1, left_leg, -0.76, -0.46, 0.95, HIP),
        (-1, right_leg, -0.76, -0.46, 0.95, HIP),
    ):
        tangent = lowest + share * (highest - lowest)  # of half the angle above the horizontal
        across, up = (1 - tangent * tangent) / (1 + tangent * tangent), 2 * tangent / (1 + tangent * tangent)
        ends.append((start[0] + side * length * across, start[1] - length * up))
    return tuple(ends)
