"""Metrics of detection: average precision and recall of COCO, that of Pascal VOC, and what was confused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from volovan.data.objects.annotated import Annotated
from volovan.detect.judge import IOU, NEITHER, SCORE, Verdict, said_of, verdict, voc_hits
from volovan.detect.objects import Size
from volovan.room.coco import Once, mean
from volovan.room.coco_scores import CocoScores, Kept, coco_scores, keep
from volovan.room.found import Found
from volovan.room.ready import PictureScore

Finder = Callable[[nn.Module, dict[str, Any]], Sequence[Found]]
"""model, batch -> what is found in each of its pictures, in their own pixels"""


@dataclass(frozen=True)
class JudgedPicture(PictureScore):
    """kept: what the figures need; told: of those at least so sure as `DetectionMetric.score`; hits: see `voc_hits`."""

    kept: Kept
    told: Verdict
    hits: np.ndarray


class DetectionMetric:
    """COCO's twelve figures of boxes and, with `mask_` before their names, of masks; VOC's AP; what was confused.

    AP is no sum over pictures: all that was found is kept, without the pixels of the masks (runs only).
    """

    def __init__(
        self,
        classes: Sequence[str],
        found: Finder,
        masks: bool,
        score: float = SCORE,
        iou: float = IOU,
        device: torch.device | str = "cpu",
    ) -> None:
        """masks: whether they are scored; score, iou: from which on an object counts as found, in the confusion matrix
        and where a picture is judged; device: that sums are gathered on."""
        self.classes, self.found, self.masks, self.score, self.iou = tuple(classes), found, masks, score, iou
        self.totals: dict[str, Tensor] = {"count": torch.zeros(1, device=device)}
        self.rows: dict[int, JudgedPicture] = {}
        self._scores = Once[tuple[CocoScores, CocoScores | None]]()

    def update(self, model: nn.Module, batch: dict[str, Any]) -> None:
        """batch: "index", numbers; "annotated", in pixels of the picture; "picture_size", (height, width)."""
        answers = zip(batch["index"], self.found(model, batch), batch["annotated"], batch["picture_size"], strict=True)
        for index, found, truth, (height, width) in answers:
            self.add(int(index), found, truth, (int(height), int(width)))

    def add(self, index: int, found: Found, truth: Annotated, size: Size) -> JudgedPicture:
        """One picture, judged."""
        sure = found.above(self.score)
        told = verdict(sure, truth, self.iou)
        said = said_of(told, sure, truth, self.classes)
        row = JudgedPicture(index, told.f1, said, keep(found, truth, size, self.masks), told, voc_hits(found, truth))
        self.rows[index] = row
        self.totals["count"] += 1
        return row

    def coco(self) -> tuple[CocoScores, CocoScores | None]:
        """Of boxes, and of masks; computed once for the same rows."""
        rows = self.rows
        kept = (row.kept for row in rows.values())
        return self._scores.of(rows, lambda: coco_scores([*kept], len(self.classes), self.masks))

    def finish(self) -> dict[str, float]:
        """0 to 1, nan where there is nothing to be found; see `CocoScores.figures`, and voc_ap50."""
        boxes, masks = self.coco()
        figures = boxes.figures() | {"voc_ap50": mean(self.voc_ap50())}
        return figures | (masks.figures("mask_") if masks else {})

    def voc_ap50(self) -> np.ndarray:
        """(K,) the area under precision over recall, over all points; nan for a class without objects."""
        rows = list(self.rows.values())
        scores = np.concatenate([np.zeros(0), *(row.kept.found.scores for row in rows)])
        labels = np.concatenate([np.zeros(0, int), *(row.kept.found.labels for row in rows)])
        hits = np.concatenate([np.zeros(0, np.int8), *(row.hits for row in rows)])
        of_class = [labels == number for number in range(len(self.classes))]
        counts = self.objects().tolist()
        return np.array([voc_ap(scores[own], hits[own], count) for own, count in zip(of_class, counts, strict=True)])

    def objects(self) -> np.ndarray:
        """(K,) objects of each class, without crowds."""
        truths = [row.kept.truth for row in self.rows.values()]
        labels = np.concatenate([np.zeros(0, int), *(truth.labels[~truth.crowd] for truth in truths)])
        return np.bincount(labels, minlength=len(self.classes))

    def per_class(self) -> dict[str, list[float]]:
        """Of each class: objects, ap, ap50, voc_ap50, with masks mask_ap and mask_ap50; nan where it has no objects."""
        boxes, masks = self.coco()
        table = {"objects": self.objects().tolist(), **dict(zip(("ap", "ap50"), boxes.per_class(), strict=True))}
        table["voc_ap50"] = self.voc_ap50().tolist()
        return table | (dict(zip(("mask_ap", "mask_ap50"), masks.per_class(), strict=True)) if masks else {})

    def confusion(self) -> Tensor:
        """(K + 1, K + 1) objects; rows are the true classes. The last row is what was found where there is nothing, or
        a second time, the last column what was missed."""
        nothing = len(self.classes)
        table = torch.zeros(nothing + 1, nothing + 1, dtype=torch.long)
        for row in self.rows.values():
            told, truth = row.told, row.kept.truth.labels
            seen = row.kept.found.above(self.score).labels
            for number, there in (*told.right, *told.confused):
                table[truth[there], seen[number]] += 1
            for number in (*told.doubled, *told.invented):
                table[nothing, seen[number]] += 1
            for there in told.missed:
                table[truth[there], nothing] += 1
        return table


def voc_ap(scores: np.ndarray, hits: np.ndarray, objects: int) -> float:
    """scores (N,) and hits (N,) of a class over all pictures, see `voc_hits`; nan without objects.

    Precision is made to fall with recall, then it is summed up over each step of recall, as VOC does since 2010.
    """
    if not objects:
        return float("nan")
    hits = hits[np.argsort(-scores, kind="stable")]
    right = (hits[hits != NEITHER] == 1).cumsum()
    precision = right / np.arange(1, len(right) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float((falling * np.diff(right, prepend=0)).sum() / objects)
