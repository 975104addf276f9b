"""Losses of segmentation against loops over pixels."""

import math

import pytest
import torch
from torch import Tensor

from volovan.segment.losses import (
    MANY,
    as_rows,
    balanced_weights,
    dice_loss,
    hard_pixels,
    loss_of_map,
    segmentation_loss,
)
from volovan.segment.recipe import LossSettings

CLASSES = 4


def total(*arguments):
    """The loss that is minimised: the sum of its parts."""
    return sum(segmentation_loss(*arguments).values())


@pytest.fixture
def case() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(2, CLASSES, 5, 6, generator=generator, dtype=torch.float64)
    target = torch.randint(0, CLASSES, (2, 5, 6), generator=generator)
    target[torch.rand(2, 5, 6, generator=generator) < 0.2] = 255
    return logits, target


def pixels(logits, target):
    """(probabilities, class) of every labelled pixel."""
    p = logits.softmax(1)
    return [
        (p[b, :, y, x].tolist(), int(target[b, y, x]))
        for b in range(len(target))
        for y in range(target.shape[1])
        for x in range(target.shape[2])
        if target[b, y, x] != 255
    ]


def test_cross_entropy_is_the_mean_over_labelled_pixels(case):
    expected = [-math.log(p[c]) for p, c in pixels(*case)]
    assert float(loss_of_map(*case, LossSettings(), None)) == pytest.approx(sum(expected) / len(expected))


@pytest.mark.parametrize(
    "settings",
    [LossSettings(), LossSettings(name="focal", dice=0.5), LossSettings(ohem=0.7, ohem_min_kept=5),
     LossSettings(average="all", smoothing=0.1)],
    ids=["cross entropy", "focal, dice", "ohem", "all, smoothed"],
)  # fmt: skip
def test_rows_of_classes_lose_what_maps_lose(settings):
    """Of many classes in channels-last layout torch sees rows; cropped, as pictures of no whole strides, too."""
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn(2, MANY, 7, 8, generator=draw, dtype=torch.float64)
    target = torch.randint(0, MANY, (2, 6, 7), generator=draw)
    target[0, 1] = 255
    weight = torch.rand(MANY, generator=draw, dtype=torch.float64)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        logits = maps.contiguous(memory_format=layout).requires_grad_()
        assert len(as_rows(logits[..., :6, :7], target)[0].shape) == (2 if layout is torch.channels_last else 4)
        loss = loss_of_map(logits[..., :6, :7], target, settings, weight)
        found.append((loss.detach(), torch.autograd.grad(loss, logits)[0]))
    torch.testing.assert_close(found[1], found[0])
    few = maps[:, : MANY - 1].contiguous(memory_format=torch.channels_last)
    assert as_rows(few, target)[0] is few


def test_cross_entropy_may_be_averaged_over_ignored_pixels_too(case):
    """The default of mmsegmentation 0.26."""
    target = case[1]
    expected = sum(-math.log(p[c]) for p, c in pixels(*case)) / target.numel()
    assert float(loss_of_map(*case, LossSettings(average="all"), None)) == pytest.approx(expected)
    assert 0 < int((target == 255).sum()) < target.numel()


def test_class_weights_multiply_and_do_not_normalise(case):
    weight = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    expected = [-float(weight[c]) * math.log(p[c]) for p, c in pixels(*case)]
    assert float(loss_of_map(*case, LossSettings(), weight)) == pytest.approx(sum(expected) / len(expected))


def test_focal_loss_forgets_easy_pixels(case):
    settings = LossSettings(name="focal", focal_gamma=2.0)
    expected = [-((1 - p[c]) ** 2) * math.log(p[c]) for p, c in pixels(*case)]
    assert float(loss_of_map(*case, settings, None)) == pytest.approx(sum(expected) / len(expected))


def test_ohem_keeps_hard_pixels(case):
    settings = LossSettings(ohem=0.3, ohem_min_kept=1)
    hard = [-math.log(p[c]) for p, c in pixels(*case) if p[c] <= 0.3]
    assert 0 < len(hard) < len(pixels(*case))
    assert float(loss_of_map(*case, settings, None)) == pytest.approx(sum(hard) / len(hard))


@pytest.mark.parametrize("least", [3, 10, 1000])
def test_ohem_keeps_a_least_number(case, least):
    logits, target = case
    p = logits.softmax(1).gather(1, target.clamp(max=CLASSES - 1).unsqueeze(1))[:, 0]
    kept = hard_pixels(p, target != 255, 1e-9, least) & (target != 255)
    labelled = sorted(q[c] for q, c in pixels(logits, target))
    assert sorted(p[kept].tolist()) == pytest.approx(labelled[:least])


def test_dice_is_the_mean_over_classes_that_occur(case):
    logits, target = case
    target = target.clone()
    target[target == 3] = 0
    found = pixels(logits, target)
    expected = []
    for number in range(3):
        overlap = sum(p[number] for p, c in found if c == number)
        total = sum(p[number] for p, _ in found) + sum(c == number for _, c in found)
        expected.append(1 - (2 * overlap + 1) / (total + 1))
    assert float(dice_loss(logits, target)) == pytest.approx(sum(expected) / 3)


def test_the_auxiliary_head_counts_by_its_weight(case):
    logits, target = (t.float() if t.is_floating_point() else t.to(torch.uint8) for t in case)
    big = torch.nn.functional.interpolate(logits, (8, 8))
    masks = torch.nn.functional.interpolate(target[:, None].float(), (32, 32))[:, 0].to(torch.uint8)
    one = total([big], masks, LossSettings())
    parts = segmentation_loss([big, big], masks, LossSettings(aux_weight=0.4))
    assert parts == {"decode": one, "aux": pytest.approx(0.4 * float(one))}


def test_logits_of_half_precision_are_enlarged_in_full(case):
    logits, target = case
    half = logits.to(torch.bfloat16)
    masks = torch.nn.functional.interpolate(target[:, None].double(), (32, 32))[:, 0].to(torch.uint8)
    expected = total([half.float()], masks, LossSettings())
    assert torch.equal(total([half], masks, LossSettings()), expected)


def test_a_batch_without_labels_teaches_nothing_in_the_same_parts():
    logits = torch.randn(1, CLASSES, 8, 8, requires_grad=True)
    nothing = torch.full((1, 32, 32), 255, dtype=torch.uint8)
    assert segmentation_loss([logits, logits], nothing, LossSettings()).keys() == {"decode", "aux"}
    loss = total([logits], nothing, LossSettings(dice=1.0))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_balanced_weights_follow_the_formula():
    weights = balanced_weights(torch.tensor([900, 90, 10]))
    raw = [1 / math.log(1.02 + share) for share in (0.9, 0.09, 0.01)]
    assert weights.tolist() == pytest.approx([3 * w / sum(raw) for w in raw])


def test_a_perfect_answer_costs_nothing():
    target = torch.randint(0, CLASSES, (1, 32, 32))
    logits = 100 * torch.nn.functional.one_hot(target, CLASSES).movedim(-1, 1).float()
    for settings in (LossSettings(), LossSettings(name="focal"), LossSettings(dice=1.0), LossSettings(ohem=0.7)):
        assert float(loss_of_map(logits, target, settings, None)) < 1e-3
