"""Average precision and recall as COCO defines them. The library that matches stands behind `coco_scores` alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from volovan.data.objects.annotated import Annotated
from volovan.data.objects.shapes import Raster
from volovan.room.coco import known, mean, with_threads
from volovan.room.found import Found
from volovan.room.runs import rle, runs_of, text_of
from volovan.room.settings import Size

_ALL, _SMALL, _MEDIUM, _LARGE = range(4)
"""areas: any, to 32 x 32 pixels, to 96 x 96, above"""
_ONE, _TEN, _HUNDRED = range(3)
"""objects of a class and a picture that count, the surest"""
_AT_50, _AT_75 = 0, 5
"""of the overlaps 0.5, 0.55 ... 0.95"""
RECALLS = np.linspace(0, 1, 101)
Segment = dict[str, Any] | tuple[np.ndarray, ...]
"""RLE of COCO, or corners of polygons, each (n, 2)"""


@dataclass(frozen=True)
class Kept:
    """What scores need of a picture, small: no masks, but the runs of their pixels.

    size          (height, width)
    found, truth  without masks and shapes
    found_areas   (N,) pixels of the masks
    """

    size: Size
    found: Found
    truth: Annotated
    found_segments: tuple[Segment, ...] = ()
    found_areas: np.ndarray | None = None
    truth_segments: tuple[Segment, ...] = ()


def keep(found: Found, truth: Annotated, size: Size, masks: bool) -> Kept:
    """masks: whether they are scored too. An object without outline, or a mask that is missing, counts as its box."""
    bare = Annotated(truth.boxes, truth.labels, truth.crowd, truth.areas, ())
    own = Found(found.boxes, found.scores, found.labels)
    if not masks:
        return Kept(size, own, bare)
    if found.masks is None and len(found):
        raise ValueError("masks are to be scored, but what was found has none; score boxes alone with masks=False")
    runs = [runs_of(mask, *size) for mask in found.masks or ()]
    texts = tuple({"size": list(size), "counts": text_of(own)} for own in runs)
    areas = np.array([own[1::2].sum() for own in runs], float)
    return Kept(size, own, bare, texts, areas, tuple(_segments(truth, size)))


def _segments(truth: Annotated, size: Size) -> Any:
    for shape, box in zip(truth.shapes, truth.boxes, strict=True):
        if shape is None:
            x1, y1, x2, y2 = box.tolist()
            yield (np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]),)
        else:
            yield rle(shape, *size) if isinstance(shape, Raster) else shape.parts


@dataclass(frozen=True)
class CocoScores:
    """Over 10 overlaps, K classes, 4 areas, 3 numbers of objects; nan where a class has no object.

    precision  (10, 101, K, 4, 3) at the recalls 0, 0.01 ... 1
    recall     (10, K, 4, 3)
    """

    precision: np.ndarray
    recall: np.ndarray

    def figures(self, prefix: str = "") -> dict[str, float]:
        """The twelve of COCO, 0 to 1; nan where nothing is there to be found."""
        precision, recall = self.precision[..., _HUNDRED], self.recall
        values = {
            "ap": precision[..., _ALL],
            "ap50": precision[_AT_50, ..., _ALL],
            "ap75": precision[_AT_75, ..., _ALL],
            "ap_small": precision[..., _SMALL],
            "ap_medium": precision[..., _MEDIUM],
            "ap_large": precision[..., _LARGE],
            "ar1": recall[..., _ALL, _ONE],
            "ar10": recall[..., _ALL, _TEN],
            "ar100": recall[..., _ALL, _HUNDRED],
            "ar_small": recall[..., _SMALL, _HUNDRED],
            "ar_medium": recall[..., _MEDIUM, _HUNDRED],
            "ar_large": recall[..., _LARGE, _HUNDRED],
        }
        return {prefix + name: mean(value) for name, value in values.items()}

    def per_class(self) -> tuple[list[float], list[float]]:
        """(AP, AP50) of each class."""
        curves = self.precision[..., _ALL, _HUNDRED]
        count = curves.shape[2]
        return [mean(curves[:, :, k]) for k in range(count)], [mean(curves[_AT_50, :, k]) for k in range(count)]

    def curves(self) -> np.ndarray:
        """(K, 101) precision at the recalls 0, 0.01 ... 1 and the overlap 0.5."""
        return self.precision[_AT_50, :, :, _ALL, _HUNDRED].T


def coco_scores(pictures: Sequence[Kept], classes: int, masks: bool) -> tuple[CocoScores, CocoScores | None]:
    """Of boxes, and of masks where they were kept.

    hotcoco is what matches: its precision and recall equal those of pycocotools to the last digit (the tests), and it
    is ten times as fast. faster-coco-eval has the same classes, should it ever be needed.
    """
    return with_threads(_scores, pictures, classes, masks)


def _scores(pictures: Sequence[Kept], classes: int, masks: bool) -> tuple[CocoScores, CocoScores | None]:
    from hotcoco import COCO, COCOeval  # here: neither `import volovan` nor --help needs it

    sizes = [{"id": number, "height": kept.size[0], "width": kept.size[1]} for number, kept in enumerate(pictures)]
    names = [{"id": number, "name": str(number)} for number in range(classes)]
    truths, founds = [kept.truth for kept in pictures], [kept.found for kept in pictures]
    crowd = _joined([truth.crowd for truth in truths])
    drawn = masks and [_plain(one) for kept in pictures for one in kept.truth_segments]
    there = COCO.from_arrays(
        sizes,
        names,
        _numbers(truths),
        _joined([truth.labels for truth in truths]),
        _sides(truths),
        ids=np.arange(1, len(crowd) + 1),  # a match with number 0 would count as none
        area=_joined([truth.areas for truth in truths], float),
        iscrowd=crowd,
        segmentation=drawn or None,
    )
    scores, labels = (_joined([getattr(found, name) for found in founds], float) for name in ("scores", "labels"))
    table = np.column_stack((_numbers(founds), _sides(founds), scores, labels))
    texts: Any = [one for kept in pictures for one in kept.found_segments] if masks else None
    seen = there.load_res(table, segmentation=texts)
    of_boxes = _run(COCOeval(there, seen, "bbox"))
    if not masks:
        return of_boxes, None
    areas = _joined([kept.found_areas for kept in pictures], float)  # those of masks, not of boxes
    seen.update_anns(ids=np.arange(1, len(areas) + 1), area=areas)
    return of_boxes, _run(COCOeval(there, seen, "segm"))


def _run(scorer: Any) -> CocoScores:
    scorer.evaluate()
    scorer.accumulate()
    return CocoScores(*(known(scorer.eval[name]) for name in ("precision", "recall")))


def _joined(parts: Sequence[Any], kind: type = int) -> np.ndarray:
    return np.concatenate([np.zeros(0, kind), *parts]).astype(kind)


def _numbers(parts: Sequence[Any]) -> np.ndarray:
    """Of the picture of each object."""
    return np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def _sides(parts: Sequence[Any]) -> np.ndarray:
    """(N, 4) x, y, width, height of all boxes."""
    boxes = np.concatenate([np.zeros((0, 4)), *(part.boxes for part in parts)])
    return np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1)


def _plain(segment: Segment) -> Any:
    return segment if isinstance(segment, dict) else [part.reshape(-1).tolist() for part in segment]
