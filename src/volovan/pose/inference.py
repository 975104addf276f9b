"""From pictures and boxes to points in the pictures' own pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from volovan.data.objects.annotated import Annotated
from volovan.data.objects.skeleton import Skeleton
from volovan.data.pictures.tensors import to_tensor
from volovan.pose.crops import Crop, crop_of
from volovan.pose.found import Boxes, Poses
from volovan.pose.heatmaps import Coding, Grid, peaks, unflipped
from volovan.pose.network import PoseModel
from volovan.pose.oks import distinct
from volovan.pose.recipe import TestSettings
from volovan.room.settings import Size


@dataclass(frozen=True)
class Reading:
    """How maps are made and read, which a checkpoint says.

    size, padding  of what the network sees of an object
    coding         of the maps, unless the test says otherwise
    aligned        see `volovan.pose.heatmaps`
    """

    size: Size
    padding: float
    coding: Coding
    aligned: bool
    skeleton: Skeleton


def find_points(
    model: PoseModel, pictures: Sequence[Tensor], boxes: Sequence[Boxes], reading: Reading, test: TestSettings
) -> list[Poses]:
    """Points of the objects in boxes. pictures: (H, W, 3) uint8 each; at most `test.batch` objects at once."""
    objects = [
        (Image.fromarray(picture.cpu().numpy()), crop_of(box, reading.size, reading.padding))
        for picture, there in zip(pictures, boxes, strict=True)
        for box in clipped(there.boxes, picture.shape[1], picture.shape[0]).tolist()
    ]
    placed = list(_placed(model, objects, reading, test))
    found, first = [], 0
    for there in boxes:
        own = placed[first : first + len(there)]
        first += len(there)
        crops = [crop for crop, _ in own]
        points = np.array([points for _, points in own]).reshape(len(own), len(reading.skeleton.names), 3)
        found.append(_judged(points, crops, there, reading, test))
    return found


def find_annotated(model: PoseModel, batch: dict[str, Any], reading: Reading, test: TestSettings) -> list[Poses]:
    """The same in the boxes of objects that were annotated, see `EvalSamples`."""
    return find_points(model, batch["image"], [annotated_boxes(there) for there in batch["annotated"]], reading, test)


def annotated_boxes(there: Annotated) -> Boxes:
    """Of objects with known points, as COCO's validation with ground truth boxes takes them; sure, since drawn."""
    assert there.points is not None
    known = (there.points[:, :, 2] > 0).any(axis=1) & ~there.crowd
    return Boxes(there.boxes[known], np.ones(known.sum()), there.labels[known])


def clipped(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """(N, 4) -> (N, 4): what of them lies in the picture; those without are points at its edge."""
    return boxes.clip(0, (width, height, width, height))


def _placed(
    model: PoseModel, objects: Sequence[tuple[Image.Image, Crop]], reading: Reading, test: TestSettings
) -> Iterator[tuple[Crop, np.ndarray]]:
    """Of each object its crop, and its points (K, 3) in the picture with the values of their maps."""
    device = next(model.parameters()).device
    seen, grid = model.preprocessing, Grid(reading.aligned)
    for first in range(0, len(objects), test.batch):
        part = objects[first : first + test.batch]
        images = torch.stack([to_tensor(crop.cut(picture), seen.mean, seen.std) for picture, crop in part]).to(device)
        maps = heat_maps(model, images, reading, test.flip)
        places, scores = peaks(maps, test.coding or reading.coding)
        inner = grid.to_picture(places).double().cpu().numpy()
        sure = scores.clamp(0, 1).double().cpu().numpy()
        for (_, crop), own, how_sure in zip(part, inner, sure, strict=True):
            yield crop, np.column_stack((crop.back(own), how_sure))


def heat_maps(model: PoseModel, images: Tensor, reading: Reading, flip: bool) -> Tensor:
    """(B, K, h, w) float32; flip: the mean with those of the mirrored objects."""
    maps = model(images).float()
    if not flip:
        return torch.as_tensor(maps)
    mirrored = model(images.flip(-1)).float()
    return (maps + unflipped(mirrored, reading.skeleton.flips, reading.aligned)) / 2


def _judged(points: np.ndarray, crops: Sequence[Crop], there: Boxes, reading: Reading, test: TestSettings) -> Poses:
    """With a score for each object, without those that are others once more."""
    sure = points[:, :, 2] > test.sure
    means = np.where(sure, points[:, :, 2], 0).sum(axis=1) / np.maximum(sure.sum(axis=1), 1)
    areas = np.array([crop.sides[0] * crop.sides[1] for crop in crops])
    found = Poses(points, there.scores * means, there.boxes, there.labels, areas)
    if test.similar >= 1 or len(found) < 2:
        return found.only(np.argsort(-found.scores, kind="stable"))
    kept = [
        row
        for label in np.unique(found.labels)
        for own in [np.flatnonzero(found.labels == label)]
        for row in own[
            distinct(points[own, :, :2], found.scores[own], areas[own], reading.skeleton.sigmas, test.similar)
        ].tolist()
    ]
    return found.only(sorted(kept, key=lambda row: -found.scores[row]))
