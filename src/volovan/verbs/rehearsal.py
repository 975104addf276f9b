"""volovan fit RECIPE --dry-run | --plan: what a run would do, and what it would cost, before it starts. With torch."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from volovan.engine.distributed import Place, distributed
from volovan.engine.plan import Measured, Rehearsal, condensed_schedule, run_steps, small_batches, steps_per_epoch
from volovan.engine.settings import EngineSettings, total_epochs, total_steps
from volovan.use.rehearse import ASSUMED_CLASSES, cost
from volovan.use.rehearse import rehearse as prepare
from volovan.use.rooms import ROOMS

DRY_STEPS, PLAN_STEPS = 2, 4
DRY_BATCH, CUDA_BATCH = 2, 128  # pictures of a step and process, unless --batch says so
CPU_GMACS = 10.0  # of the forward pass of a step that is measured on a CPU


def rehearse(settings: Any, name: str, batch: int | None, plan: bool) -> int:
    """Run a few steps of a recipe on generated data and say what they showed; writes nothing."""
    steps = PLAN_STEPS if plan else DRY_STEPS
    with distributed(settings.train.device) as place, tempfile.TemporaryDirectory() as folder:
        size = (batch or (default_batch(settings, place) if plan else DRY_BATCH)) * place.world
        ready = prepare(settings, Path(folder), size, size * steps)
        small_batches(ready.settings, size)
        seen = run_steps(lambda: ROOMS[settings.task].task()(ready.settings), ready.settings, place, steps)
        if place.leads:
            epoch = steps_per_epoch(ready.data, settings.train.batch_size)
            lines = [*summary(name, settings, ready, size, epoch), "", *schedule_lines(settings, epoch), ""]
            lines.append(optimiser_line(settings, seen))
            lines += plan_lines(settings, epoch, seen, size, place) if plan else step_lines(seen, size)
            print("\n".join(lines))
    return 0


def default_batch(settings: EngineSettings, place: Place) -> int:
    """Of a plan: as many pictures as the run would put on a device, up to a bound; on a CPU as few as take seconds."""
    most = CUDA_BATCH
    if place.device.type != "cuda":
        most = max(DRY_BATCH, int(CPU_GMACS / max(cost(settings, ASSUMED_CLASSES).gmacs, 1e-9)))
    return max(1, min(most, settings.train.batch_size // (settings.train.accumulate * place.world)))


def summary(name: str, settings: EngineSettings, ready: Rehearsal, size: int, steps: int) -> list[str]:
    """What is run, with what in place of what. steps: of an epoch, here and below."""
    train, data = settings.train, ready.data
    return [
        f"{name}: no run, a rehearsal with {'; '.join(ready.stand_ins)}; {size} pictures a step in place of "
        f"{train.batch_size:,}",
        f"model      {ready.model}",
        f"data       {data.pictures:,} pictures to train on ({data.whence}); "
        f"{steps:,} steps an epoch at batch {train.batch_size:,}",
    ]


def schedule_lines(settings: EngineSettings, steps: int) -> list[str]:
    """The learning rate over the epochs, at the true number of steps."""
    schedule, lr = settings.schedule, settings.optim.lr
    cooldown = f" + {schedule.cooldown_epochs} of cool-down" if schedule.cooldown_epochs else ""
    lines = [
        f"schedule   {schedule.name}, {total_epochs(schedule, steps) - schedule.cooldown_epochs} epochs{cooldown}, "
        f"{total_steps(schedule, steps):,} steps; set once per {schedule.per}",
        "  epoch  rate" + ("" if schedule.per == "epoch" else "       at its end"),
    ]
    for epoch, first, last in condensed_schedule(schedule, lr, steps):
        end = "" if schedule.per == "epoch" and schedule.warmup_steps is None else f"  {last:<10.4g}"
        lines.append(f"  {epoch:5d}  {first:<10.4g}{end}".rstrip())
    return lines


def optimiser_line(settings: EngineSettings, seen: Measured) -> str:
    optim = settings.optim
    layers = f", layer decay {optim.layer_decay:g}" if optim.layer_decay != 1 else ""
    layers += f", of the trunk times {optim.trunk_lr:g}" if optim.trunk_lr != 1 else ""
    return (
        f"optimiser  {optim.name}, rate {optim.lr:g}{layers}; weight decay {optim.weight_decay:g} on {seen.decayed:,} "
        f"of {seen.trained:,} parameters"
    )


def memory_line(seen: Measured) -> str:
    line = f"memory     {gigabytes(seen.state)} of weights, gradients and optimiser"
    if seen.peak is None:
        return line
    kind = "allocated on the device at most" if seen.device.startswith("cuda") else "growth of the process at most"
    return f"{line}; {gigabytes(seen.peak)} {kind}"


def step_lines(seen: Measured, size: int) -> list[str]:
    """What the steps of a dry run showed."""
    return [
        *(
            f"step {number}     loss {step.loss:.4g}, {step.seconds:.2f} s ({size} pictures, {seen.device})"
            for number, step in enumerate(seen.steps, 1)
        ),
        memory_line(seen),
        f"validated  {seen.validated} pictures",
        "Everything was built and stepped; nothing was written. volovan fit ... --plan estimates the cost of the run.",
    ]


def plan_lines(settings: EngineSettings, steps: int, seen: Measured, size: int, place: Place) -> list[str]:
    """Memory and time, from the measured step."""
    train = settings.train
    local = size // place.world
    speed = size / seen.seconds
    pictures = train.batch_size * total_steps(settings.schedule, steps)
    hours = pictures / speed / 3600
    reading = sum(step.reading for step in seen.steps) / len(seen.steps) / local
    lines = [
        f"measured   on {seen.device}{f' x {place.world}' if place.world > 1 else ''}, {train.precision}, {local} "
        f"pictures at a time{', without train.compile' if train.compile else ''}",
        f"time       {seen.seconds:.3g} s a step of {size} pictures (median of {len(seen.steps) - 1}, "
        f"the first not counted): {speed:.3g} pictures/s",
        f"reading    {1 / max(reading, 1e-9):.3g} generated pictures/s in one process, augmentation included",
        memory_line(seen),
    ]
    if seen.peak is not None and place.device.type == "cuda":
        each = max(seen.peak - seen.state, 0) / local
        total = torch.cuda.get_device_properties(place.device).total_memory
        fits = max(0, int((0.9 * total - seen.state) / max(each, 1)))  # a tenth is left free
        lines.append(f"           about {gigabytes(each)} a picture; {fits:,} pictures would fit at once")
    return [
        *lines,
        f"estimate   {hours:,.3g} hours on {place.world} such device(s), {hours * place.world:,.3g} device hours, for "
        f"{pictures:,} pictures: from the measured step alone, validation and waiting for data left out",
        "nothing was written",
    ]


def gigabytes(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
