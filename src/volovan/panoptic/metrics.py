"""Panoptic quality (Kirillov et al., arXiv 1801.00868), by the rules of COCO.

A segment that was found and one that is there match if they are of one class and IoU > 0.5; no other can do so with
either. What is void in the truth counts neither for the union nor, where it is more than half of a found segment
(crowds of its class included), as wrongly found. Crowds themselves are neither matched nor missed. Of each class

    PQ = sum of IoU of matches / (TP + FP / 2 + FN / 2) = SQ * RQ,    SQ = mean IoU of matches,  RQ = F1

and the mean over classes that are there or were found. (panopticapi knows one crowd of a class in a picture, here all
count.)

Other answers of the same network are judged too where they are given: objects by the AP of their masks, classes of
pixels by mIoU, against the things and the classes of the same segments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from volovan.data.panoptic.segments import VOID, Panoptic, classes_of, objects_in, rows_of
from volovan.panoptic.inference import Answers
from volovan.room.coco import Once, mean
from volovan.room.coco_scores import CocoScores, Kept, coco_scores, keep
from volovan.room.confusion import confusion_of, iou_of
from volovan.room.ready import PictureScore, zeros

Finder = Callable[[nn.Module, dict[str, Any]], Sequence[Answers]]
"""model, batch -> what is found in each of its pictures, of their own sizes"""
MATCH = 0.5


@dataclass(frozen=True)
class Tally:
    """(K,) of each class: iou, sum over matches; tp, fp, fn."""

    iou: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray

    def quality(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(K,) PQ, SQ, RQ; nan for a class without segments, SQ 0 without a match."""
        parts = self.tp + self.fp / 2 + self.fn / 2
        nowhere = np.where(parts > 0, 0.0, np.nan)
        pq, rq = (np.divide(top, parts, out=nowhere.copy(), where=parts > 0) for top in (self.iou, self.tp))
        return pq, np.divide(self.iou, self.tp, out=nowhere.copy(), where=self.tp > 0), rq


@dataclass(frozen=True)
class JudgedPicture(PictureScore):
    """kept: what AP of objects needs, where they are judged."""

    kept: Kept | None = None


class PanopticMetric:
    """PQ, SQ and RQ over all classes, over things and over stuff: sums over pictures and processes first.

    also  "instance": AP of masks too, over classes of things; "semantic": mIoU too
    """

    def __init__(
        self,
        classes: Sequence[str],
        things: Sequence[bool],
        found: Finder,
        device: torch.device | str = "cpu",
        also: Sequence[str] = (),
    ) -> None:
        self.classes, self.things, self.found, self.also = tuple(classes), np.array(things, bool), found, tuple(also)
        self.rows: dict[int, JudgedPicture] = {}
        count = len(self.classes)
        sizes = {"count": 1, "iou": count, "tp": count, "fp": count, "fn": count}
        self.totals: dict[str, Tensor] = zeros(sizes, torch.device(device))
        if "semantic" in also:
            self.totals["confusion"] = torch.zeros(count, count, dtype=torch.long, device=device)
        self._scores = Once[CocoScores]()

    def update(self, model: nn.Module, batch: dict[str, Any]) -> None:
        """batch: "index", numbers; "panoptic", what is there, of the sizes of the pictures."""
        for index, found, truth in zip(batch["index"], self.found(model, batch), batch["panoptic"], strict=True):
            self.add(int(index), found, truth)

    def add(self, index: int, found: Answers, truth: Panoptic) -> JudgedPicture:
        """One picture, judged."""
        own = compare(found.segments.panoptic, truth, len(self.classes))
        self.totals["count"] += 1
        for name in ("iou", "tp", "fp", "fn"):
            self.totals[name] += torch.from_numpy(getattr(own, name)).to(self.totals[name])
        kept = None
        if "instance" in self.also:
            assert found.objects is not None
            height, width = truth.ids.shape
            kept = keep(found.objects, objects_in(truth, self.things.tolist()), (height, width), masks=True)
        if "semantic" in self.also:
            assert found.classes is not None
            seen, there = torch.from_numpy(found.classes), torch.from_numpy(classes_of(truth))
            self.totals["confusion"] += confusion_of(seen, there, len(self.classes)).to(self.totals["confusion"])
        pq = mean(own.quality()[0])
        right, wrong, missed = (int(part.sum()) for part in (own.tp, own.fp, own.fn))
        said = f"PQ {pq:.2f}: {right} right, {wrong} wrongly found, {missed} missed"
        row = JudgedPicture(index, pq, said if right + wrong + missed else "no segment", kept)
        self.rows[index] = row
        return row

    def tally(self) -> Tally:
        return Tally(*(self.totals[name].cpu().double().numpy() for name in ("iou", "tp", "fp", "fn")))

    def objects(self) -> CocoScores:
        """Scores of masks, computed once for the same rows."""
        kept = [row.kept for row in self.rows.values() if row.kept is not None]
        return self._scores.of(self.rows, lambda: masks_of(kept, len(self.classes)))

    def finish(self) -> dict[str, float]:
        """pq, sq, rq, and of each with _things and _stuff behind it; 0 to 1, nan where no class has a segment. With
        objects COCO's figures of masks, mask_ap and so on, with classes miou."""
        values = dict(zip(("pq", "sq", "rq"), self.tally().quality(), strict=True))
        groups = {"": np.ones(len(self.classes), bool), "_things": self.things, "_stuff": ~self.things}
        found = {name + group: mean(of[own]) for group, own in groups.items() for name, of in values.items()}
        if "instance" in self.also:
            found |= self.objects().figures("mask_")
        if "semantic" in self.also:
            found["miou"] = float(iou_of(self.totals["confusion"]).nanmean()) / 100
        return found

    def per_class(self) -> dict[str, list[float]]:
        """Of each class: segments that are there, pq, sq, rq, tp, fp, fn; with objects mask_ap, with classes iou. nan
        where it has no segment."""
        own = self.tally()
        pq, sq, rq = own.quality()
        table = {"segments": own.tp + own.fn, "pq": pq, "sq": sq, "rq": rq, "tp": own.tp, "fp": own.fp, "fn": own.fn}
        if "instance" in self.also:
            table["mask_ap"] = np.array(self.objects().per_class()[0])
        if "semantic" in self.also:
            table["iou"] = iou_of(self.totals["confusion"]).numpy() / 100
        return {name: values.tolist() for name, values in table.items()}


