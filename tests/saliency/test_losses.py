"""The loss against plain sums."""

import math

import pytest
import torch
import torch.nn.functional as F

from volovan.saliency.losses import batch_dice, saliency_loss
from volovan.saliency.recipe import LossSettings


def plain(maps, mask, bce, dice, l1, deep):
    total = 0.0
    for number, logits in enumerate(maps):
        z = F.interpolate(logits, size=mask.shape[1:], mode="bilinear", align_corners=False)[:, 0].flatten().tolist()
        y = mask.flatten().tolist()
        p = [1 / (1 + math.exp(-value)) for value in z]
        entropy = -sum(t * math.log(q) + (1 - t) * math.log(1 - q) for q, t in zip(p, y, strict=True)) / len(y)
        overlap = (2 * sum(q * t for q, t in zip(p, y, strict=True)) + 1e-5) / (sum(p) + sum(y) + 1e-5)
        error = sum(abs(q - t) for q, t in zip(p, y, strict=True)) / len(y)
        total += (deep if number else 1) * (bce * entropy + dice * (1 - overlap) + l1 * error)
    return total


@pytest.mark.parametrize(
    "weights", [(1.0, 1.0, 0.0, 1.0), (0.5, 2.0, 1.5, 0.3), (0.0, 1.0, 0.0, 0.0)], ids=["edn", "all", "first"]
)
def test_loss_is_the_sum_over_the_maps(weights):
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 1, side, side, generator=generator) for side in (8, 4, 2)]
    mask = torch.rand(2, 32, 32, generator=generator)
    found = saliency_loss(maps, mask, LossSettings(*weights))
    assert found.item() == pytest.approx(plain(maps, mask, *weights), rel=1e-5)


def test_dice_is_of_the_whole_batch():
    probability = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    mask = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert batch_dice(probability, mask).item() == pytest.approx((2 * 1 + 1e-5) / (3 + 1 + 1e-5))
    assert batch_dice(torch.zeros(2, 2), torch.zeros(2, 2)).item() == pytest.approx(1)  # nothing found, nothing there


def test_loss_of_extreme_logits_is_finite_and_has_a_gradient():
    logits = torch.tensor([[[[1e4, -1e4], [-1e4, 1e4]]]], requires_grad=True)
    loss = saliency_loss(
        [logits],
        torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]).repeat_interleave(16, 1).repeat_interleave(16, 2),
        LossSettings(),
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().sum() > 0


def test_loss_is_computed_in_float32_under_autocast():
    maps = [torch.randn(1, 1, 8, 8, dtype=torch.bfloat16)]
    mask = (torch.rand(1, 32, 32) > 0.5).float()
    plainly = saliency_loss([maps[0].float()], mask, LossSettings())
    with torch.autocast("cpu", torch.bfloat16):
        found = saliency_loss(maps, mask, LossSettings())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plainly)


def test_maps_of_a_padded_picture_are_cut_to_the_mask():
    # 40 x 33 is padded to 64 x 64: the first 40 rows and 33 columns of the enlarged map count, the rest does not.
    logits = torch.randn(1, 1, 16, 16)
    enlarged = F.interpolate(logits, size=(64, 64), mode="bilinear", align_corners=False)[:, 0, :40, :33]
    mask = (torch.rand(1, 40, 33) > 0.5).float()
    expected = F.binary_cross_entropy_with_logits(enlarged, mask)
    torch.testing.assert_close(saliency_loss([logits], mask, LossSettings(dice=0.0)), expected)
