"""From what a network found to the picture itself."""

from __future__ import annotations

import numpy as np

from volovan.data.objects.shapes import Affine
from volovan.detect.objects import Detections, Size
from volovan.detect.paste import paste
from volovan.room.found import Found


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
