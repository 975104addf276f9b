"""Named points of objects, painted: lines between them, and which side each is on."""

from __future__ import annotations

import numpy as np
from PIL import ImageDraw

from volovan.data.masks.coding import Colour
from volovan.data.objects.shapes import Affine
from volovan.data.objects.skeleton import Skeleton

MIDDLE, FIRST, SECOND = (250, 250, 250), (255, 168, 38), (64, 196, 255)
"""colours of points without a partner, of the first one of a pair, as left_eye is in COCO, and of the other"""
_HALO = (20, 22, 25)


def draw_points(
    draw: ImageDraw.ImageDraw, points: np.ndarray, skeleton: Skeleton, to: Affine, colour: Colour, size: float
) -> None:
    """Those of an object that are labelled, (K, 3) in its own picture; hidden ones are hollow.

    to      from that picture to the one that is painted
    colour  of the lines
    size    of the picture, its longer side, which decides how thick all is
    """
    width = 1 + round(size / 350)
    radius = width + 0.5
    places, seen = to.points(points[:, :2]), points[:, 2]
    for one, other in skeleton.lines:
        if seen[one] and seen[other]:
            ends = [tuple(places[end].tolist()) for end in (one, other)]
            draw.line(ends, _HALO, width + 2)
            draw.line(ends, colour, width)
    for number, (x, y) in enumerate(places.tolist()):
        if not seen[number]:
            continue
        partner = skeleton.flips[number]
        of_side = MIDDLE if partner == number else FIRST if number < partner else SECOND
        spot = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse((spot[0] - 1, spot[1] - 1, spot[2] + 1, spot[3] + 1), fill=_HALO)
        draw.ellipse(spot, fill=of_side if seen[number] == 2 else _HALO, outline=of_side)
