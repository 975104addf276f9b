"""Rates at every step against the papers' formulas, written out here once more, and against torch's schedulers."""

import math

import pytest
import torch

from volovan.engine.schedule import check_schedule, learning_rate, schedule_table
from volovan.engine.settings import (
    EngineSettings,
    ScheduleSettings,
    SettingsError,
    check_settings,
    total_epochs,
    total_steps,
)


def rates(schedule: ScheduleSettings, lr: float, steps_per_epoch: int, extra: int = 0) -> list[float]:
    count = total_epochs(schedule) * steps_per_epoch + extra
    return [learning_rate(schedule, lr, step, steps_per_epoch) for step in range(count)]


def assert_rates(got: list[float], want: list[float]) -> None:
    assert len(got) == len(want)
    assert got == pytest.approx(want, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(
    ("lr", "low", "warmup"), [(1.6e-3, 1e-5, 20), (1e-3, 1e-6, 5)], ids=["VOLO-D1 (volo.md 5.1)", "VAN (van.md 4.1)"]
)
def test_cosine_of_both_papers_at_every_step_of_310_epochs(lr, low, warmup):
    schedule = ScheduleSettings(epochs=300, warmup_epochs=warmup, warmup_lr=1e-6, min_lr=low, cooldown_epochs=10)
    want = []
    for e in range(310):
        if e < warmup:
            rate = 1e-6 + e * (lr - 1e-6) / warmup
        elif e < 300:
            rate = low + 0.5 * (lr - low) * (1 + math.cos(math.pi * e / 300))
        else:
            rate = low
        want += [rate] * 3
    assert_rates(rates(schedule, lr, 3), want)


def test_cosine_per_step_moves_within_an_epoch():
    schedule = ScheduleSettings(epochs=12, warmup_epochs=2, warmup_lr=1e-6, min_lr=1e-5, cooldown_epochs=1, per="step")
    lr, n = 4e-3, 22
    want = []
    for s in range(13 * n):
        if s < 2 * n:
            want.append(1e-6 + (lr - 1e-6) * s / (2 * n))
        elif s < 12 * n:
            want.append(1e-5 + (lr - 1e-5) * (1 + math.cos(math.pi * s / (12 * n))) / 2)
        else:
            want.append(1e-5)
    assert_rates(rates(schedule, lr, n), want)


def test_poly_of_upernet_with_1500_iterations_of_warmup_by_ratio():
    """van.md 4.4: 160k iterations, power 1 to 0, linear warm-up 1500 it from a 1e-6 part of the rate."""
    schedule = ScheduleSettings(
        name="poly", epochs=40, warmup_steps=1500, warmup_ratio=1e-6, min_lr=0.0, power=1.0, per="step"
    )
    lr, n = 6e-5, 400
    want = []
    for i in range(16000):
        regular = lr * (1 - i / 16000)
        want.append(regular * (1 - (1 - i / 1500) * (1 - 1e-6)) if i < 1500 else regular)
    assert_rates(rates(schedule, lr, n), want)
    assert rates(schedule, lr, n)[0] == pytest.approx(6e-11)


def test_poly_of_semantic_fpn_power_point_nine_without_warmup():
    schedule = ScheduleSettings(name="poly", epochs=10, warmup_epochs=0, min_lr=0.0, power=0.9, per="step")
    assert_rates(rates(schedule, 2e-4, 40), [2e-4 * (1 - i / 400) ** 0.9 for i in range(400)])


def test_a_schedule_in_steps_ends_within_an_epoch():
    """160,000 steps of UperNet are no whole number of epochs: the rate reaches its end at the last of them."""
    schedule = ScheduleSettings(name="poly", steps=100, warmup_steps=10, warmup_ratio=0.1, min_lr=0.0, per="step")
    assert (total_steps(schedule, 30), total_epochs(schedule, 30)) == (100, 4)
    want = [(1 - s / 100) * (1 - (1 - s / 10) * 0.9 if s < 10 else 1) for s in range(100)]
    assert_rates([learning_rate(schedule, 1.0, step, 30) for step in range(100)], want)


def test_a_warmup_longer_than_the_steps_is_refused():
    with pytest.raises(SettingsError, match=r"schedule.warmup_steps 50 is longer than schedule.steps 40"):
        check_schedule(ScheduleSettings(name="poly", steps=40, warmup_steps=50))


def test_step_of_pose_with_500_iterations_of_warmup_while_the_shape_moves_per_epoch():
    """van.md 4.6: x0.1 at 170 and 200 of 210, linear warm-up of 500 iterations from 0.001 of the rate."""
    schedule = ScheduleSettings(name="step", epochs=210, warmup_steps=500, warmup_ratio=0.001, milestones=(170, 200))
    n, want = 50, []
    for i in range(210 * n):
        e = i // n
        regular = 5e-4 * (0.1 if e >= 170 else 1) * (0.1 if e >= 200 else 1)
        want.append(regular * (0.001 + 0.999 * i / 500) if i < 500 else regular)
    assert_rates(rates(schedule, 5e-4, n), want)


@pytest.mark.parametrize("per", ["step", "epoch"])
@pytest.mark.parametrize(("epochs", "steps", "share"), [(10, 7, 0.3), (3, 1, 0.5), (2, 2, 0.25), (30, 4, 0.1)])
def test_onecycle_equals_torch(per, epochs, steps, share):
    schedule = ScheduleSettings(
        name="onecycle", epochs=epochs, pct_start=share, div_factor=20, final_div_factor=500, per=per, warmup_epochs=1
    )
    total = epochs * (steps if per == "step" else 1)
    if share * total == 1:
        pytest.skip("torch divides by zero where the rise has no step")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3e-3, total_steps=total, pct_start=share, div_factor=20, final_div_factor=500
    )
    want = []
    for _ in range(total):
        want += [optimizer.param_groups[0]["lr"]] * (1 if per == "step" else steps)
        optimizer.step()
        if len(want) < epochs * steps:
            theirs.step()
    assert_rates(rates(schedule, 3e-3, steps), want)


