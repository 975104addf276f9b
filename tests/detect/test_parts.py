"""Boxes, anchors, matching and losses of detection against their formulas read as loops, in float64."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from volovan.detect import losses
from volovan.detect.anchors import Anchors
from volovan.detect.boxes import (
    LARGEST_LOG,
    clip,
    from_deltas,
    from_distances,
    paired_iou,
    to_deltas,
    to_distances,
)  # fmt: skip
from volovan.detect.matching import NOTHING, UNUSED, match_by_iou, match_by_statistics, sample

STDS = (0.1, 0.1, 0.2, 0.2)


def boxes_of(number: int, seed: int = 0, side: float = 100.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(number, 2, generator=generator) * side
    return torch.cat((low, low + 1 + torch.rand(number, 2, generator=generator) * side), dim=1)


def area(box: list[float]) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def iou(a: list[float], b: list[float]) -> float:
    shared = area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])
    return shared / (area(a) + area(b) - shared)


# Boxes


def test_deltas_by_hand():
    # A proposal of 10 x 20 around (15, 30); a box of 20 x 10 around (20, 25).
    deltas = to_deltas(torch.tensor([[10.0, 20, 20, 40]]), torch.tensor([[10.0, 20, 30, 30]]))
    assert deltas[0].tolist() == pytest.approx([0.5, -0.25, math.log(2), -math.log(2)])


@pytest.mark.parametrize("stds", [STDS, (1.0, 1.0, 1.0, 1.0)])
def test_deltas_and_back(stds):
    proposals, boxes = boxes_of(50, 1), boxes_of(50, 2)
    assert torch.allclose(from_deltas(proposals, to_deltas(proposals, boxes, stds), stds), boxes, atol=1e-3)
    several = torch.stack([to_deltas(proposals, boxes_of(50, seed), stds) for seed in (3, 4)], dim=1)
    moved = from_deltas(proposals, several, stds)
    assert moved.shape == (50, 2, 4)
    assert torch.allclose(moved[:, 1], boxes_of(50, 4), atol=1e-3)


def test_a_box_grows_to_62_5_times_its_proposal_at_most():
    box = from_deltas(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[0.0, 0, 50, -50]]))[0]
    assert box.tolist() == pytest.approx([0.5 - 31.25, 0.5 - 0.008, 0.5 + 31.25, 0.5 + 0.008])
    assert math.exp(LARGEST_LOG) == pytest.approx(62.5)


def test_distances_and_clipping():
    points, boxes = torch.tensor([[5.0, 6.0]]), torch.tensor([[1.0, 2.0, 8.0, 20.0]])
    assert to_distances(points, boxes).tolist() == [[4, 4, 3, 14]]
    assert from_distances(points, to_distances(points, boxes)).tolist() == boxes.tolist()
    assert clip(torch.tensor([[-3.0, -4, 30, 40]]), (20, 10)).tolist() == [[0, 0, 10, 20]]
    ours = paired_iou(boxes_of(20, 5), boxes_of(20, 6))
    theirs = [iou(a, b) for a, b in zip(boxes_of(20, 5).tolist(), boxes_of(20, 6).tolist(), strict=True)]
    assert ours.tolist() == pytest.approx(theirs, rel=1e-4)


# Anchors


def loop_anchors(base: float, octaves: int, ratios: tuple[float, ...], stride: int, high: int, wide: int) -> list:
    found = []
    for row, column, ratio, octave in product(range(high), range(wide), ratios, range(octaves)):
        size = base * stride * 2 ** (octave / octaves)
        h, w = size * math.sqrt(ratio), size / math.sqrt(ratio)
        x, y = column * stride, row * stride
        found.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return found


@pytest.mark.parametrize(
    ("base", "octaves", "ratios", "strides"),
    [(4, 3, (0.5, 1, 2), (8, 16, 32, 64, 128)), (8, 1, (0.5, 1, 2), (4, 8, 16, 32, 64)), (8, 1, (1,), (8, 16))],
)
def test_anchors_of_every_level(base, octaves, ratios, strides):
    """Of a picture of 97 x 131: neither its size nor those of the maps enter, and nothing is rounded."""
    anchors = Anchors(base, octaves, ratios, strides)
    maps = [torch.zeros(1, 1, -(-97 // stride), -(-131 // stride)) for stride in strides]
    for level, stride, map_ in zip(anchors(maps), strides, maps, strict=True):
        want = torch.tensor(loop_anchors(base, octaves, ratios, stride, *map_.shape[2:]), dtype=torch.float64)
        assert torch.equal(level, want.float())


def test_anchors_of_retinanet_have_the_published_sizes():
    """Areas 32^2 to 512^2 times 1, 2^(2/3), 2^(4/3); P7 steps by 128 at 800 x 1344."""
    anchors = Anchors(4, 3, (0.5, 1, 2), (8, 16, 32, 64, 128))
    shapes = anchors.shapes(8)
    sides = ((shapes[:, 2] - shapes[:, 0]) * (shapes[:, 3] - shapes[:, 1])).sqrt()
    assert sides.tolist() == pytest.approx([32, 32 * 2 ** (1 / 3), 32 * 2 ** (2 / 3)] * 3)
    last = anchors([torch.zeros(1, 1, -(-800 // s), -(-1344 // s)) for s in anchors.strides])[-1]
    assert (last[9] - last[0]).tolist() == [128, 0, 128, 0]


def test_anchors_over_what_pads_a_batch_are_known():
    anchors = Anchors(8, 1, (1.0, 2.0), (8, 16))
    inside = anchors.inside([torch.zeros(1, 1, 4, 5), torch.zeros(1, 1, 2, 3)], (17, 33))
    assert inside[0].reshape(4, 5, 2)[..., 0].tolist() == [[True] * 5] * 3 + [[False] * 5]
    assert inside[1].tolist() == [True] * 12


# Matching


def loop_match(boxes: list, objects: list, positive: float, negative: float, least: float | None) -> list[int]:
    match = [UNUSED] * len(boxes)
    for number, box in enumerate(boxes):
        ious = [iou(box, there) for there in objects]
        if not ious or max(ious) < negative:
            match[number] = NOTHING
        elif max(ious) >= positive:
            match[number] = ious.index(max(ious))
    for of, there in enumerate(objects if least is not None else []):
        ious = [iou(box, there) for box in boxes]
        for number, value in enumerate(ious):
            if value == max(ious) and value >= least and value > 0:
                match[number] = of
    return match


@pytest.mark.parametrize("objects", [0, 1, 7])
@pytest.mark.parametrize(("positive", "negative", "least"), [(0.5, 0.4, 0.0), (0.7, 0.3, 0.3), (0.5, 0.5, None)])
def test_matching_by_iou(objects, positive, negative, least):
    boxes, there = boxes_of(200, 1).double(), boxes_of(objects, 2).double()
    found = match_by_iou(boxes, there, positive, negative, least)
    assert found.tolist() == loop_match(boxes.tolist(), there.tolist(), positive, negative, least)


def test_of_two_objects_that_want_an_anchor_the_later_has_it():
    anchor = torch.tensor([[0.0, 0, 10, 10]])
    same = torch.tensor([[0.0, 0, 5, 5], [0.0, 0, 5, 5], [50.0, 50, 60, 60]])
    assert match_by_iou(anchor, same, 0.5, 0.4, 0.0).tolist() == [1]
    assert match_by_iou(anchor, same, 0.5, 0.4, None).tolist() == [NOTHING]
    assert match_by_iou(torch.zeros(0, 4), same, 0.5, 0.4, 0.0).tolist() == []


def loop_statistics(levels: list[list], objects: list, nearest: int) -> list[int]:
    anchors = [anchor for level in levels for anchor in level]
    match, best = [NOTHING] * len(anchors), [-1.0] * len(anchors)
    middle = [((a[0] + a[2]) / 2, (a[1] + a[3]) / 2) for a in anchors]
    for of, there in enumerate(objects):
        centre = ((there[0] + there[2]) / 2, (there[1] + there[3]) / 2)
        candidates, start = [], 0
        for level in levels:
            rows = range(start, start + len(level))
            candidates += sorted(rows, key=lambda row: math.dist(middle[row], centre))[:nearest]
            start += len(level)
        ious = [iou(anchors[row], there) for row in candidates]
        mean = sum(ious) / len(ious)
        threshold = mean + math.sqrt(sum((value - mean) ** 2 for value in ious) / (len(ious) - 1))
        for row, value in zip(candidates, ious, strict=True):
            x, y = middle[row]
            inside = min(x - there[0], y - there[1], there[2] - x, there[3] - y) > 0.01
            if value >= threshold and inside and value > best[row]:
                match[row], best[row] = of, value
    return match


@pytest.mark.parametrize("seed", range(5))
def test_matching_by_statistics(seed):
    anchors = Anchors(8, 1, (1.0,), (8, 16, 32))
    maps = [torch.zeros(1, 1, -(-200 // stride), -(-200 // stride)) for stride in anchors.strides]
    levels = [level.double() for level in anchors(maps)]
    objects = boxes_of(6, seed).double()
    found = match_by_statistics(levels, objects)
    assert found.tolist() == loop_statistics([level.tolist() for level in levels], objects.tolist(), 9)
    assert (found >= 0).sum() > 0
    assert match_by_statistics(levels, objects[:0]).unique().tolist() == [NOTHING]


@pytest.mark.parametrize(
    ("objects", "background", "number", "share", "drawn"),
    [
        (10, 1000, 256, 0.5, (10, 246)),
        (500, 1000, 256, 0.5, (128, 128)),
        (500, 20, 256, 0.5, (128, 20)),
        (500, 2000, 512, 0.25, (128, 384)),
        (0, 0, 8, 0.5, (0, 0)),
    ],
)
def test_samples_are_drawn_by_their_shares(objects, background, number, share, drawn):
    match = torch.tensor([3] * objects + [NOTHING] * background + [UNUSED] * 50, dtype=torch.int64)
    match = match[torch.randperm(len(match))]
    positive, negative = sample(match, number, share)
    assert (len(positive), len(negative)) == drawn
    assert (match[positive] >= 0).all()
    assert (match[negative] == NOTHING).all()
    assert len({*positive.tolist(), *negative.tolist()}) == sum(drawn)


# Losses


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_focal_loss():
    torch.manual_seed(0)
    logits, labels = torch.randn(20, 3, dtype=torch.float64) * 3, torch.randint(-1, 3, (20,))
    want = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        for number, value in enumerate(row):
            right = number == label
            p = sigmoid(value) if right else 1 - sigmoid(value)
            want -= (0.25 if right else 0.75) * (1 - p) ** 2 * math.log(p)
    assert losses.focal(logits, labels).item() == pytest.approx(want, rel=1e-5)


def test_quality_focal_loss():
    torch.manual_seed(1)
    logits, labels, quality = torch.randn(20, 3), torch.randint(-1, 3, (20,)), torch.rand(20)
    want = 0.0
    for row, label, right in zip(logits.tolist(), labels.tolist(), quality.tolist(), strict=True):
        for number, value in enumerate(row):
            y, p = right if number == label else 0.0, sigmoid(value)
            want -= abs(y - p) ** 2 * ((1 - y) * math.log(1 - p) + y * math.log(p))
    assert losses.quality_focal(logits, labels, quality).item() == pytest.approx(want, rel=1e-5)


def test_distribution_focal_loss():
    """Its minimum puts on the two neighbours what makes their mean the value (eq. 6 of arXiv 2006.04388)."""
    torch.manual_seed(2)
    logits, values = torch.randn(9, 17), torch.tensor([0.0, 0.25, 3.0, 3.7, 8.5, 15.0, 15.9, 12.1, 1.0])
    found = losses.distribution_focal(logits, values)
    for row, value, loss in zip(logits.log_softmax(1).tolist(), values.tolist(), found.tolist(), strict=True):
        below = min(int(value), 15)
        assert loss == pytest.approx(-(below + 1 - value) * row[below] - (value - below) * row[below + 1], rel=1e-5)
    best = torch.full((1, 17), -30.0)
    best[0, 3], best[0, 4] = math.log(0.3), math.log(0.7)
    best.requires_grad_()
    losses.distribution_focal(best, torch.tensor([3.7])).sum().backward()
    assert best.grad.abs().max() < 1e-6


def test_giou_loss():
    for a, b in zip(boxes_of(20, 7), boxes_of(20, 8, 300), strict=True):
        hull = area([*torch.minimum(a, b)[:2].tolist(), *torch.maximum(a, b)[2:].tolist()])
        union = (area(a.tolist()) + area(b.tolist())) / (1 + iou(a.tolist(), b.tolist()))
        want = 1 - iou(a.tolist(), b.tolist()) + (hull - union) / hull
        assert losses.giou(a[None], b[None]).item() == pytest.approx(want, rel=1e-4)


def test_smooth_l1_loss():
    predicted, wanted = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.05, 1.5, -2.0])
    assert losses.l1(predicted, wanted).item() == pytest.approx(4.55)
    assert losses.smooth_l1(predicted, wanted, 0.0).item() == pytest.approx(4.55)
    beta = 1 / 9
    want = 0.05**2 / 2 / beta + 0.5 - beta / 2 + 4 - beta / 2
    assert losses.smooth_l1(predicted, wanted, beta).item() == pytest.approx(want)


@pytest.mark.parametrize("loss", ["focal", "quality", "distribution", "giou"])
def test_gradients(loss):
    """Against finite differences; the losses compute in float32, so with their tolerances."""
    torch.manual_seed(3)
    labels, quality = torch.tensor([0, -1, 2]), torch.rand(3)
    found = {
        "focal": (lambda x: losses.focal(x, labels), torch.randn(3, 3)),
        "quality": (lambda x: losses.quality_focal(x, labels, quality), torch.randn(3, 3)),
        "distribution": (
            lambda x: losses.distribution_focal(x, torch.tensor([0.3, 2.2, 1.0])).sum(),
            torch.randn(3, 4),
        ),
        "giou": (lambda x: losses.giou(x, boxes_of(3, 9)).sum(), boxes_of(3, 10)),
    }
    function, at = found[loss]
    at = at.requires_grad_()
    function(at).backward()
    step = 1e-2
    for place in product(*map(range, at.shape)):
        moved = torch.zeros_like(at)
        moved[place] = step
        with torch.no_grad():
            slope = (function(at + moved) - function(at - moved)).item() / (2 * step)
        assert at.grad[place].item() == pytest.approx(slope, abs=2e-3)


def test_numbers_of_one_process_are_at_least_one():
    assert losses.over_processes(0, torch.device("cpu")).item() == 1
    assert losses.over_processes(torch.tensor(7.5), torch.device("cpu")).item() == 7.5


def test_centrality():
    from volovan.detect.atss import centrality

    boxes = torch.tensor([[0.0, 0, 10, 20]] * 3)
    points = torch.tensor([[5.0, 10], [2.0, 10], [1.0, 5]])
    assert centrality(points, boxes).tolist() == pytest.approx([1, math.sqrt(2 / 8), math.sqrt(1 / 9 * 5 / 15)])
