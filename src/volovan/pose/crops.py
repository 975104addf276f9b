"""The part of a picture around an object that the network sees, and the way of points there and back.

A crop is a similarity: the picture is turned around the middle of the box, scaled, perhaps mirrored, so that the box,
widened to the shape of the network's input, fills it. Pixels are places: (row, column) covers [column, column + 1).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from volovan.data.objects.shapes import Box
from volovan.pose.recipe import AugmentSettings
from volovan.room.settings import Size

LEAST_SIDE = 1.0
"""pixels that a box has at least: one without area is widened"""
HALF_PADDING = 1.5
"""by which half a body is widened, whose points lie at its edge"""


@dataclass(frozen=True)
class Crop:
    """What of a picture fills (height, width) pixels.

    centre  x, y of its middle, in the picture
    sides   its width and height there, in the shape of size
    angle   degrees by which what it shows is turned, clockwise
    mirror  whether left and right change places
    """

    centre: tuple[float, float]
    sides: tuple[float, float]
    size: Size
    angle: float = 0.0
    mirror: bool = False

    def matrix(self) -> np.ndarray:
        """(2, 3): x, y, 1 in the picture -> x, y in the crop."""
        height, width = self.size
        scale = width / self.sides[0]
        cosine, sine = (scale * trigonometric(math.radians(self.angle)) for trigonometric in (math.cos, math.sin))
        turn = np.array([[cosine, -sine], [sine, cosine]])
        shift = np.array([width / 2, height / 2]) - turn @ np.array(self.centre)
        found = np.column_stack((turn, shift))
        if self.mirror:
            found[0] = np.array([0, 0, width]) - found[0]
        return found

    def points(self, places: np.ndarray) -> np.ndarray:
        """(..., 2) in the picture -> (..., 2) in the crop."""
        to = self.matrix()
        return np.asarray(places @ to[:, :2].T + to[:, 2])

    def back(self, places: np.ndarray) -> np.ndarray:
        """(..., 2) in the crop -> (..., 2) in the picture."""
        to = self.matrix()
        return np.asarray((places - to[:, 2]) @ np.linalg.inv(to[:, :2]).T)

    def cut(self, picture: Image.Image) -> Image.Image:
        """The pixels, bilinear; what lies outside of the picture is black."""
        to = self.matrix()
        inverse = np.linalg.inv(to[:, :2])
        back = np.column_stack((inverse, -inverse @ to[:, 2]))  # Pillow goes from middle of pixel to middle of pixel
        size = self.size[::-1]
        return picture.transform(size, Image.Transform.AFFINE, back.ravel().tolist(), Image.Resampling.BILINEAR)


def crop_of(box: Sequence[float], size: Size, padding: float) -> Crop:
    """Around a box x1, y1, x2, y2, in the shape of size (height, width), and so much larger, such as 1.25."""
    x1, y1, x2, y2 = box
    shape = size[1] / size[0]
    width, height = max(x2 - x1, LEAST_SIDE), max(y2 - y1, LEAST_SIDE)
    width, height = max(width, height * shape), max(height, width / shape)
    return Crop(((x1 + x2) / 2, (y1 + y2) / 2), (width * padding, height * padding), size)


def varied(crop: Crop, augment: AugmentSettings) -> Crop:
    """By chance shifted, scaled, turned and mirrored (van.md 4.6)."""
    (x, y), (width, height) = crop.centre, crop.sides
    if random.random() < augment.shift_probability:
        x += random.uniform(-1, 1) * augment.shift * width
        y += random.uniform(-1, 1) * augment.shift * height
    low, high = augment.scale
    scale = min(max(random.gauss(1, (high - low) / 2), low), high)
    angle = 0.0
    if random.random() < augment.rotate_probability:
        angle = min(max(random.gauss(0, augment.rotate / 2), -augment.rotate), augment.rotate)
    mirror = random.random() < augment.hflip
    return replace(crop, centre=(x, y), sides=(width * scale, height * scale), angle=angle, mirror=mirror)


def half_body(points: np.ndarray, upper: Sequence[int], least: int, size: Size) -> Crop | None:
    """Around the upper or the lower points alone, of an object of which at least so many are known; None if not.

    points  (K, 3): x, y, and above 0 where a point is known
    upper   numbers of the points of the upper half
    """
    known = points[:, 2] > 0
    if not upper or known.sum() < least:
        return None
    above = np.isin(np.arange(len(points)), upper)
    halves = [half for half in (known & above, known & ~above) if half.sum() >= 2]
    if not halves:
        return None
    wanted = int(random.random() < 0.5)  # the other one where this has too few
    places = points[halves[min(wanted, len(halves) - 1)], :2]
    (x, y), (low, high) = places.mean(axis=0), (places.min(axis=0), places.max(axis=0))
    width, height = (high - low).tolist()
    box: Box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return crop_of(box, size, HALF_PADDING)
