"""The points that were found of the objects of a picture, in its own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Poses:
    """N objects with K points each.

    points  (N, K, 3) float64: x, y and how sure, 0 to 1
    scores  (N,) float64: of the object: that of its box times the mean of its points that are sure enough
    boxes   (N, 4) float64: x1, y1, x2, y2 that the network was shown, without the padding
    labels  (N,) int64 class numbers
    areas   (N,) float64: pixels of the picture that the network saw of each
    """

    points: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    areas: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def only(self, chosen: Sequence[int] | np.ndarray) -> Poses:
        """Some of them. chosen: numbers in a new order, or (N,) bool."""
        rows = np.asarray(chosen, bool if np.asarray(chosen).dtype == bool else int)
        return Poses(self.points[rows], self.scores[rows], self.boxes[rows], self.labels[rows], self.areas[rows])


@dataclass(frozen=True)
class Boxes:
    """Objects of a picture whose points are to be found.

    boxes   (N, 4) float64: x1, y1, x2, y2
    scores  (N,) float64: how sure each is; 1 for boxes that were drawn by hand
    labels  (N,) int64 class numbers
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)
