"""What a run would be, found out by a few steps of it: does it start, what does a step cost, how long does it take."""

import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median_high
from typing import Any

import torch
from torch import nn

from volovan.engine.distributed import Place
from volovan.engine.loop import Trainer
from volovan.engine.memory import explain_out_of_memory
from volovan.engine.run import Run
from volovan.engine.schedule import schedule_table
from volovan.engine.settings import EngineSettings, ScheduleSettings, total_epochs
from volovan.engine.signals import StopRequest
from volovan.engine.task import Task


@dataclass(frozen=True)
class DataSize:
    """Pictures to train on, classes, and how this is known."""

    pictures: int
    classes: int
    whence: str


@dataclass(frozen=True)
class Rehearsal:
    """A run without its data, as a room prepares it: settings that can run at once, and what they stand for.

    model      the network in one sentence
    stand_ins  what replaces what
    """

    settings: Any
    data: DataSize
    model: str
    stand_ins: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One optimiser step: seconds with and without reading the samples."""

    loss: float
    rate: float
    seconds: float
    reading: float


@dataclass(frozen=True)
class Measured:
    """What some steps showed.

    state    bytes of weights, gradients, optimiser and EMA, counted
    peak     bytes: on CUDA the most that was allocated; elsewhere, how much larger the process became
    decayed  parameters with weight decay, and all that are trained
    """

    steps: tuple[Step, ...]
    validated: int
    state: int
    peak: int | None
    decayed: int
    trained: int
    device: str

    @property
    def seconds(self) -> float:
        """Of a step, reading left out: the median; the first step warms up and does not count if there are others."""
        return median_high(step.seconds for step in self.steps[1:] or self.steps)


def small_batches(settings: EngineSettings, batch: int) -> None:
    """Make settings cheap to start, in place: one micro-batch, no processes besides, no compilation, no files."""
    settings.train = replace(
        settings.train,
        batch_size=batch,
        accumulate=1,
        workers=0,
        compile=False,
        tensorboard=False,
        max_steps=None,
        checkpoint_steps=None,
    )


def run_steps(build: Callable[[], Task], settings: EngineSettings, place: Place, count: int) -> Measured:
    """Build everything that the real run builds, take `count` steps, validate once; nothing is kept on the disk."""
    cuda = place.device.type == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        before = _resident()
        if cuda:
            torch.cuda.reset_peak_memory_stats(place.device)
        # A run that does not lead writes nothing and says nothing.
        trainer = Trainer(build(), settings, Run(Path(folder), leads=False), place)
        with closing(trainer.loader), explain_out_of_memory(settings.train, place, trainer.task.smaller):
            stop = StopRequest()
            steps = tuple(_steps(trainer, stop, count))
            after = _resident()
            grown = None if before is None or after is None else after - before
            peak = torch.cuda.max_memory_allocated(place.device) if cuda else grown
            if trainer.data.val is not None:
                trainer.validate(trainer.data.val, 0, stop)
    processor = f"{platform.machine()}, {torch.get_num_threads()} threads"
    groups = trainer.optimizer.param_groups
    sizes = [(sum(p.numel() for p in group["params"]), group["weight_decay"] > 0) for group in groups]
    return Measured(
        steps=steps,
        validated=len(trainer.data.val or ()),
        state=_state_bytes(trainer),
        peak=peak,
        decayed=sum(size for size, decays in sizes if decays),
        trained=sum(size for size, _ in sizes),
        device=f"{place.device}, {torch.cuda.get_device_name(place.device) if cuda else processor}",
    )


def _steps(trainer: Trainer, stop: StopRequest, count: int) -> Iterator[Step]:
    trainer.model.train()
    device = trainer.place.device
    losses = 0.0
    reading = time.perf_counter()
    for batches in islice(trainer.loader.epoch(0), count):
        begin = time.perf_counter()
        trainer.train_step(batches, stop)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        end = time.perf_counter()
        loss, losses = trainer.state.loss_sum - losses, trainer.state.loss_sum
        yield Step(loss, trainer.optimizer.param_groups[-1]["lr"], end - begin, begin - reading)
        reading = time.perf_counter()


def _state_bytes(trainer: Trainer) -> int:
    def of(module: nn.Module) -> int:
        return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))

    moments = [t for state in trainer.optimizer.state.values() for t in state.values() if torch.is_tensor(t)]
    gradients = sum(p.numel() * p.element_size() for p in trainer.model.parameters() if p.requires_grad)
    average = of(trainer.ema.model) if trainer.ema else 0
    return of(trainer.model) + gradients + average + sum(t.numel() * t.element_size() for t in moments)


def _resident() -> int | None:
    """The most memory that this process has held, in bytes; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def steps_per_epoch(data: DataSize, batch_size: int) -> int:
    """As the loader counts them: a last batch that is not full is left out, data below one batch make one."""
    return max(1, data.pictures // batch_size)


def condensed_schedule(schedule: ScheduleSettings, lr: float, steps: int) -> list[tuple[int, float, float]]:
    """(epoch from 1, rate at its first and at its last step) of the epochs that show the shape; all of a short run."""
    table = schedule_table(schedule, lr, steps)
    total = total_epochs(schedule, steps)
    shape = total - schedule.cooldown_epochs
    last = shape - 1
    wanted = set(range(total))
    if total > 16:
        warm = schedule.warmup_epochs if schedule.warmup_steps is None else schedule.warmup_steps / steps
        ramp = {0, round(warm / 2), max(int(warm) - 1, 0), int(warm)}
        turns = {int(mile) + side for mile in schedule.milestones for side in (-1, 0)}
        wanted = {*ramp, *(round(last * part / 8) for part in range(1, 9)), *turns, shape, total - 1}
    return [(epoch + 1, first, final) for epoch, first, final in table if epoch in wanted]
