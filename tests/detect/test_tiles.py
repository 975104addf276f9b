"""Tiles of large pictures, and their objects put together: drawn scenes whose things are cut by tiles."""

import numpy as np
import pytest

from detections import whole
from volovan.data.objects.shapes import Affine, Raster, cut_out
from volovan.data.synthetic.shapes import draw_scene
from volovan.detect.judge import overlaps
from volovan.detect.tiles import merge_tiles, windows
from volovan.room.found import Found

SIZE, TILE = (430, 520), (160, 160)


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("size", [(430, 520), (160, 160), (161, 160), (90, 520), (1, 3000), (2048, 100)], ids=str)
def test_windows_cover_the_picture_evenly(size, overlap):
    found = windows(size, TILE, overlap)
    seen = np.zeros(size, int)
    for x1, y1, x2, y2 in found:
        assert (y2 - y1, x2 - x1) == (min(size[0], 160), min(size[1], 160))
        seen[y1:y2, x1:x2] += 1
    assert seen.min() >= 1
    assert seen.shape == size
    for axis, side in ((0, size[1]), (1, size[0])):
        starts = sorted({window[axis] for window in found})
        assert starts[0] == 0
        assert starts[-1] + min(side, 160) == side
        steps = np.diff(starts)
        assert (steps <= 160 * (1 - overlap)).all()
        assert len(steps) == 0 or np.ptp(steps) <= 1


def test_windows_refuse_an_overlap_of_all():
    with pytest.raises(ValueError, match="expected 0 to below 1"):
        windows(SIZE, TILE, 1.0)


def laid_out(seed: int, sides: tuple[float, float], count: int = 40, apart: bool = True) -> Found:
    """Things of scenes at chance places, later ones in front; apart: boxes do not touch."""
    draw = np.random.default_rng(seed)
    owner = np.zeros(SIZE, int)
    labels: list[int] = []
    placed: list[tuple[float, ...]] = []
    for _ in range(count):
        side = int(draw.uniform(*sides))
        thing = draw_scene("train", int(draw.integers(300)), side, side).instances[0]
        raster, label = cut_out(thing.mask), thing.category % 3
        rows, columns = raster.mask.shape
        x, y = int(draw.integers(0, SIZE[1] - columns)), int(draw.integers(0, SIZE[0] - rows))
        box = np.array([[x, y, x + columns, y + rows]], float)
        others = np.array(placed).reshape(-1, 4)
        if apart and overlaps(box, others, np.zeros(len(others), bool)).any():
            continue
        labels.append(label)
        placed.append(tuple(box[0]))
        owner[y : y + rows, x : x + columns][raster.mask] = len(labels)
    masks = [cut_out(owner == number) for number in range(1, len(labels) + 1) if (owner == number).sum() > 40]
    kept = [label for number, label in enumerate(labels, 1) if (owner == number).sum() > 40]
    return Found(np.array([mask.box() for mask in masks], float), np.ones(len(masks)), np.array(kept), tuple(masks))


def cut_by(truth: Found, tiles, masks: bool = True, seed: int = 0) -> list[Found]:
    """What each tile shows, in its own pixels, boxes around what is seen, in any order."""
    draw = np.random.default_rng(seed)
    found = []
    for x1, y1, x2, y2 in tiles:
        to = Affine(shift_x=-x1, shift_y=-y1)
        parts = [
            (mask.drawn(to, y2 - y1, x2 - x1), label) for mask, label in zip(truth.masks, truth.labels, strict=True)
        ]
        parts = [(part, label) for part, label in parts if part.mask.any()]
        boxes = np.array([part.box() for part, _ in parts], float).reshape(-1, 4)
        own = Found(
            boxes,
            draw.uniform(0.5, 1, len(parts)),
            np.array([label for _, label in parts], int),
            tuple(part for part, _ in parts) if masks else None,
        )
        found.append(own.only(np.argsort(-own.scores)))
    return found


