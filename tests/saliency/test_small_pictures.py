"""EDN trained with small pictures, whose deepest maps are one position: steady steps, and what is learnt holds."""

import pytest
import torch

from volovan.data.shapes import draw_scene
from volovan.models.layers import SteadyBatchNorm2d
from volovan.saliency.losses import saliency_loss
from volovan.saliency.recipe import LossSettings


def scenes(count, size):
    """Drawn scenes and their masks, resized."""
    drawn = [draw_scene("train", number, 64, 64, "salient") for number in range(count)]
    pictures = torch.stack([torch.from_numpy(one.image.copy()).permute(2, 0, 1) for one in drawn]) / 127.5 - 1
    masks = torch.stack([torch.from_numpy(one.salient.copy()) for one in drawn]) / 255
    resized = torch.nn.functional.interpolate(pictures, (size, size), mode="bilinear", antialias=True)
    return resized, torch.nn.functional.interpolate(masks[None], (size, size))[0]


def step(model, size, count):
    """Maps, and norm of the gradient, of a training step."""
    pictures, masks = scenes(count, size)
    model.train().zero_grad()
    maps = model(pictures, deep=True)
    saliency_loss(maps, masks, LossSettings()).backward()
    return maps, torch.nn.utils.get_total_norm([parameter.grad for parameter in model.parameters()]).item()


@pytest.fixture
def plainly(monkeypatch):
    """Within plainly(), every BatchNorm normalises by the values of the batch, however few."""
    return lambda: monkeypatch.setattr(SteadyBatchNorm2d, "LEAST", 0)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("size", [32, 64, 96])
def test_gradients_are_bounded(small, size, count):
    """The decoder as published: as many channels, and norms one behind the other. Measured over six seeds: up to 290
    where the deepest maps have fewer than 8 values of a channel, up to 13,000 where plain BatchNorm sees just 8."""
    bound = 1e3 if count < SteadyBatchNorm2d.LEAST else 5e4
    for seed in range(3):
        torch.manual_seed(seed)
        assert step(small(head_options={}), size, count)[1] < bound


def test_two_values_are_too_few_for_plain_batch_norm(small, plainly):
    plainly()
    torch.manual_seed(0)
    assert not step(small(head_options={}), 32, 2)[1] < 1e8  # 1e12 to infinity, as the seed has it


@pytest.mark.parametrize(("size", "count"), [(128, 8), (320, 2), (384, 2)], ids=["128", "320", "384"])
def test_enough_values_train_as_published_to_the_bit(small, plainly, size, count):
    torch.manual_seed(0)
    model = small()
    other = small()
    other.load_state_dict(model.state_dict())
    found, _ = step(model, size, count)
    plainly()
    expected, _ = step(other, size, count)
    assert all(map(torch.equal, found, expected))
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)
    assert all(map(torch.equal, model.buffers(), other.buffers()))


@pytest.mark.parametrize("size", [32, 64, 128])
def test_evaluation_is_that_of_plain_batch_norm_to_the_bit(small, plainly, size):
    model, pictures = small().eval(), scenes(1, size)[0]
    found = model(pictures)
    plainly()
    assert torch.equal(found, model(pictures))


@pytest.mark.parametrize("size", [32, 64])
def test_what_pairs_teach_holds_in_evaluation(small, size):
    torch.manual_seed(0)
    model = small()
    pictures, masks = scenes(8, size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(100):
        pair = torch.randperm(8)[:2]
        loss = saliency_loss(model(pictures[pair], deep=True), masks[pair], LossSettings())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        after = saliency_loss(model.eval()(pictures, deep=True), masks, LossSettings()).item()
    assert after < 0.8 * losses[0]
    assert after < 1.1 * sum(losses[-20:]) / 20
