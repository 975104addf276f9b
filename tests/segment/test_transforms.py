"""Training augmentation of pictures with masks: what happens to one happens to the other."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from volovan.segment.data import TrainTransform, distort, largest_share
from volovan.segment.recipe import AugmentSettings

STATS = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def picture(height: int, width: int) -> tuple[Image.Image, np.ndarray]:
    """A picture whose red channel is 50 times the class of its mask, in blocks of 16 pixels."""
    rows, columns = np.mgrid[:height, :width] // 16
    mask = ((rows + 2 * columns) % 5).astype(np.uint8)
    pixels = np.stack([50 * mask, np.full_like(mask, 7), 255 - 50 * mask], axis=-1)
    return Image.fromarray(pixels), mask


def transform(**settings) -> TrainTransform:
    return TrainTransform(AugmentSettings(**{"photometric": False, "class_ratio": 1.0, **settings}), *STATS)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "settings",
    [
        {"crop": 64, "scale": (1.0, 1.0)},
        {"crop": (96, 48), "scale": (0.5, 2.0)},
        {"crop": 200, "scale": (0.5, 0.5)},
        {"crop": 64, "scale": (0.8, 1.2), "resize": (200, 100)},
        {"crop": None, "scale": (1.5, 1.5)},
    ],
    ids=["crop", "scaled", "padded", "resized", "whole"],
)
def test_the_mask_follows_the_picture(settings, seed):
    random.seed(seed)
    image, mask = transform(**settings)(*picture(120, 150))
    labelled = mask != 255
    # Pixels between two blocks are blends; inside of blocks the red channel names the class.
    values = 255 * image[0][labelled]
    off = (values - 50 * mask[labelled].float()).abs() > 25
    assert float(off.float().mean()) < 0.12
    if settings["crop"] is not None:
        side = settings["crop"]
        assert tuple(mask.shape) == ((side, side) if isinstance(side, int) else side)
    assert tuple(image.shape[1:]) == tuple(mask.shape)


def test_the_border_is_the_mean_colour_and_ignored():
    random.seed(0)
    made = TrainTransform(AugmentSettings(crop=64, scale=(1.0, 1.0)), (0.4, 0.5, 0.6), (0.2, 0.2, 0.2))
    image, mask = made(*picture(40, 50))
    assert int((mask == 255).sum()) == 64 * 64 - 40 * 50
    assert float(image[:, 40:].abs().max()) == 0
    assert mask[:40, :50].max() < 5


def test_a_crop_of_an_unscaled_picture_is_cut_exactly():
    random.seed(3)
    image, mask = picture(120, 150)
    tensor, target = transform(crop=64, scale=(1.0, 1.0), hflip=0.0)(image, mask)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    places = [
        (top, left)
        for top in range(120 - 63)
        for left in range(150 - 63)
        if np.array_equal(mask[top : top + 64, left : left + 64], target.numpy())
        and torch.allclose(pixels[:, top : top + 64, left : left + 64], tensor, atol=1e-6)
    ]
    assert places


def test_a_window_of_one_class_is_drawn_anew():
    mask = np.zeros((100, 400), np.uint8)
    mask[:, 300:] = 1
    image = Image.fromarray(np.zeros((100, 400, 3), np.uint8))
    shares = {}
    for limit in (0.75, 1.0):
        made = transform(crop=80, scale=(1.0, 1.0), class_ratio=limit)
        found = []
        for seed in range(60):
            random.seed(seed)
            found.append(largest_share(made(image, mask)[1].numpy()))
        shares[limit] = sum(share < 0.75 for share in found)
    assert shares[1.0] < 15  # an eighth of the windows are mixed that well
    assert shares[0.75] > 35  # one of ten is, three times out of four


def test_shares_leave_ignored_pixels_aside():
    assert largest_share(np.array([[0, 0, 1, 255, 255]], np.uint8)) == pytest.approx(2 / 3)
    assert largest_share(np.full((2, 2), 255, np.uint8)) == 1.0


def test_distortion_stays_within_its_bounds():
    grey = Image.new("RGB", (4, 4), (100, 100, 100))
    values = []
    for seed in range(300):
        random.seed(seed)
        values.append(np.asarray(distort(grey)).astype(int))
    values = np.stack(values)
    assert values.min() >= int((100 - 32) * 0.5) - 1
    assert values.max() <= int((100 + 32) * 1.5) + 1
    assert len(np.unique(values[:, 0, 0, 0])) > 50
    assert np.ptp(values, axis=-1).max() <= 1  # grey has no colour to change


def test_distortion_turns_the_hue_by_a_tenth_at_most():
    hues = []
    for seed in range(200):
        random.seed(seed)
        hues.append(np.asarray(distort(Image.new("RGB", (1, 1), (200, 60, 60))).convert("HSV"))[0, 0, 0])
    turned = [min(int(h), 256 - int(h)) for h in hues]
    assert 15 < max(turned) <= 28


def test_the_same_numbers_give_the_same_sample():
    made = TrainTransform(AugmentSettings(crop=64), *STATS)
    pairs = []
    for _ in range(2):
        random.seed(11)
        pairs.append(made(*picture(100, 130)))
    assert torch.equal(pairs[0][0], pairs[1][0])
    assert torch.equal(pairs[0][1], pairs[1][1])