def boxes_of(found: Found) -> list[tuple[float, ...]]:
    return sorted((int(label), *box) for label, box in zip(found.labels, found.boxes.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sides", [(40, 90), (60, 200), (220, 300)], ids=["small", "mixed", "larger than the overlap"])
def test_every_object_comes_out_once_with_its_box_and_its_mask(sides, seed):
    truth = laid_out(seed, sides)
    assert len(truth) >= 2
    assert sides[0] < 200 or (truth.boxes[:, 2:] - truth.boxes[:, :2]).max() > TILE[0]
    tiles = windows(SIZE, TILE, 0.2)
    found = merge_tiles(cut_by(truth, tiles), tiles, SIZE)
    assert boxes_of(found) == boxes_of(truth)
    assert (np.diff(found.scores) <= 0).all()
    places = {box: number for number, box in enumerate(map(tuple, truth.boxes.tolist()))}
    for box, mask in zip(found.boxes.tolist(), found.masks, strict=True):
        assert np.array_equal(whole(mask, SIZE), whole(truth.masks[places[tuple(box)]], SIZE))
    bare = merge_tiles(cut_by(truth, tiles, masks=False), tiles, SIZE)
    assert bare.masks is None
    assert boxes_of(bare) == boxes_of(truth)


def test_crowded_objects_come_out_far_better_than_by_suppression():
    from torch import from_numpy
    from torchvision.ops import batched_nms

    wrong = plain = count = 0
    tiles = windows(SIZE, TILE, 0.2)
    for seed in range(6):
        truth = laid_out(seed, (30, 110), count=60, apart=False)
        parts = cut_by(truth, tiles, masks=False)
        count += len(truth)
        wrong += len(set(boxes_of(merge_tiles(parts, tiles, SIZE))) ^ set(boxes_of(truth)))
        boxes = np.concatenate([part.boxes + np.array(tile[:2] * 2) for part, tile in zip(parts, tiles, strict=True)])
        scores, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("scores", "labels"))
        left = batched_nms(*map(from_numpy, (boxes, scores, labels)), 0.5).numpy()
        plain += len(set(boxes_of(Found(boxes[left], scores[left], labels[left]))) ^ set(boxes_of(truth)))
    assert wrong < 0.05 * count  # what is hidden in part may be seen in two pieces
    assert plain > 0.3 * count


def test_an_object_in_front_of_a_larger_one_of_its_class_stays():
    large = Raster(np.ones((140, 150), bool), 10, 10)
    small = Raster(np.ones((20, 24), bool), 140, 60)  # in what two tiles share
    truth = Found(np.array([large.box(), small.box()], float), np.ones(2), np.zeros(2, int), (large, small))
    tiles = windows((160, 300), TILE, 0.2)
    assert boxes_of(merge_tiles(cut_by(truth, tiles), tiles, (160, 300))) == boxes_of(truth)


def test_parts_with_another_class_or_of_one_tile_are_not_joined():
    tiles = windows((160, 280), TILE, 0.2)
    left, right = np.array([[100.0, 20, 160, 90]]), np.array([[0.0, 20, 30, 90]])
    for label, expected in ((1, [(1, 100, 20, 160, 90)]), (2, [(1, 100, 20, 160, 90), (2, 120, 20, 150, 90)])):
        parts = [Found(left, np.array([0.7]), np.array([1])), Found(right, np.array([0.9]), np.array([label]))]
        found = merge_tiles(parts, tiles, (160, 280))
        assert boxes_of(found) == expected
        assert found.scores[0] == 0.9
    twice = Found(np.tile(left, (2, 1)), np.array([0.7, 0.6]), np.array([1, 1]))
    nothing = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    assert len(merge_tiles([twice, nothing], tiles, (160, 280))) == 2


def test_nothing_found_and_a_single_tile():
    nothing = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), ())
    found = merge_tiles([nothing] * 2, windows((160, 280), TILE), (160, 280))
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    assert found.masks == ()
    truth = laid_out(1, (60, 200))
    (tile,) = windows(SIZE, (1024, 1024))
    assert boxes_of(merge_tiles(cut_by(truth, [tile]), [tile], SIZE)) == boxes_of(truth)
