"""Object keypoint similarity (van.md 5), suppression by it, and average precision and recall as COCO defines them.

OKS = mean over known points of exp(-d^2 / (2 area k^2)),  k = 2 sigma
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from volovan.data.objects.annotated import Annotated
from volovan.pose.found import Poses
from volovan.room.coco import known, mean, with_threads

_ALL, _MEDIUM, _LARGE = range(3)
"""areas: any, from 32 x 32 to 96 x 96 pixels, above"""
_AT_50, _AT_75 = 0, 5
"""of the similarities 0.5, 0.55 ... 0.95"""
MOST = 20
"""objects of a picture that count, the surest"""
_EPS = np.spacing(1)


def similarity(points: np.ndarray, truth: Annotated, sigmas: Sequence[float]) -> np.ndarray:
    """(N, M) OKS of points (N, K, 2) with the objects of a picture, as pycocotools computes it.

    Of an object without a known point, a point counts by how far it is outside of the box, twice as large.
    """
    there = truth.points
    assert there is not None
    away = points[:, None] - there[None, :, :, :2]  # (N, M, K, 2)
    seen: np.ndarray = there[:, :, 2] > 0
    sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
    low, high = truth.boxes[:, :2] - sides, truth.boxes[:, 2:] + sides
    outside = np.maximum(low[:, None] - points[:, None], 0) + np.maximum(points[:, None] - high[:, None], 0)
    bare = np.logical_not(seen.any(axis=1))
    away = np.where(bare[None, :, None, None], outside, away)
    counted = (seen | bare[:, None])[None]
    errors = _errors(away, truth.areas[None, :, None], sigmas)
    found: np.ndarray = (np.exp(-errors) * counted).sum(axis=2) / np.maximum(counted.sum(axis=2), 1)
    return found


def _errors(away: np.ndarray, areas: np.ndarray, sigmas: Sequence[float]) -> np.ndarray:
    """(..., K, 2) distances and (..., 1) areas -> (..., K) of which exp(-) is taken."""
    variances = (2 * np.array(sigmas)) ** 2
    found: np.ndarray = np.square(away).sum(axis=-1) / variances / (areas + _EPS) / 2
    return found


def distinct(
    points: np.ndarray, scores: np.ndarray, areas: np.ndarray, sigmas: Sequence[float], most: float
) -> list[int]:
    """OKS-NMS: numbers of the objects that stay, the surest first; of two that are more similar the surer one stays.

    points (N, K, 2), scores (N,), areas (N,) of what the network saw of each, most: OKS
    """
    order, kept = np.argsort(-scores, kind="stable").tolist(), list[int]()
    while order:
        best, *rest = order
        kept.append(best)
        both = (areas[best] + areas[rest]) / 2
        alike = np.exp(-_errors(points[best] - points[rest], both[:, None], sigmas)).mean(axis=1)
        order = [number for number, own in zip(rest, alike, strict=True) if own <= most]
    return kept


@dataclass(frozen=True)
class Kept:
    """Of a picture what scores need. size: (height, width)."""

    size: tuple[int, int]
    found: Poses
    truth: Annotated


@dataclass(frozen=True)
class OksScores:
    """Over 10 similarities, K classes and 3 areas; nan where a class has no object.

    precision  (10, 101, K, 3) at the recalls 0, 0.01 ... 1
    recall     (10, K, 3)
    """

    precision: np.ndarray
    recall: np.ndarray

    def figures(self) -> dict[str, float]:
        """The ten of COCO, 0 to 1; nan where nothing is there to be found."""
        return {
            f"{name}{end}": mean(values[chosen])
            for name, values in (("ap", self.precision), ("ar", self.recall))
            for end, chosen in (
                ("", (..., _ALL)),
                ("50", (_AT_50, ..., _ALL)),
                ("75", (_AT_75, ..., _ALL)),
                ("_medium", (..., _MEDIUM)),
                ("_large", (..., _LARGE)),
            )
        }


def oks_scores(pictures: Sequence[Kept], classes: int, sigmas: Sequence[float]) -> OksScores:
    """Equal to those of pycocotools to the last digit (the tests)."""
    return with_threads(_scores, pictures, classes, sigmas)


def _scores(pictures: Sequence[Kept], classes: int, sigmas: Sequence[float]) -> OksScores:
    from hotcoco import COCO, COCOeval  # here: neither `import volovan` nor --help needs it

    images = [{"id": number, "height": kept.size[0], "width": kept.size[1]} for number, kept in enumerate(pictures)]
    said: dict[str, Any] = {"images": images, "annotations": []}
    said["categories"] = [{"id": number, "name": str(number)} for number in range(classes)]
    results: list[dict[str, Any]] = []
    for number, kept in enumerate(pictures):
        truth = kept.truth
        assert truth.points is not None
        for row, points in enumerate(truth.points):
            x1, y1, x2, y2 = truth.boxes[row].tolist()
            said["annotations"].append(
                {
                    "id": len(said["annotations"]) + 1,  # a match with number 0 would count as none
                    "image_id": number,
                    "category_id": int(truth.labels[row]),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(truth.areas[row]),
                    "iscrowd": int(truth.crowd[row]),
                    "keypoints": points.ravel().tolist(),
                    "num_keypoints": int((points[:, 2] > 0).sum()),
                }
            )
        for points, label, score in zip(kept.found.points, kept.found.labels, kept.found.scores, strict=True):
            places = np.column_stack((points[:, :2], np.ones(len(points))))
            own = {"image_id": number, "category_id": int(label), "keypoints": places.ravel().tolist()}
            results.append(own | {"score": float(score)})
    there = COCO(said)
    scorer = COCOeval(there, there.load_res(results), "keypoints")
    scorer.params.kpt_oks_sigmas = list(sigmas)
    scorer.evaluate()
    scorer.accumulate()
    figures: Any = scorer.eval
    return OksScores(known(figures["precision"][..., -1]), known(figures["recall"][..., -1]))