def masks_of(kept: Sequence[Kept], classes: int) -> CocoScores:
    scores = coco_scores(kept, classes, masks=True)[1]
    assert scores is not None
    return scores


def compare(found: Panoptic, truth: Panoptic, num_classes: int) -> Tally:
    """One picture. ValueError: sizes differ, or an id is not among the segments."""
    if found.ids.shape != truth.ids.shape:
        raise ValueError(f"found segments are {found.ids.shape}, expected {truth.ids.shape} as those that are there")
    there, seen = places_of(truth), places_of(found)
    counts = np.bincount(
        (there * (len(found.segments) + 1) + seen).reshape(-1),
        minlength=(len(truth.segments) + 1) * (len(found.segments) + 1),
    ).reshape(len(truth.segments) + 1, len(found.segments) + 1)  # row and column 0 are void
    real, own = (np.array([s.label for s in one.segments], int) for one in (truth, found))
    crowd = np.array([segment.crowd for segment in truth.segments], bool)
    both, areas = counts[1:, 1:], counts[:, 1:].sum(axis=0)
    same = real[:, None] == own
    union = counts[1:].sum(axis=1)[:, None] + areas - both - counts[0, 1:]
    iou = np.divide(both, union, out=np.zeros(both.shape), where=union > 0)
    match = same & ~crowd[:, None] & (iou > MATCH)
    ignored = counts[0, 1:] + (both * (same & crowd[:, None])).sum(axis=0)
    wrong = ~match.any(axis=0) & (areas > 0) & (ignored <= MATCH * areas)
    missed = ~match.any(axis=1) & ~crowd & (counts[1:].sum(axis=1) > 0)
    rows, columns = np.nonzero(match)

    def of(labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(labels, weights, minlength=num_classes).astype(float)

    return Tally(of(real[rows], iou[rows, columns]), of(real[rows]), of(own[wrong]), of(real[missed]))


def places_of(one: Panoptic) -> np.ndarray:
    """(H, W) int64: of each pixel the place of its segment, from 1 on, 0 of void."""
    place = rows_of(one.ids, [VOID, *(segment.id for segment in one.segments)])
    if (unlisted := place < 0).any():
        raise ValueError(f"id {one.ids[unlisted][0]} is not among the segments, expected one of theirs or {VOID}")
    return place
