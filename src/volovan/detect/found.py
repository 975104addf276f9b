"""What was found in a picture, in its own pixels: that of which answers, files, figures and scores are made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from volovan.data.objects.shapes import Affine, Raster
from volovan.detect.objects import Detections, Size
from volovan.detect.paste import paste


@dataclass(frozen=True)
class Found:
    """N objects that were found in a picture, the surest first.

    boxes   (N, 4) float64: x1, y1, x2, y2 in pixels of the picture, within it
    scores  (N,) float64, 0 to 1
    labels  (N,) int64 class numbers
    masks   of each its pixels; None where the network has no masks
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: tuple[Raster, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, chosen: np.ndarray) -> Found:
        """Some of them. chosen: (N,) bool, or numbers in a new order."""
        numbers = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        masks = None if self.masks is None else tuple(self.masks[number] for number in numbers)
        return Found(self.boxes[numbers], self.scores[numbers], self.labels[numbers], masks)

    def above(self, score: float) -> Found:
        """Those that are at least so sure."""
        return self.only(self.scores >= score)


def found_in(detections: Detections, to: Affine, size: Size) -> Found:
    """What a network found, in the picture itself, with the masks pasted into it.

    to    from the picture to what the network saw
    size  (height, width) of the picture
    """
    height, width = size
    seen = detections.boxes.detach().cpu().double().numpy()
    boxes = inverse(to).boxes(seen).clip(0, (width, height, width, height))
    scores = detections.scores.detach().cpu().double().numpy()
    labels = detections.labels.detach().cpu().numpy()
    masks = None
    if detections.masks is not None:
        maps = detections.masks.detach().float().cpu().numpy()
        maps = maps[:, :: int(np.sign(to.scale_y)), :: int(np.sign(to.scale_x))]
        masks = tuple(paste(boxes, maps, height, width))
    return Found(boxes, scores, labels, masks)


def inverse(to: Affine) -> Affine:
    """Back from there."""
    return Affine(1 / to.scale_x, 1 / to.scale_y, -to.shift_x / to.scale_x, -to.shift_y / to.scale_y)
