"""Settings of a training run that every task shares: plain dataclasses without torch, so that `--help` is instant."""

import os
import re
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass
class OptimSettings:
    """The optimiser and its parameter groups."""

    name: Literal["adamw", "adam", "sgd", "lamb"] = "adamw"
    """adamw, adam, sgd (Nesterov) or lamb (timm's, without its own clipping: set clip_norm 1 for that)"""
    lr: float = 1e-3
    """peak learning rate for the batch size of this recipe; never scaled behind your back"""
    weight_decay: float = 0.05
    """decay of the weights that `no_decay` leaves"""
    no_decay: Literal["vectors", "norms", "none"] = "vectors"
    """what gets no decay. vectors: biases, norms, layer scales, all else with one dimension, and position embeddings;
    norms: only norms, so that biases decay; none: everything decays"""
    betas: tuple[float, float] = (0.9, 0.999)
    """decay rates of Adam's moments"""
    eps: float = 1e-8
    """Adam's epsilon"""
    momentum: float = 0.9
    """momentum of sgd"""
    layer_decay: float = 1.0
    """the rate of each block is this factor times that of the block above it; 1: no layer decay"""
    trunk_lr: float = 1.0
    """factor of the rate of the trunk, all but pyramid and head, on top of layer_decay; 0.1: heads that learn fast"""
    clip_norm: float | None = None
    """clip the norm of all gradients to this value; null: no clipping"""


@dataclass
class ScheduleSettings:
    """The learning rate over time. Formulas: docs/training.md."""

    name: Literal["cosine", "step", "poly", "onecycle", "constant"] = "cosine"
    """shape after the warm-up"""
    epochs: int = 300
    """epochs of the shape, warm-up included; cool-down epochs come on top"""
    steps: int | None = None
    """length of the shape in optimiser steps, instead of epochs"""
    warmup_epochs: float = 5
    """linear warm-up, in epochs; the shape is not shifted by it, only hidden"""
    warmup_steps: int | None = None
    """linear warm-up in optimiser steps, instead of epochs"""
    warmup_lr: float = 1e-6
    """learning rate at the first step of the warm-up"""
    warmup_ratio: float | None = None
    """instead of warmup_lr: the warm-up multiplies the shape by a factor that rises from this ratio to 1"""
    min_lr: float = 1e-5
    """where cosine and poly end, and the rate of the cool-down"""
    cooldown_epochs: int = 0
    """epochs at min_lr after the shape"""
    per: Literal["epoch", "step"] = "epoch"
    """set the rate once per epoch (as both papers do) or at every step"""
    milestones: tuple[float, ...] = ()
    """epochs at which `step` multiplies the rate by gamma"""
    gamma: float = 0.1
    """factor of `step`"""
    power: float = 1.0
    """exponent of `poly`"""
    pct_start: float = 0.3
    """share of the run in which `onecycle` rises"""
    div_factor: float = 25.0
    """`onecycle` starts at lr / div_factor"""
    final_div_factor: float = 1e4
    """`onecycle` ends at lr / div_factor / final_div_factor"""


