"""Learning rate as a pure function of the step: nothing to save, nothing to restore.

With e = epochs passed (a whole number when the rate is set per epoch), W = warm-up, E = epochs of the shape:

    warm-up   e < W     warmup_lr + (lr - warmup_lr) e / W          (or shape(e) x (1 - (1 - e/W)(1 - ratio)))
    cosine    e < E     min + (lr - min) (1 + cos(pi e / E)) / 2    not shifted by the warm-up (volo.md 5.1)
    poly      e < E     min + (lr - min) (1 - e / E)^power
    step                lr x gamma^(milestones passed)
    onecycle            cosine from lr / div up to lr, and down to lr / div / final_div (torch's, momentum untouched)
    cool-down e >= E    min_lr (cosine, poly); the other shapes stay where they ended
"""

import math

from volovan.engine.settings import ScheduleSettings, SettingsError, total_epochs


def learning_rate(schedule: ScheduleSettings, lr: float, step: int, steps_per_epoch: int) -> float:
    """Rate at optimiser step `step` (from 0), for a peak rate `lr`."""
    warmup = schedule.warmup_epochs
    if schedule.warmup_steps is not None:
        warmup = schedule.warmup_steps / steps_per_epoch
    exact = step / steps_per_epoch
    passed = float(step // steps_per_epoch) if schedule.per == "epoch" else exact
    # A warm-up counted in steps is taken step by step, also when the shape moves once per epoch.
    ramp = exact if schedule.warmup_steps is not None else passed
    shape = _shape(schedule, lr, passed, steps_per_epoch)
    if schedule.name == "onecycle" or ramp >= warmup:
        return shape
    if schedule.warmup_ratio is not None:
        return shape * (1 - (1 - ramp / warmup) * (1 - schedule.warmup_ratio))
    return schedule.warmup_lr + (lr - schedule.warmup_lr) * ramp / warmup


def _shape(schedule: ScheduleSettings, lr: float, passed: float, steps_per_epoch: int) -> float:
    end = schedule.epochs if schedule.steps is None else schedule.steps / steps_per_epoch
    part = min(passed / end, 1.0)
    match schedule.name:
        case "constant":
            return lr
        case "cosine":
            return _cosine_between(lr, schedule.min_lr, part)
        case "poly":
            return schedule.min_lr + (lr - schedule.min_lr) * (1 - part) ** schedule.power
        case "step":
            return lr * schedule.gamma ** sum(passed >= milestone for milestone in schedule.milestones)
        case "onecycle":  # the first beat is the start, the last one the end, as in torch.optim.lr_scheduler.OneCycleLR
            each = 1 if schedule.per == "epoch" else steps_per_epoch  # times that the rate is set in an epoch
            beat, beats = round(passed * each), round(end * each)
            start, peak = lr / schedule.div_factor, schedule.pct_start * beats - 1
            if beat < peak:
                return _cosine_between(start, lr, beat / peak)
            down = min((beat - peak) / (beats - 1 - peak), 1.0)
            return _cosine_between(lr, start / schedule.final_div_factor, down)
    raise SettingsError(f"schedule.name is {schedule.name!r}; known: cosine, step, poly, onecycle, constant")


def _cosine_between(a: float, b: float, part: float) -> float:
    return b + (a - b) * (1 + math.cos(math.pi * part)) / 2


def check_schedule(schedule: ScheduleSettings) -> None:
    """Refuse pairs of settings that contradict each other."""
    if schedule.steps is not None and (schedule.warmup_steps or 0) > schedule.steps:
        raise SettingsError(
            f"schedule.warmup_steps {schedule.warmup_steps} is longer than schedule.steps {schedule.steps}; the peak "
            "rate would never be reached: shorten the warm-up"
        )
    if schedule.steps is None and schedule.warmup_steps is None and schedule.warmup_epochs > schedule.epochs:
        raise SettingsError(
            f"schedule.warmup_epochs {schedule.warmup_epochs} is longer than schedule.epochs {schedule.epochs}; "
            "the peak rate would never be reached: shorten the warm-up"
        )
    if schedule.name == "step" and not schedule.milestones:
        raise SettingsError("schedule.name is step, but schedule.milestones is empty; name the epochs, e.g. [30, 60]")
    if schedule.name == "onecycle" and not 0 < schedule.pct_start < 1:
        raise SettingsError(f"schedule.pct_start is {schedule.pct_start}; it must lie between 0 and 1")


def schedule_table(schedule: ScheduleSettings, lr: float, steps_per_epoch: int) -> list[tuple[int, float, float]]:
    """(epoch, rate at its first step, rate at its last step) of every epoch."""

    def rate(step: int) -> float:
        return learning_rate(schedule, lr, step, steps_per_epoch)

    begins = [epoch * steps_per_epoch for epoch in range(total_epochs(schedule, steps_per_epoch))]
    return [(epoch, rate(begin), rate(begin + steps_per_epoch - 1)) for epoch, begin in enumerate(begins)]
