"""RandAugment of what a crop sees: random numbers, pixels and statistics are those of the whole picture."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support.waves import waves
from timm.data.auto_augment import NAME_TO_OP, AugmentOp, RandAugment

from volovan.classify.recipe import AugmentSettings
from volovan.classify.regions import can_be_seen_alone, draw_steps, seen
from volovan.classify.transforms import EvalTransform, TrainTransform
from volovan.classify.windows import Window
from volovan.data.pictures.resizing import Filter
from volovan.data.randomness import seed_everything

STATS = (0.485, 0.456, 0.406)
VIEW = (64, 64)
WHOLE = ("TranslateX", "TranslateY", "GaussianBlur", "GaussianBlurRand")
ALONE = [name for name in NAME_TO_OP if name not in WHOLE]


def only(name):
    """RandAugment of one operation that is always done."""
    strength = {"translate_pct": 0.25, "translate_const": 30, "img_mean": (120, 110, 100)}
    return RandAugment([AugmentOp(name, prob=1.0, magnitude=6, hparams=strength)], 1)


def full(**augment):
    settings = AugmentSettings(**augment)
    return TrainTransform(VIEW, STATS, STATS, settings, EvalTransform(VIEW, STATS, STATS))


def whole(picture, steps, window, mode):
    for step in steps:
        picture = step(picture)
    return np.asarray(window.of(picture, VIEW, Filter(mode)), float)


def test_steps_are_what_timm_does_with_the_same_random_numbers():
    made, picture = full(), waves(70, 90)
    functions = [op.aug_fn for op in made.color.ops]
    changed = 0
    for seed in range(40):
        seed_everything(5, seed)
        expected = made.color(picture)
        following = np.random.random()
        seed_everything(5, seed)
        steps = draw_steps(made.color)
        assert np.random.random() == following
        done = picture
        for step in steps:
            done = step(done)
        assert np.array_equal(np.asarray(done), np.asarray(expected))
        changed += bool(steps)
    assert changed > 20
    assert [op.aug_fn for op in made.color.ops] == functions


@pytest.mark.parametrize("name", ALONE)
def test_a_part_that_is_not_shrunk_is_that_of_the_whole_picture(name):
    picture = waves(100, 80)  # smaller than the copy whose histogram is taken
    random_part = full(crop_scale=(0.1, 0.3))
    for seed in range(12):
        seed_everything(7, seed)
        window = random_part.draw(100, 80)
        if max(window.height, window.width) > 64:
            continue
        steps = [*full(hflip=0.5, vflip=0.5, randaugment=None).drawn()[0], *draw_steps(only(name))]
        assert can_be_seen_alone(steps)
        difference = np.abs(
            np.asarray(seen(picture, steps, window, VIEW, Filter("bicubic")), float)
            - whole(picture, steps, window, "bicubic")
        )
        if name.startswith("Sharpness"):  # a part has an edge where the picture has none
            difference = difference[4:-4, 4:-4]
        assert difference.max() <= 2
        assert difference.mean() < 0.02


@pytest.mark.parametrize("name", ALONE)
def test_a_part_that_is_shrunk_has_the_statistics_of_the_whole_picture(name):
    random_part = full(crop_scale=(0.3, 1.0))
    differences, contrasts = [], []
    for seed in range(24):
        seed_everything(8, seed)
        picture = waves(300, 200, seed)
        window = random_part.draw(300, 200)
        steps = draw_steps(only(name))
        part = np.asarray(seen(picture, steps, window, VIEW, Filter("bilinear")), float)
        expected = whole(picture, steps, window, "bilinear")
        differences.append(np.abs(part - expected).mean())
        contrasts.append(part.std() / expected.std())
    # Of 255. What maps values by steps does so to values that a smaller copy has blended already.
    steep = name.startswith(("Posterize", "Solarize", "Equalize", "AutoContrast"))
    assert np.mean(differences) < (6 if steep else 1.5)
    assert np.mean(contrasts) == pytest.approx(1, abs=0.1 if steep else 0.02)


def test_1000_random_augmentations_of_pictures_and_windows_of_any_shape():
    made = full(vflip=0.3)
    rng = np.random.default_rng(0)
    near = 0
    for seed in range(1000):
        seed_everything(9, seed)
        wide, tall = (int(side) for side in rng.integers(1, 120, 2))
        picture = waves(200, 200, seed % 7).resize((wide, tall))
        left, top = int(rng.integers(wide)), int(rng.integers(tall))
        window = Window(
            top, left, int(rng.integers(top, tall)) + 1 - top, int(rng.integers(left, wide)) + 1 - left, (wide, tall)
        )
        steps = made.drawn()[0]
        part = seen(picture, steps, window, VIEW, Filter("bilinear"))
        assert part.size == VIEW
        near += np.abs(np.asarray(part, float) - whole(picture, steps, window, "bilinear")).mean() < 3
    assert near > 930


def test_a_picture_that_was_decoded_smaller_shows_the_same_part():
    made = full()
    large = waves(400, 300)
    small = large.reduce(2)
    differences = []
    for seed in range(60):
        seed_everything(10, seed)
        window = made.draw(400, 300)
        steps = made.drawn()[0]
        if min(window.height, window.width) < 128 or any(step.kind in ("Posterize", "Solarize") for step in steps):
            continue
        one, other = (np.asarray(seen(copy, steps, window, VIEW, Filter("bilinear")), float) for copy in (large, small))
        differences.append(np.abs(one - other).mean())
    assert len(differences) > 20
    assert np.mean(differences) < 2


@pytest.mark.parametrize("name", WHOLE)
def test_what_depends_on_the_size_of_a_copy_is_done_on_the_whole_picture(name):
    made, picture = full(hflip=0.0, erase=0.0), waves(200, 100)
    made.color = only(name)
    seed_everything(11)
    window = made.draw(200, 100)
    steps = draw_steps(made.color)
    assert not can_be_seen_alone(steps)
    seed_everything(12)
    pixels, _, _ = made.with_map(picture, torch.zeros(2, 1, 3, 3), "image", window)
    seed_everything(12)
    steps = made.drawn()[0]
    expected = picture
    for step in steps:
        expected = step(expected)
    assert np.array_equal(pixels.values[0].numpy(), np.asarray(window.of(expected, VIEW, made.filter())))


def test_a_part_that_is_all_outside_is_filled():
    made = only("TranslateXRel")
    made.ops[0].hparams["translate_pct"] = 10.0
    seed_everything(3)
    steps = draw_steps(made)
    part = seen(waves(90, 60), steps, Window(10, 10, 40, 60, (90, 60)), VIEW, Filter("bilinear"))
    assert part.getcolors() == [(64 * 64, (120, 110, 100))]
    assert isinstance(part, Image.Image)
