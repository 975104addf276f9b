"""What of a detector is written into a file.

RetinaNet, ATSS, GFL    all up to the choice of detections among the boxes of all anchors
Faster, Mask, Cascade   all: the choice of proposals is part of the network, and masks are of what is found
Sparse R-CNN            all but the choice among its few boxes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from torch import Tensor

from volovan.detect import fixed
from volovan.detect.boxes import clip
from volovan.detect.objects import Detections, Size
from volovan.detect.rcnn import RCNNHead
from volovan.detect.select import Choice
from volovan.detect.sparse_rcnn import SparseRCNNHead
from volovan.detect.towers import Level, chosen
from volovan.engine.settings import SettingsError
from volovan.room.cut import Cut, answers, as_they_are


def cut_of(model: Any, choice: Choice) -> Cut:
    """By the head. choice: as the network is used, of which a file of two steps keeps to."""
    if isinstance(model.head, SparseRCNNHead):
        return Cut(("logits", "boxes"), sparse, choose_sparse, cropped=as_they_are)
    if isinstance(model.head, RCNNHead):
        names = ("boxes", "scores", "labels", "masks") if model.masks else ("boxes", "scores", "labels")
        outside = partial(as_written, written=choice)
        return Cut(names, partial(in_two_steps, choice=choice), outside, ordered=False, cropped=within)
    return Cut(("boxes", "scores", "factors", "levels"), dense, choose, shared=("levels",), cropped=as_they_are)


def answering(model: Any, choice: Choice) -> Cut:
    """All of it in the file, the choice of detections too."""
    if isinstance(model.head, RCNNHead):
        return cut_of(model, choice)
    of_head = fixed.chosen_sparse if isinstance(model.head, SparseRCNNHead) else fixed.chosen_dense

    def inside(model: Any, images: Tensor) -> tuple[Tensor, ...]:
        return of_head(model.head, model.maps(images), images, choice)

    return replace(answers(inside, "boxes", "scores", "labels"), ordered=False)


def sizes_of(images: Tensor, sizes: Sequence[Size] | None) -> Sequence[Size]:
    return sizes or [(images.shape[-2], images.shape[-1])] * len(images)


def dense(model: Any, images: Tensor) -> tuple[Tensor, ...]:
    found: tuple[Tensor, ...] = model.head.dense(model.maps(images))
    return found


def choose(
    shell: Any,
    found: Sequence[Tensor],
    images: Tensor,
    sizes: Sequence[Size] | None = None,
    choice: Choice | None = None,
) -> list[Detections]:
    """As `TowerHead.detect`, of what `TowerHead.dense` gave."""
    boxes, scores, factors, levels = found
    parts = [slice(low, high) for low, high in pairwise([0, *levels.bincount().cumsum(0).tolist()])]
    every = []
    for at, size in enumerate(sizes_of(images, sizes)):
        own = [Level(scores[at, part], factors[at, part], boxes[at, part].__getitem__) for part in parts]
        every.append(chosen(own, size, choice or shell.choose()))
    return every


def sparse(model: Any, images: Tensor) -> tuple[Tensor, ...]:
    return fixed.sparse(model.head, model.maps(images), images)


def choose_sparse(
    shell: Any,
    found: Sequence[Tensor],
    images: Tensor,
    sizes: Sequence[Size] | None = None,
    choice: Choice | None = None,
) -> list[Detections]:
    head: SparseRCNNHead = shell.head
    return head.chosen(found[0], found[1], sizes_of(images, sizes), choice or shell.choose())


def in_two_steps(model: Any, images: Tensor, choice: Choice) -> tuple[Tensor, ...]:
    return fixed.detect(model.head, model.maps(images), images, choice)


def within(found: Sequence[Tensor], size: Size, padded: Size) -> list[Tensor]:
    """Boxes that end at the picture; of one that lies in the padding alone the score is 0."""
    boxes, scores, *others = found
    boxes = clip(boxes, size)
    return [boxes, scores * (boxes[..., 2:] > boxes[..., :2]).all(dim=-1), *others]


def as_written(
    shell: Any,
    found: Sequence[Tensor],
    images: Tensor,
    sizes: Sequence[Size] | None = None,
    choice: Choice | None = None,
    *,
    written: Choice,
) -> list[Detections]:
    """What the file has chosen, and no more: SettingsError where another choice is asked for."""
    asked = choice or written
    if asked.least < written.least or asked.overlap != written.overlap or asked.most > written.most:
        raise SettingsError(
            f"the file chooses detections itself, of a score above {written.least:g}, with an overlap of "
            f"{written.overlap:g}, at most {written.most}; asked for are {asked.least:g}, {asked.overlap:g} and "
            f"{asked.most}: export the network with these, or leave --score, --nms and --most out"
        )
    every = []
    for boxes, scores, labels, *masks in zip(*found, strict=True):
        sure = (scores > asked.least).nonzero()[: asked.most, 0]
        every.append(Detections(boxes[sure], scores[sure], labels[sure], masks[0][sure] if masks else None))
    return every
