"""Metrics of pose: average precision and recall of COCO by OKS, and the share of points that are near (PCK)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from volovan.data.objects.annotated import Annotated
from volovan.data.objects.skeleton import Skeleton
from volovan.pose.found import Poses
from volovan.pose.oks import Kept, OksScores, oks_scores, similarity
from volovan.room.coco import Once
from volovan.room.ready import PictureScore, zeros

Finder = Callable[[nn.Module, dict[str, Any]], Sequence[Poses]]
"""model, batch -> the points of each of its pictures, in their own pixels"""
NEAR = 0.2
"""of the longer side of the box: a point that is not further off counts as right (PCK@0.2)"""
RIGHT = 0.5
"""OKS from which on an object counts as found, where a picture is judged"""


@dataclass(frozen=True)
class JudgedPicture(PictureScore):
    """kept: what the figures need."""

    kept: Kept


class PoseMetric:
    """COCO's ten figures and PCK.

    AP is no sum over pictures: all points that were found are kept.
    """

    def __init__(
        self, classes: Sequence[str], skeleton: Skeleton, found: Finder, device: torch.device | str = "cpu"
    ) -> None:
        self.classes, self.skeleton, self.found = tuple(classes), skeleton, found
        count = len(skeleton.names)
        self.totals: dict[str, Tensor] = zeros({"count": 1, "near": count, "known": count}, torch.device(device))
        self.rows: dict[int, JudgedPicture] = {}
        self._scores = Once[OksScores]()

    def update(self, model: nn.Module, batch: dict[str, Any]) -> None:
        """batch: "index", numbers; "image", (H, W, 3) each; "annotated", in its pixels."""
        answers = zip(batch["index"], batch["image"], self.found(model, batch), batch["annotated"], strict=True)
        for index, picture, found, truth in answers:
            self.add(int(index), found, truth, (int(picture.shape[0]), int(picture.shape[1])))

    def add(self, index: int, found: Poses, truth: Annotated, size: tuple[int, int]) -> JudgedPicture:
        """One picture, judged: by the mean OKS of its objects with known points, 0 for one that was not found."""
        pairs, alike = matched_objects(found, truth, self.skeleton.sigmas)
        points = truth.points
        assert points is not None
        wanted = (points[:, :, 2] > 0) & ~truth.crowd[:, None]
        near = np.zeros_like(wanted)
        for number, there in pairs:
            x1, y1, x2, y2 = truth.boxes[there]
            away = np.hypot(*(found.points[number, :, :2] - points[there, :, :2]).T)
            near[there] = wanted[there] & (away <= NEAR * max(x2 - x1, y2 - y1))
        self.totals["near"] += torch.from_numpy(near.sum(axis=0)).to(self.totals["near"])
        self.totals["known"] += torch.from_numpy(wanted.sum(axis=0)).to(self.totals["known"])
        self.totals["count"] += 1
        counted = wanted.any(axis=1)
        values = [alike[number, there] for number, there in pairs if counted[there]]
        score = sum(values) / counted.sum() if counted.any() else float("nan")
        good = sum(value >= RIGHT for value in values)
        said = f"{good} of {counted.sum()} right, mean OKS {score:.2f}" if counted.any() else "nothing known"
        row = JudgedPicture(index, float(score), said, Kept(size, found, bare(truth)))
        self.rows[index] = row
        return row

    def scores(self) -> OksScores:
        """Computed once for the same rows."""
        rows = self.rows
        kept = (row.kept for row in rows.values())
        return self._scores.of(rows, lambda: oks_scores([*kept], len(self.classes), self.skeleton.sigmas))

    def finish(self) -> dict[str, float]:
        """0 to 1, nan where there is nothing to be found; see `OksScores.figures`, and pck."""
        known = self.totals["known"].sum()
        pck = float(self.totals["near"].sum() / known) if known else float("nan")
        return self.scores().figures() | {"pck": pck}

    def per_point(self) -> dict[str, list[float]]:
        """Of each point: how often it is known, and PCK; nan where it never is."""
        known = self.totals["known"].tolist()
        near = self.totals["near"].tolist()
        shares = [some / all_ if all_ else float("nan") for some, all_ in zip(near, known, strict=True)]
        return {"known": known, "pck": shares}


def matched_objects(
    found: Poses, truth: Annotated, sigmas: Sequence[float]
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """(found, there) of one class, the surest first, each the most similar of those that are left; and OKS (N, M)."""
    alike = similarity(found.points[:, :, :2], truth, sigmas)
    allowed = (found.labels[:, None] == truth.labels) & ~truth.crowd
    pairs: list[tuple[int, int]] = []
    left = np.where(allowed, alike, -1.0)
    for row in np.argsort(-found.scores, kind="stable").tolist():
        if left.shape[1] and left[row].max() > 0:
            there = int(left[row].argmax())
            pairs.append((row, there))
            left[:, there] = -1
    return pairs, alike


def bare(truth: Annotated) -> Annotated:
    """Without outlines, which no figure needs."""
    return Annotated(truth.boxes, truth.labels, truth.crowd, truth.areas, (None,) * len(truth), points=truth.points)