def test_onecycle_stays_at_its_end_in_the_cooldown_and_survives_one_step():
    schedule = ScheduleSettings(name="onecycle", epochs=4, cooldown_epochs=2, per="step", warmup_epochs=0)
    got = rates(schedule, 1.0, 5)
    assert got[19:] == pytest.approx([1 / 25 / 1e4] * 11)
    assert learning_rate(ScheduleSettings(name="onecycle", epochs=1, per="step"), 1.0, 0, 1) == pytest.approx(4e-6)


def test_constant_with_warmup_from_zero():
    schedule = ScheduleSettings(name="constant", epochs=4, warmup_epochs=2, warmup_lr=0.0)
    assert_rates(rates(schedule, 0.5, 2), [0, 0, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5])


def test_a_fractional_warmup_ends_within_an_epoch():
    schedule = ScheduleSettings(name="constant", epochs=2, warmup_epochs=0.5, warmup_lr=0.0, per="step")
    assert_rates(rates(schedule, 1.0, 4), [0, 0.5, 1, 1, 1, 1, 1, 1])


def test_the_table_lists_first_and_last_rate_of_each_epoch():
    schedule = ScheduleSettings(epochs=3, warmup_epochs=0, cooldown_epochs=1, min_lr=0.0, per="step")
    table = schedule_table(schedule, 1.0, 5)
    flat = rates(schedule, 1.0, 5)
    assert table == [(e, flat[5 * e], flat[5 * e + 4]) for e in range(4)]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (ScheduleSettings(epochs=3, warmup_epochs=5), "warmup_epochs 5 is longer than schedule.epochs 3"),
        (ScheduleSettings(name="step"), "schedule.milestones is empty"),
        (ScheduleSettings(name="onecycle", pct_start=1.0), "pct_start is 1.0; it must lie between 0 and 1"),
        (ScheduleSettings(name="onecycle", pct_start=0.0), "pct_start is 0.0; it must lie between 0 and 1"),
    ],
    ids=lambda value: value.name if isinstance(value, ScheduleSettings) else "",
)
def test_pairs_of_settings_that_contradict_each_other_are_refused(schedule, said):
    with pytest.raises(SettingsError, match=said):
        check_schedule(schedule)


def test_an_unknown_shape_is_named():
    with pytest.raises(SettingsError, match=r"schedule.name is 'sine'; known: cosine"):
        learning_rate(ScheduleSettings(name="sine", warmup_epochs=0), 1.0, 0, 1)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("train.batch_size", 0, "train.batch_size is 0; it must be at least 1"),
        ("train.accumulate", 0, "train.accumulate is 0"),
        ("train.seed", -1, "train.seed is -1; it must be at least 0"),
        ("train.workers", -1, "train.workers is -1"),
        ("train.log_steps", 0, "train.log_steps is 0"),
        ("train.validate_every", 0, "train.validate_every is 0"),
        ("train.checkpoint_steps", 0, "train.checkpoint_steps is 0"),
        ("train.max_steps", 0, "train.max_steps is 0"),
        ("train.keep_last", 0, "train.keep_last is 0"),
        ("train.repeated_augmentation", 0, "train.repeated_augmentation is 0"),
        ("train.ema", 1.0, "train.ema is 1.0; below 1 is needed"),
        ("train.ema", -0.1, "train.ema is -0.1; it must be at least 0"),
        ("schedule.epochs", 0, "schedule.epochs is 0"),
        ("schedule.cooldown_epochs", -1, "schedule.cooldown_epochs is -1"),
        ("schedule.div_factor", 0, "schedule.div_factor is 0; it must be more than 0"),
        ("optim.lr", 0.0, "optim.lr is 0.0; it must be more than 0"),
        ("optim.lr", float("nan"), "optim.lr is nan"),
        ("optim.clip_norm", 0.0, "optim.clip_norm is 0.0; it must be more than 0"),
        ("optim.layer_decay", 1.2, "optim.layer_decay is 1.2; at most 1"),
        ("optim.trunk_lr", 0.0, "optim.trunk_lr is 0.0; it must be more than 0"),
    ],
)
def test_values_that_cannot_work_are_refused(key, value, said):
    settings = EngineSettings()
    check_settings(settings)
    section, name = key.split(".")
    setattr(getattr(settings, section), name, value)
    with pytest.raises(SettingsError, match=said):
        check_settings(settings)
