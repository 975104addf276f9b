"""Which named points objects have, the lines between them, and what becomes of each in a mirror.

A point is x, y, v as COCO has it: v 0 is not labelled (x and y then mean nothing), 1 labelled but hidden, 2 visible.
Coordinates are those of boxes, pixel (row, column) covers [column, column + 1) x [row, row + 1): x = 10 is the left
edge of pixel 10, and in a mirrored picture of width W it is W - x. A JSON of COCO in which all of them are whole
numbers, as COCO's own, names pixels: x = 10 is then the middle of pixel 10, 10.5, or mirrored points would be a pixel
off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COCO_NAMES = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)
"""of a person, in COCO's order"""
_COCO_SIGMAS = {  # of the left one and the right one
    "nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072,
    "wrist": 0.062, "hip": 0.107, "knee": 0.087, "ankle": 0.089,
}  # fmt: skip
OTHER_SIGMA = 0.05
"""of points that COCO has not measured; lies between its eyes and its wrists"""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|\d+")
_JOINED = re.compile(r"\b(left|right)(?=\w)")
_SIDES = {"l": "left", "r": "right"}
_OTHER_SIDE = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class Skeleton:
    """K named points.

    names   each once
    lines   pairs of numbers of points, from 0, to be joined when they are drawn
    flips   of each point the number of the one that it becomes in a mirrored picture; (): as the names say, left for
            right
    sigmas  of each how far people's labels of it scatter, as OKS takes it; (): COCO's for the joints of a person, which
            are known by their names, else 0.05 for each
    raises  ValueError: these contradict each other
    """

    names: tuple[str, ...]
    lines: tuple[tuple[int, int], ...] = ()
    flips: tuple[int, ...] = ()
    sigmas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.names)
        again = next((name for place, name in enumerate(self.names) if name in self.names[:place]), None)
        if again is not None or not count:
            raise ValueError(f"names {again!r} twice, expected each once" if count else "no names of points")
        if wrong := [line for line in self.lines if not all(0 <= end < count for end in line)]:
            raise ValueError(f"a line {wrong[0]}, expected two numbers from 0 to {count - 1}")
        flips, sigmas = self.flips or flips_of(self.names), self.sigmas or sigmas_of(self.names)
        if sorted(flips) != list(range(count)) or any(flips[flips[place]] != place for place in range(count)):
            raise ValueError(f"the flips {list(flips)}, expected {count} numbers from 0 on that swap pairs of points")
        if len(sigmas) != count or not all(0 < sigma < np.inf for sigma in sigmas):
            raise ValueError(f"the sigmas {list(sigmas)}, expected {count} numbers above 0")
        object.__setattr__(self, "flips", tuple(flips))
        object.__setattr__(self, "sigmas", tuple(sigmas))

    def __len__(self) -> int:
        return len(self.names)

    def swapped(self, points: np.ndarray) -> np.ndarray:
        """(..., K, 3) of a mirrored picture, left and right as they are called there."""
        return points[..., list(self.flips), :]


def flips_of(names: Sequence[str]) -> tuple[int, ...]:
    """Of each point the number of the one that is called like it but for left and right, else its own.

    Sides are words of a name, in any place and case, joined by anything or nothing: left_eye, "Left Eye", leftEye,
    eye_l, lefteye.
    """
    words = [_words(name) for name in names]
    others = [tuple(_OTHER_SIDE.get(word, word) for word in name) for name in words]
    return tuple(
        words.index(other) if words.count(other) == words.count(own) == 1 else number
        for number, (own, other) in enumerate(zip(words, others, strict=True))
    )


def sigmas_of(names: Sequence[str]) -> tuple[float, ...]:
    """COCO's where the points are some joints of its persons, or all of these and others."""
    known, found = {_words(name) for name in COCO_NAMES}, [_words(name) for name in names]
    if not ({*found} <= known or known <= {*found}):
        return (OTHER_SIGMA,) * len(names)
    return tuple(_COCO_SIGMAS[words[-1]] if words in known else OTHER_SIGMA for words in found)


def _words(name: str) -> tuple[str, ...]:
    """Those of a name, in lower case, sides written out."""
    found = _JOINED.sub(r"\1 ", " ".join(_WORD.findall(name)).lower()).split()
    return tuple(_SIDES.get(word, word) for word in found)