@dataclass
class TrainSettings:
    """The loop."""

    batch_size: int = 1024
    """samples per optimiser step, over all processes and micro-batches together: what the rate was tuned for"""
    accumulate: int = 1
    """micro-batches per optimiser step; raise it when memory runs out, the result stays the same up to BatchNorm"""
    seed: int = 42
    """random numbers of a sample follow from (seed, epoch, sample), those of a step from (seed, step, rank)"""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """bf16 and fp16: mixed precision by autocast (fp16 with loss scaling)"""
    channels_last: bool = True
    """memory format of images and convolutions"""
    compile: bool = False
    """torch.compile the model"""
    grad_checkpointing: bool = False
    """recompute blocks in the backward pass: less memory, about a third more time"""
    freeze: tuple[str, ...] = ()
    """parameters whose name begins with one of these keep their values; `trunk` means all but the heads"""
    ema: float | None = None
    """decay of the exponential moving average of the weights, which is then what is validated; null: none"""
    ema_warmup: bool = False
    """let the decay rise as (1 + step) / (10 + step), for short runs"""
    ema_buffers: Literal["average", "copy"] = "average"
    """BatchNorm's statistics of the average: averaged as the weights are (timm's ModelEmaV2, hence the published
    scripts), or copied from the model"""
    sync_bn: bool = False
    """BatchNorm statistics over all processes"""
    sampling: Literal["uniform", "sqrt", "balanced"] = "uniform"
    """uniform: each sample once an epoch; balanced: all classes equally often; sqrt: a class of n in proportion to
    sqrt(n); an epoch keeps its length"""
    repeated_augmentation: int = 1
    """draw each image this often, differently augmented, within an epoch of unchanged length"""
    workers: int = 2
    """loader processes for each training process; about as many as it has cores"""
    threads: int | None = None
    """threads of a training process on a CPU; small networks often run faster on one; null: as many as torch takes"""
    on_bad: Literal["stop", "skip"] = "stop"
    """a file that cannot be read stops the run with its name, or is skipped, counted and reported"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    validate_every: int = 1
    """epochs between two validations (the last epoch is always validated)"""
    checkpoint_steps: int | None = None
    """write a checkpoint also every so many steps; at the end of an epoch there is always one"""
    keep_last: int = 2
    """checkpoints kept besides the best"""
    max_steps: int | None = None
    """end after so many optimiser steps, whatever the schedule says (for trying things out)"""
    log_steps: int = 50
    """steps between two lines of the log"""
    tensorboard: bool = True
    """write TensorBoard files into the run folder"""


@dataclass
class EngineSettings:
    """All of the above in one."""

    optim: OptimSettings = field(default_factory=OptimSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    train: TrainSettings = field(default_factory=TrainSettings)


class SettingsError(ValueError):
    """A setting, or a pair of settings, that cannot work; the message says which and what to do."""


def total_epochs(schedule: ScheduleSettings, steps_per_epoch: int = 1) -> int:
    """Epochs run in all, the last one perhaps in part; a schedule in epochs needs no `steps_per_epoch`."""
    return -(-total_steps(schedule, steps_per_epoch) // steps_per_epoch)


def total_steps(schedule: ScheduleSettings, steps_per_epoch: int) -> int:
    """Optimiser steps in all."""
    shape = schedule.epochs * steps_per_epoch if schedule.steps is None else schedule.steps
    return shape + schedule.cooldown_epochs * steps_per_epoch


# key, smallest value (or the bound that must be exceeded), whether the bound itself is allowed
_BOUNDS = (
    *((f"train.{name}", 1, True) for name in ("batch_size", "accumulate", "repeated_augmentation", "threads")),
    *((f"train.{name}", 1, True) for name in ("validate_every", "checkpoint_steps", "max_steps", "log_steps")),
    ("train.keep_last", 1, True),
    *((f"train.{name}", 0, True) for name in ("seed", "workers", "ema")),
    *((f"schedule.{name}", 1, True) for name in ("epochs", "steps")),
    *((f"schedule.{name}", 0, True) for name in ("cooldown_epochs", "warmup_epochs", "warmup_steps")),
    *((f"schedule.{name}", 0, False) for name in ("div_factor", "final_div_factor")),
    *((f"optim.{name}", 0, False) for name in ("lr", "layer_decay", "trunk_lr", "clip_norm")),
    ("optim.weight_decay", 0, True),
)


def check_settings(settings: EngineSettings) -> None:
    """Refuse single values that cannot work; `schedule.check_schedule` refuses pairs."""
    for key, bound, allowed in _BOUNDS:
        value = get_setting(settings, key)
        if value is not None and not (value >= bound if allowed else value > bound):
            raise SettingsError(f"{key} is {value}; it must be {'at least' if allowed else 'more than'} {bound}")
    refuse_workers("train.workers", settings.train.workers)
    if settings.optim.layer_decay > 1:
        raise SettingsError(
            f"optim.layer_decay is {settings.optim.layer_decay}; at most 1 is taken, or the stem would learn fastest"
        )
    if settings.train.ema is not None and settings.train.ema >= 1:
        raise SettingsError(f"train.ema is {settings.train.ema}; below 1 is needed, or the average never moves")


def refuse_workers(key: str, workers: int) -> None:
    """SettingsError for far more loader processes than the machine has cores, which would only be in each other's way.

    A recipe that was written for a larger machine may ask for more than there are.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = max(32, 4 * cores)
    if workers > most:
        raise SettingsError(
            f"{key} is {workers}; this machine has {cores} core{'' if cores == 1 else 's'} to use, and at most {most} "
            f"are taken: set it to {cores} or fewer"
        )


def get_setting(settings: Any, key: str) -> Any:
    """The value of a dotted key, from settings or from the dict of them that a checkpoint holds."""
    for part in key.split("."):
        settings = settings.get(part) if isinstance(settings, dict) else getattr(settings, part)
    return settings


def micro_batch_size(train: TrainSettings, world: int) -> int:
    """Samples that one process puts through the model at once."""
    size, rest = divmod(train.batch_size, train.accumulate * world)
    if rest or size < 1:
        raise SettingsError(
            f"train.batch_size {train.batch_size} cannot be split over {world} process(es) x train.accumulate "
            f"{train.accumulate}; make it a multiple of {train.accumulate * world}"
        )
    return size


def expand_variables(spec: str) -> str:
    """`$VOLOVAN_DATA/cifar10` -> the folder; SettingsError if the variable is not set."""
    expanded = os.path.expandvars(spec)
    missing = re.search(r"\$\{?(\w+)", expanded)
    if missing:
        raise SettingsError(
            f"{spec}: the environment variable {missing[1]} is not set; set it to the folder that holds the data, "
            "or name another source with --data.source"
        )
    return expanded
