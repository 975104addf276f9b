"""The learning rate at every epoch, against the formulas of the papers' scripts, written out here once more."""

import math

import pytest

from volovan.engine.plan import DataSize, condensed_schedule, steps_per_epoch
from volovan.engine.schedule import learning_rate
from volovan.engine.settings import total_epochs

IMAGENET, IMAGENET22K, CUB, FLOWERS = 1_281_167, 14_197_122, 5_994, 1_020

# VOLO's, LV-ViT's and VAN's scripts: set once per epoch, warm-up from 1e-6, a cosine that the warm-up does not shift,
# then cool-down.
# recipe -> (peak, lowest, epochs, warm-up, cool-down)
PER_EPOCH = {
    "volo_d1": (1.6e-3, 1e-5, 300, 20, 10),
    "volo_d2": (1e-3, 1e-5, 300, 20, 10),
    "volo_d3": (1e-3, 1e-5, 300, 20, 10),
    "volo_d4": (1e-3, 1e-5, 300, 20, 10),
    "volo_d5": (8e-4, 1e-5, 300, 20, 10),
    "volo_d1_image_level": (1.6e-3, 1e-5, 300, 20, 10),
    "volo_d1_384": (8e-6, 4e-6, 30, 5, 10),
    "volo_d2_384": (8e-6, 4e-6, 30, 5, 10),
    "volo_d3_448": (8e-6, 4e-6, 30, 5, 10),
    "volo_d4_448": (5e-6, 4e-6, 30, 5, 10),
    "volo_d5_448": (5e-6, 4e-6, 30, 5, 10),
    "volo_d5_512": (5e-6, 4e-6, 30, 5, 10),
    "lvvit_s": (1.6e-3, 1e-5, 300, 5, 10),
    "lvvit_m": (1.6e-3, 1e-5, 300, 5, 10),
    "lvvit_l": (1e-3, 1e-5, 300, 5, 10),
    "lvvit_s_384": (5e-6, 5e-6, 30, 5, 10),
    "van_b0": (1e-3, 1e-6, 300, 5, 10),
    "van_b1": (1e-3, 1e-6, 300, 5, 10),
    "van_b2": (1e-3, 1e-6, 300, 5, 10),
    "van_b3": (1e-3, 1e-6, 300, 5, 10),
    "van_b4": (1e-3, 1e-6, 300, 5, 10),
    "cub200_van_b4": (5e-5, 0.0, 100, 5, 0),
    "cub200_van_b2": (1e-4, 1e-5, 25, 0, 5),
    "flowers_van_b2": (5e-5, 0.0, 100, 5, 0),
    "flowers_volo_d1": (5e-5, 0.0, 100, 5, 0),
    "vizwiz_volo_d5": (8e-6, 4e-6, 10, 1, 0),
}
# VAN's script for ImageNet-22K: set at every step. recipe -> (peak, epochs, warm-up from 0, pictures)
PER_STEP = {
    **{f"van_b{b}_22k": (4e-3, 90, 5, IMAGENET22K) for b in (4, 5, 6)},
    **{f"van_b{b}_22k_{size}": (5e-5, 30, 0, IMAGENET) for b in (4, 5, 6) for size in (224, 384)},
}


@pytest.mark.parametrize("name", PER_EPOCH)
def test_rate_of_every_epoch_is_the_formula(name, settings_of):
    peak, low, epochs, warm, cool = PER_EPOCH[name]
    recipe = settings_of(name)
    assert total_epochs(recipe.schedule) == epochs + cool
    steps = 7  # any number: the rate of an epoch is one
    for epoch in range(epochs + cool):
        if epoch < warm:
            expected = 1e-6 + epoch * (peak - 1e-6) / warm
        elif epoch < epochs:
            expected = low + 0.5 * (peak - low) * (1 + math.cos(math.pi * epoch / epochs))
        else:
            expected = low
        rates = {learning_rate(recipe.schedule, recipe.optim.lr, epoch * steps + step, steps) for step in range(steps)}
        assert len(rates) == 1
        assert rates.pop() == pytest.approx(expected, rel=1e-12, abs=1e-18), f"epoch {epoch}"


@pytest.mark.parametrize("name", PER_STEP)
def test_rate_of_every_epoch_is_the_formula_per_step(name, settings_of):
    peak, epochs, warm, pictures = PER_STEP[name]
    recipe = settings_of(name)
    steps = pictures // recipe.train.batch_size
    assert (total_epochs(recipe.schedule), recipe.schedule.min_lr) == (epochs, 1e-6)
    for epoch in range(epochs):
        for step in (epoch * steps, epoch * steps + steps // 2, (epoch + 1) * steps - 1):
            passed = step / steps
            expected = peak * passed / warm if passed < warm else None
            if expected is None:
                expected = 1e-6 + 0.5 * (peak - 1e-6) * (1 + math.cos(math.pi * passed / epochs))
            assert learning_rate(recipe.schedule, recipe.optim.lr, step, steps) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("pictures", "batch", "steps"),
    [(IMAGENET, 1024, 1251), (IMAGENET, 240, 5338), (IMAGENET22K, 8192, 1733), (CUB, 16, 374), (FLOWERS, 2048, 1)],
    ids=["imagenet", "volo_d3_448", "imagenet22k", "cub", "fewer-than-a-batch"],
)
def test_steps_of_an_epoch_leave_out_a_last_batch_that_is_not_full(pictures, batch, steps):
    assert steps_per_epoch(DataSize(pictures, 2, ""), batch) == steps


def test_condensed_schedule_keeps_warm_up_turns_end_and_cool_down(settings_of):
    schedule = settings_of("volo_d1").schedule
    rows = condensed_schedule(schedule, 1.6e-3, 1251)
    epochs = [epoch for epoch, _, _ in rows]
    assert epochs == sorted(set(epochs))
    assert {1, 20, 21, 300, 301, 310} <= set(epochs)
    assert len(rows) < 20
    assert all(first == learning_rate(schedule, 1.6e-3, (epoch - 1) * 1251, 1251) for epoch, first, _ in rows)
    short = settings_of("vizwiz_volo_d5").schedule
    assert [epoch for epoch, _, _ in condensed_schedule(short, 8e-6, 9)] == list(range(1, 11))
