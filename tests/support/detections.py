"""Annotated pictures and what a network might have found in them, and pycocotools' figures of both."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from volovan.data.objects.annotated import Annotated, Thing, annotated
from volovan.data.objects.shapes import Polygons, Raster, cut_out
from volovan.data.synthetic.shapes import Scene, draw_scene
from volovan.data.synthetic.shapes_classes import SHAPE_CLASSES, THINGS
from volovan.detect.metrics import DetectionMetric
from volovan.room.found import Found

CLASSES = tuple(SHAPE_CLASSES[number].name for number in THINGS)
Size = tuple[int, int]
Judged = tuple[Annotated, Size]
FIGURES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
FIGURES += ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")


def truth_of(scene: Scene) -> Annotated:
    """The things of a scene."""
    things = [Thing(one.category, one.box, cut_out(one.mask)) for one in scene.instances]
    return annotated(things, [THINGS.index(one.category) for one in scene.instances])


def scenes(count: int, height: int = 120, width: int = 160) -> list[Judged]:
    """Drawn scenes; every third object has a polygon of six corners, every seventh is a crowd."""
    pictures = []
    number = 0
    for index in range(count):
        truth = truth_of(draw_scene("val", index, height, width))
        things, labels = [], truth.labels.tolist()
        for box, shape in zip(truth.boxes.tolist(), truth.shapes, strict=True):
            number += 1
            six = Polygons((hexagon(box),)) if number % 3 == 0 else shape
            things.append(Thing("", None if number % 3 == 0 else tuple(box), six, crowd=number % 7 == 0))
        pictures.append((annotated(things, labels), (height, width)))
    return pictures


def hexagon(box: list[float]) -> np.ndarray:
    x1, y1, x2, y2 = box
    across, down = (x2 - x1) / 4.1, (y1 + y2) / 2 + 0.37
    return np.array(
        [[x1, down], [x1 + across, y1], [x2 - across, y1], [x2, down], [x2 - across, y2], [x1 + across, y2]]
    )


def as_found(truth: Annotated, size: Size, score: float = 1.0) -> Found:
    """The annotation as if it had been found; polygons become pixels as pycocotools draws them."""
    chosen = truth.only(~truth.crowd)
    masks = tuple(pixels_of(shape, size) for shape in chosen.shapes) if chosen.outlined else None
    return Found(chosen.boxes, np.full(len(chosen), score), chosen.labels, masks)


def pixels_of(shape: Any, size: Size) -> Raster:
    """As pycocotools draws it."""
    from pycocotools import mask

    if isinstance(shape, Raster):
        return shape
    runs = mask.frPyObjects([part.reshape(-1).tolist() for part in shape.parts], *size)
    return cut_out(mask.decode(mask.merge(runs)).astype(bool))


def jittered(truth: Annotated, size: Size, seed: int, times: int = 3, classes: int = len(CLASSES)) -> Found:
    """Each object `times` times, moved by up to a quarter, some with another class, some copies left out."""
    draw = np.random.default_rng(seed)
    height, width = size
    found = as_found(truth, size)
    chosen = np.repeat(np.arange(len(found)), times)
    chosen = chosen[draw.random(len(chosen)) < 0.8]
    boxes, labels = found.boxes[chosen], found.labels[chosen]
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = boxes + sides * draw.normal(0, 0.12, boxes.shape)
    labels = np.where(draw.random(len(labels)) < 0.15, draw.integers(classes, size=len(labels)), labels)
    masks = None
    if found.masks is not None:
        masks = tuple(shifted(found.masks[one], draw, height, width) for one in chosen.tolist())
    order = np.argsort(scores := -draw.random(len(chosen)).round(2))  # with ties
    moved = np.sort(moved.reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    return Found(moved, -scores, labels, masks).only(order)


def shifted(raster: Raster, draw: np.random.Generator, height: int, width: int) -> Raster:
    rows, columns = raster.mask.shape
    right, down = (int(side * draw.normal(0, 0.1)) for side in (columns, rows))
    x, y = (min(max(at, 0), end) for at, end in ((raster.x + right, width - columns), (raster.y + down, height - rows)))
    return Raster(raster.mask, x, y)


def coco_json(pictures: list[Judged], classes: int = len(CLASSES)) -> dict[str, Any]:
    """As a file of COCO would have it; rasters are encoded by pycocotools."""
    from pycocotools import mask

    images = [{"id": number, "height": size[0], "width": size[1]} for number, (_, size) in enumerate(pictures)]
    annotations: list[dict[str, Any]] = []
    for number, (truth, size) in enumerate(pictures):
        for row, shape in enumerate(truth.shapes):
            x1, y1, x2, y2 = truth.boxes[row].tolist()
            outline: Any = None
            if isinstance(shape, Raster):
                whole = np.zeros(size, np.uint8, order="F")
                rows, columns = shape.mask.shape
                whole[shape.y : shape.y + rows, shape.x : shape.x + columns] = shape.mask
                outline = mask.encode(whole)
            elif shape is not None:
                outline = [part.reshape(-1).tolist() for part in shape.parts]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(truth.labels[row]),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(truth.areas[row]),
                    "iscrowd": int(truth.crowd[row]),
                    "segmentation": outline,
                }
            )
    return {"images": images, "annotations": annotations, "categories": [{"id": k} for k in range(classes)]}


def pycocotools_figures(said: dict[str, Any], results: list[dict[str, Any]], kind: str) -> dict[str, float]:
    """The twelve figures; for masks the areas are those of masks, as detectron2 and mmdetection have it."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    results = [{key: value for key, value in one.items() if kind == "bbox" or key != "bbox"} for one in results]
    with contextlib.redirect_stdout(io.StringIO()):
        there = COCO()
        there.dataset = said
        there.createIndex()
        scorer = COCOeval(there, there.loadRes(results), kind)
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return dict(zip(FIGURES, scorer.stats.tolist(), strict=True))


def whole(raster: Raster, size: Size) -> np.ndarray:
    """(H, W) bool: the object in the picture."""
    mask = np.zeros(size, bool)
    raster.paint(mask, True)
    return mask


def metric_of(
    pictures: list[Judged], founds: list[Found], classes: Sequence[str] = CLASSES, masks: bool = True
) -> DetectionMetric:
    """Updated with two batches."""
    metric = DetectionMetric(classes, lambda model, batch: batch["answers"], masks)
    numbers = list(range(len(pictures)))
    truths, sizes = [truth for truth, _ in pictures], [size for _, size in pictures]
    half = len(numbers) // 2
    for part in (slice(0, half), slice(half, None)):
        batch = {"index": numbers[part], "annotated": truths[part], "picture_size": sizes[part]}
        metric.update(torch.nn.Identity(), batch | {"answers": founds[part]})
    return metric
