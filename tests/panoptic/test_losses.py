"""The loss of Mask2Former: against transformers, against loops in float64, and on hardly any input."""

import math
import multiprocessing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from volovan.data.panoptic.segments import Panoptic, Segment
from volovan.panoptic import losses as module
from volovan.panoptic.losses import (
    class_loss,
    costs,
    cross_entropy,
    dice,
    losses,
    losses_of,
    mask_losses,
    match,
    unsure_points,
)
from volovan.panoptic.mask2former import Predictions
from volovan.panoptic.recipe import LossSettings
from volovan.panoptic.targets import Segments, read_masks, segments_of

CLASSES, QUERIES = 4, 6
FEW = LossSettings(points=40)


def drawn(seed: int, batch: int = 2, queries: int = QUERIES, side: int = 8) -> Predictions:
    torch.manual_seed(seed)
    return Predictions(torch.randn(batch, queries, CLASSES + 1), 2 * torch.randn(batch, queries, side, side))


def scene(seed: int, count: int, side: int = 32) -> Segments:
    """Rectangles one over the other; all of them have a pixel left."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.full((side, side), -1, dtype=torch.int32)
    for number in range(count):
        top, left, height, width = torch.randint(1, side // 2, (4,), generator=generator).tolist()
        rows[top : top + height, left : left + width] = number
        rows[-1, number % side] = number
    return Segments(rows, torch.randint(0, CLASSES, (count,), generator=generator))


def masks_of(segments: Segments) -> Tensor:
    return (segments.rows == torch.arange(len(segments.labels))[:, None, None]).float()


def of_transformers(settings: LossSettings) -> Mask2FormerLoss:
    config: Any = SimpleNamespace(
        num_labels=CLASSES,
        no_object_weight=settings.no_object,
        train_num_points=settings.points,
        oversample_ratio=settings.oversample,
        importance_sample_ratio=settings.importance,
        class_weight=settings.class_weight,
        dice_weight=settings.dice_weight,
        mask_weight=settings.mask_weight,
    )
    return Mask2FormerLoss(config, {})


@pytest.mark.parametrize("counts", [(3, 5), (0, 2), (9, 1), (6, 6)])
def test_it_is_that_of_transformers_in_one_process(counts: tuple[int, int]) -> None:
    found = drawn(1)
    there = [scene(number, count) for number, count in enumerate(counts)]
    torch.manual_seed(5)  # of the points
    expected = of_transformers(FEW)(
        found.masks, found.classes, [masks_of(own) for own in there], [own.labels for own in there]
    )
    torch.manual_seed(5)
    ours = losses_of(found, there, FEW)
    for name, theirs, weight in (("class", "cross_entropy", 2), ("mask", "mask", 5), ("dice", "dice", 5)):
        torch.testing.assert_close(ours[name], weight * expected[f"loss_{theirs}"], msg=name)


def test_all_predictions_learn_each_matched_by_itself() -> None:
    every, there = [drawn(seed) for seed in range(10)], [scene(0, 3), scene(1, 2)]
    torch.manual_seed(5)
    summed = losses(every, there, FEW)
    torch.manual_seed(5)
    apart = [losses_of(found, there, FEW) for found in (every[-1], *every[:-1])]
    for name, value in summed.items():
        torch.testing.assert_close(value, torch.stack([part[name] for part in apart]).sum())


# By loops in float64


def test_cross_entropy_dice_and_costs_by_loops() -> None:
    torch.manual_seed(0)
    logits, wanted = torch.randn(3, 7).double(), torch.rand(2, 7).double()
    classes, labels = torch.randn(3, CLASSES + 1).double(), torch.tensor([2, 0])
    cost = costs(classes, logits, wanted, labels, LossSettings())
    for q in range(3):
        for m in range(2):
            total, both, of_p, of_t = 0.0, 0.0, 0.0, 0.0
            for x, t in zip(logits[q].tolist(), wanted[m].tolist(), strict=True):
                p = 1 / (1 + math.exp(-x))
                total -= t * math.log(p) + (1 - t) * math.log(1 - p)
                both, of_p, of_t = both + p * t, of_p + p, of_t + t
            mask, overlap = total / 7, 1 - (2 * both + 1) / (of_p + of_t + 1)
            one, other = logits[q : q + 1], wanted[m : m + 1]
            assert float(cross_entropy(one, other)) == pytest.approx(mask, abs=1e-12)
            assert float(dice(one, other)) == pytest.approx(overlap, abs=1e-12)
            exponentials = [math.exp(value) for value in classes[q].tolist()]
            sure = exponentials[int(labels[m])] / sum(exponentials)
            assert float(cost[q, m]) == pytest.approx(-2 * sure + 5 * mask + 5 * overlap, abs=1e-10)


def test_class_loss_by_loops() -> None:
    torch.manual_seed(0)
    classes = torch.randn(2, 3, CLASSES + 1).double()
    there = [scene(0, 2), scene(1, 1)]
    pairs = [(torch.tensor([0, 2]), torch.tensor([1, 0])), (torch.tensor([1]), torch.tensor([0]))]
    wanted = [[CLASSES] * 3 for _ in range(2)]
    for number, (queries, which) in enumerate(pairs):
        for query, segment in zip(queries.tolist(), which.tolist(), strict=True):
            wanted[number][query] = int(there[number].labels[segment])
    total = weights = 0.0
    for number in range(2):
        for query in range(3):
            values, label = classes[number, query].tolist(), wanted[number][query]
            weight = 0.1 if label == CLASSES else 1.0
            total += weight * (math.log(sum(math.exp(value) for value in values)) - values[label])
            weights += weight
    assert float(class_loss(classes, there, pairs, 0.1)) == pytest.approx(total / weights, rel=1e-6)


def test_the_cheapest_matching_is_found() -> None:
    """Masks of the queries are those of the segments in another order; of two alike the class decides."""
    there = scene(3, 4)
    order = [2, 0, 3, 1]
    masks = torch.full((1, QUERIES, 8, 8), -8.0)
    small = F.adaptive_avg_pool2d(masks_of(there), 8)
    classes = torch.zeros(QUERIES, CLASSES + 1)
    for query, segment in enumerate(order):
        masks[0, query] = 16 * small[segment] - 8
    masks[0, 4] = masks[0, 0]
    classes[4, int(there.labels[2])] = 5.0
    queries, which = match(classes, masks[0], there, LossSettings(points=4000))
    assert dict(zip(which.tolist(), queries.tolist(), strict=True)) == {2: 4, 0: 1, 3: 2, 1: 3}


def test_gradients() -> None:
    torch.manual_seed(0)
    logits, wanted = torch.randn(3, 5, dtype=torch.double, requires_grad=True), torch.rand(3, 5).double()
    assert torch.autograd.gradcheck(lambda x: (cross_entropy(x, wanted), dice(x, wanted)), (logits,))
    found = drawn(2)
    there = [scene(0, 3), scene(1, 2)]

    def of_masks(masks: Tensor) -> Tensor:
        torch.manual_seed(3)
        return torch.stack(list(losses_of(Predictions(found.classes.double(), masks), there, FEW).values())).sum()

    masks = found.masks.double().requires_grad_()
    of_masks(masks).backward()
    step = torch.randn_like(masks) * 1e-6
    with torch.no_grad():
        change = of_masks(masks + step) - of_masks(masks - step)
    assert float(change / 2) == pytest.approx(float((masks.grad * step).sum()), rel=1e-4)


# Points


def test_masks_are_read_as_grid_sample_reads_them() -> None:
    there = scene(0, 5)
    points = torch.rand(300, 2) * 1.2 - 0.1
    expected = F.grid_sample(
        masks_of(there)[:, None], (2 * points - 1)[None, :, None].expand(5, -1, -1, -1), align_corners=False
    )[:, 0, :, 0]
    torch.testing.assert_close(read_masks(there, points, (32, 32)), expected, atol=1e-5, rtol=0)


def test_a_picture_in_the_corner_of_a_frame_has_nothing_beyond() -> None:
    there = scene(0, 5)
    padded = Segments(F.pad(there.rows, (0, 32, 0, 64), value=-1), there.labels)
    points = torch.rand(300, 2)
    frame = (96, 64)
    torch.testing.assert_close(read_masks(there, points, frame), read_masks(padded, points, frame))
    own = torch.rand(2, 50, 2)
    found = read_masks(there, own, frame, torch.tensor([3, 1]))
    torch.testing.assert_close(found[0], read_masks(there, own[0], frame)[3])
    torch.testing.assert_close(found[1], read_masks(there, own[1], frame)[1])


def test_three_quarters_of_the_points_are_where_the_mask_is_least_sure() -> None:
    logits = torch.linspace(-10, 10, 64).expand(2, 1, 64, 64).contiguous()  # 0 in the middle column
    points = unsure_points(logits, LossSettings(points=400))
    assert points.shape == (2, 400, 2)
    off = (points[:, :, 0] - 0.5).abs()
    near = (off[:, :300] < 0.15).float().mean()
    assert near > 0.98  # of 1,200 places the nearest 300 lie within 1 / 8 of the width; a corner is half beyond it
    assert (off[:, 300:] > 0.25).float().mean() > 0.3


# Hardly any input, and too much


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (500, 3)])
def test_no_segment_or_500(counts: tuple[int, int]) -> None:
    found = Predictions(*(part.requires_grad_() for part in drawn(0)))
    parts = losses_of(found, [scene(number, count) for number, count in enumerate(counts)], FEW)
    sum(parts.values()).backward()
    assert all(value.isfinite() for value in parts.values())
    assert found.masks.grad is not None  # a DDP waits for it, of no segment too
    assert found.masks.grad.isfinite().all()
    assert bool(found.masks.grad.any()) == any(counts)


def test_a_segment_of_one_pixel() -> None:
    rows = torch.full((32, 32), -1, dtype=torch.int32)
    rows[5, 5] = 0
    parts = losses_of(drawn(0, batch=1), [Segments(rows, torch.tensor([1]))], FEW)
    assert all(value.isfinite() for value in parts.values())


def test_logits_that_are_not_finite_still_match() -> None:
    found = drawn(0, batch=1)
    found.masks[0, 0] = float("nan")
    queries, which = match(found.classes[0], found.masks[0], scene(0, 3), FEW)
    assert 0 not in queries.tolist()
    assert sorted(which.tolist()) == [0, 1, 2]


def test_half_precision_is_computed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    monkeypatch.setattr(module, "costs", lambda *given: seen.append(costs(*given)) or seen[-1])
    found, there = drawn(0), [scene(0, 3), scene(1, 2)]
    half = Predictions(*(part.bfloat16() for part in found))
    torch.manual_seed(0)
    narrow = losses_of(half, there, FEW)
    torch.manual_seed(0)
    wide = losses_of(Predictions(*(part.float() for part in half)), there, FEW)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        cast = losses_of(half, there, FEW)
    assert all(torch.equal(other[name], wide[name]) for name in wide for other in (narrow, cast))
    assert all(torch.equal(seen[number], seen[number % 2]) for number in range(6))  # of two pictures, three times


HALVES = ([0, 1], [2])  # what is there in the pictures of two processes: 2 and 4 segments, and 1


def of_process(rank: int, store: str, said: Any) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        classes, masks = drawn(0, batch=3)
        mine = HALVES[rank]
        said.put(of_pictures(classes[mine], masks[mine], mine))
    finally:
        torch.distributed.destroy_process_group()


def of_pictures(classes: Tensor, masks: Tensor, pictures: list[int]) -> list[float]:
    """Losses of class and mask; all points are one, so that they do not depend on who draws them."""
    counts = (2, 4, 1)
    there = [scene(number, counts[number]) for number in pictures]
    pairs = [(torch.arange(counts[number]), torch.arange(counts[number])) for number in pictures]
    settings = LossSettings(points=1, oversample=1.0, importance=0.0)
    middle = torch.full((sum(counts), 1, 2), 0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "unsure_points", lambda logits, settings: middle[: len(logits)])
        mask, overlap = mask_losses(masks, there, pairs, settings)
    return [float(class_loss(classes, there, pairs, 0.1)), float(mask), float(overlap)]


def test_the_mean_of_processes_is_the_loss_of_one_with_all_pictures(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    said = context.SimpleQueue()
    processes = [context.Process(target=of_process, args=(rank, str(tmp_path / "store"), said)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    mean = torch.tensor([said.get(), said.get()]).mean(dim=0).tolist()
    assert mean == pytest.approx(of_pictures(*drawn(0, batch=3), [0, 1, 2]), rel=1e-5)


# Targets


def test_crowds_and_what_has_no_pixel_are_not_learned() -> None:
    ids = np.array([[0, 7, 7], [9, 5, 5]], np.int32)
    segments = (Segment(9, 1), Segment(5, 3, crowd=True), Segment(8, 2), Segment(7, 0))
    there = segments_of(Panoptic(ids, segments))
    assert there.labels.tolist() == [1, 0]
    assert there.rows.tolist() == [[-1, 1, 1], [0, -1, -1]]
    nothing = segments_of(Panoptic(np.zeros((2, 2), np.int32), ()))
    assert nothing.labels.tolist() == []
    assert nothing.rows.tolist() == [[-1, -1], [-1, -1]]
