"""From queries to answers at the size of the picture: segments, objects, or classes of pixels, of one network.

A mask is stretched to the padded images that the network saw, cropped to the real picture in their corner, and
stretched to the picture's own size, each time bilinearly, as logits; then it is a probability.

Memory: masks are stretched in strips of rows, of at most STRIP values for all queries together (or one row of each).
Of the size of the picture there are the answer and two numbers a pixel of it at most; for objects one mask at a time,
of which is kept what lies in its box.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from volovan.data.objects.shapes import Raster, cut_out
from volovan.data.panoptic.segments import VOID, Panoptic, Segment
from volovan.panoptic.losses import frame_of
from volovan.panoptic.network import PanopticModel
from volovan.panoptic.recipe import TestSettings
from volovan.room.bands import Corner, Held, Resized
from volovan.room.found import Found
from volovan.room.settings import Size
from volovan.room.views import alike

STRIP = 1 << 22
"""values that are worked out at once"""
SURE = 0.5
"""from which on a pixel belongs to a mask"""


@dataclass(frozen=True)
class Rule:
    """score: queries above it are segments; visible: the least part of a mask that others leave of it."""

    score: float = 0.8
    visible: float = 0.8


USUAL = Rule()


@dataclass(frozen=True)
class FoundSegments:
    """panoptic: with ids from 1 on, in the order of the queries; scores: (N,), of merged ones the largest."""

    panoptic: Panoptic
    scores: np.ndarray


@dataclass(frozen=True)
class Answers:
    """What one network says of a picture. objects: things, which may overlap; classes: (H, W) uint8. Both where they
    were asked for."""

    segments: FoundSegments
    objects: Found | None = None
    classes: np.ndarray | None = None


def find_each(
    model: PanopticModel,
    images: Sequence[Tensor],
    sizes: Sequence[Size],
    things: Sequence[bool],
    test: TestSettings,
    also: Sequence[str] = (),
) -> list[Answers]:
    """Pictures (3, h, w), scaled and normalised, and the (height, width) of each -> what is found, of these sizes.

    also  "instance", "semantic": answers besides segments

    Pictures of one shape go through the network together, so that none is padded for another: its answer is its own.
    """
    found: dict[int, Answers] = {}
    for numbers in alike(images, test.batch):
        together = torch.stack([images[number] for number in numbers])
        said: Any = model(together)
        seen = (together.shape[-2], together.shape[-1])
        for number, classes, masks in zip(numbers, said.classes, said.masks, strict=True):
            size = sizes[number]
            segments = find_segments(classes, masks, seen, size, things, Rule(test.score, test.visible))
            objects = find_objects(classes, masks, seen, size, test.most, things) if "instance" in also else None
            pixels = find_classes(classes, masks, seen, size) if "semantic" in also else None
            told = None if pixels is None else pixels.cpu().numpy().astype(np.uint8)
            found[number] = Answers(segments, objects, told)
    return [found[number] for number in range(len(images))]


@torch.no_grad()
def find_segments(
    classes: Tensor, masks: Tensor, seen: Size, size: Size, things: Sequence[bool], rule: Rule = USUAL
) -> FoundSegments:
    """Of one picture: (N, K + 1) and (N, h, w) logits -> what each pixel belongs to, VOID where nothing is sure.

    seen    size of the picture as the network saw it, without padding
    size    that of the answer
    things  of each class whether it is one; of others all queries of a class are one segment

    Queries compete with the product of their score and their mask. What a query wins of its own mask (there at least
    0.5) is its segment, unless all that it wins is less than `visible` of the mask. (So the original code, of which the
    published figures are; by the paper's words only the former would be counted.)
    """
    scores, labels = classes.float().softmax(dim=1).max(dim=1)
    kept = ((scores > rule.score) & (labels != classes.shape[1] - 1)).nonzero()[:, 0]
    scores, labels = scores[kept], labels[kept]
    if not len(kept):
        return FoundSegments(Panoptic(np.full(size, VOID, np.int32), ()), np.zeros(0, np.float32))
    winners = torch.full(size, -1, dtype=torch.int32, device=masks.device)  # of pixels in the mask of who wins them
    areas = torch.zeros(3, len(kept), dtype=torch.long, device=masks.device)  # of masks, of what wins, of both
    for rows, own in strips(masks[kept], seen, size):
        p = own.sigmoid()
        inside = p >= SURE
        best = (p * scores[:, None, None]).argmax(dim=0)
        won = inside.gather(0, best[None])[0]
        winners[rows] = torch.where(won, best, -1).int()
        areas[0] += inside.sum(dim=(1, 2))
        areas[1] += torch.bincount(best.flatten(), minlength=len(kept))
        areas[2] += torch.bincount(best[won], minlength=len(kept))
    number = [VOID] * (len(kept) + 1)  # the last: of no winner
    of_query = zip(areas.T.tolist(), labels.tolist(), scores.tolist(), strict=True)
    segments: list[Segment] = []
    sure: list[float] = []
    stuff: dict[int, int] = {}
    for query, ((area, wins, visible), label, score) in enumerate(of_query):
        if not visible or wins / area < rule.visible:
            continue
        if not things[label] and label in stuff:
            number[query] = stuff[label]
            sure[stuff[label] - 1] = max(sure[stuff[label] - 1], score)
            continue
        number[query] = stuff[label] = len(segments) + 1
        segments.append(Segment(len(segments) + 1, label))
        sure.append(score)
    ids = np.array(number, np.int32)[winners.cpu().numpy()]
    return FoundSegments(Panoptic(ids, tuple(segments)), np.array(sure, np.float32))


@torch.no_grad()
def find_objects(
    classes: Tensor, masks: Tensor, seen: Size, size: Size, most: int = 100, things: Sequence[bool] | None = None
) -> Found:
    """The same of objects: the `most` largest scores of all queries and classes, then without those that are no
    things, and those without a pixel. A query may be of several classes.

    things   None: all classes are
    returns  the surest first; a score is that of the class times the mean of the mask where it is above 0.5
    """
    p = classes.float().softmax(dim=1)[:, :-1]
    scores, order = p.flatten().topk(min(most, p.numel()))
    queries, labels = (order // p.shape[1]).tolist(), (order % p.shape[1]).tolist()
    found: list[tuple[float, int, Raster]] = []
    drawn: dict[int, tuple[float, Raster]] = {}
    for query, label, score in zip(queries, labels, scores.tolist(), strict=True):
        if things is not None and not things[label]:
            continue
        if query not in drawn:
            drawn[query] = _drawn(masks[query : query + 1], seen, size)
        sureness, raster = drawn[query]
        if raster.mask.size:
            found.append((score * sureness, label, raster))
    found.sort(key=itemgetter(0), reverse=True)
    return Found(
        np.array([raster.box() for _, _, raster in found], float).reshape(-1, 4),
        np.array([score for score, _, _ in found], float),
        np.array([label for _, label, _ in found], np.int64),
        tuple(raster for _, _, raster in found),
    )


def _drawn(mask: Tensor, seen: Size, size: Size) -> tuple[float, Raster]:
    """(1, h, w) logits -> how sure the mask is of what it holds, and that, within its box."""
    whole = np.zeros(size, bool)
    total = 0.0
    for rows, own in strips(mask, seen, size):
        inside = own[0] > 0
        total += float(own[0].sigmoid()[inside].double().sum())
        whole[rows] = inside.cpu().numpy()
    raster = cut_out(whole)
    return total / max(raster.area(), 1), raster


@torch.no_grad()
def find_classes(classes: Tensor, masks: Tensor, seen: Size, size: Size) -> Tensor:
    """The same of pixels: (H, W) int32, the class for which the sum over queries of class and mask is largest."""
    p = classes.float().softmax(dim=1)[:, :-1]
    found = torch.empty(size, dtype=torch.int32, device=masks.device)
    for rows, own in strips(masks, seen, size, also=p.shape[1]):
        with torch.autocast(masks.device.type, enabled=False):
            found[rows] = torch.einsum("qk,qhw->khw", p, own.sigmoid()).argmax(dim=0).int()
    return found


def strips(masks: Tensor, seen: Size, size: Size, also: int = 0) -> Iterator[tuple[slice, Tensor]]:
    """(N, h, w) logits of padded images -> rows of the answer, and (N, rows, W) of them, from above.

    also  other values that the caller makes of each pixel
    """
    frame, (height, width) = frame_of(masks), size
    answer = Resized(Corner(Resized(Held(masks), frame), seen), size)
    widest = max(width, frame[1]) * math.ceil(max(1, seen[0] / height))  # values of a mask for a row of the answer
    step = max(1, STRIP // ((len(masks) + also) * widest))
    for start in range(0, height, step):
        stop = min(start + step, height)
        yield slice(start, stop), answer.rows(start, stop)
