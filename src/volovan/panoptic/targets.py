"""What is there in a picture, for a loss: one map of numbers, however many segments there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from volovan.data.panoptic.segments import Panoptic, pixels_of, rows_of

NONE = -1


@dataclass(frozen=True)
class Segments:
    """N segments of a picture.

    rows    (h, w) int32: of each pixel the segment that it belongs to, 0 to N - 1, or -1; the picture lies in the upper
            left corner of images that are padded to one size
    labels  (N,) int64 class numbers
    """

    rows: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Segments:
        return Segments(self.rows.to(device), self.labels.to(device))


def segments_of(target: Panoptic) -> Segments:
    """Those to learn: no crowds, and none that has no pixel (left)."""
    there = pixels_of(target.ids)
    learned = [segment for segment in target.segments if not segment.crowd and segment.id in there]
    rows = rows_of(target.ids, [segment.id for segment in learned]).astype(np.int32)
    return Segments(torch.from_numpy(rows), torch.tensor([segment.label for segment in learned], dtype=torch.int64))


def read_masks(segments: Segments, points: Tensor, frame: tuple[int, int], which: Tensor | None = None) -> Tensor:
    """How much of each point belongs to a segment, bilinear as `grid_sample` of its mask, zero beyond the picture.

    points  (P, 2) x, y in shares of the frame, one and the same for all segments; or (M, P, 2), own ones of each
    frame   (height, width) of the padded images in whose corner the picture lies
    which   (M,) the segments; None: all
    returns (M, P) float32; no segment takes a mask of its own
    """
    rows, (height, width) = segments.rows, segments.rows.shape
    if which is None:
        which = torch.arange(len(segments.labels), device=rows.device)
    if points.ndim == 2:
        points = points[None]
    x = points[..., 0].float() * frame[1] - 0.5
    y = points[..., 1].float() * frame[0] - 0.5
    left, top = x.floor(), y.floor()
    right_part, lower_part = x - left, y - top
    found = torch.zeros(len(which), points.shape[1], device=rows.device)
    for down in (0, 1):
        for across in (0, 1):
            row, column = top.long() + down, left.long() + across
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            own = rows[row.clamp(0, height - 1), column.clamp(0, width - 1)]
            part = (lower_part if down else 1 - lower_part) * (right_part if across else 1 - right_part)
            found += torch.where(inside & (own == which[:, None]), part, 0.0)
    return found
