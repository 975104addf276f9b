"""Going on with a run: what must not have changed since the checkpoint, and how the optimiser gets its state back."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from volovan.data.loader import SampleReader
from volovan.engine.settings import EngineSettings, SettingsError, get_setting

# A step stands for other samples, or for other tensors, once one of these is edited. Rates, schedules, precision,
# accumulation and the number of processes may change.
FIXED = (
    "train.batch_size",
    "train.seed",
    "train.sampling",
    "train.repeated_augmentation",
    "train.freeze",
    "train.ema_buffers",
    "optim.name",
    "optim.layer_decay",
    "optim.trunk_lr",
    "optim.no_decay",
)
_NAMES_LOOKED_AT = 1000


def fingerprint(reader: SampleReader, groups: Sequence[int] | None = None) -> str:
    """The number of samples and a digest over the names of at most a thousand of them, evenly spread; with groups also
    one over those of all samples, which decide the steps."""
    count = len(reader)
    looked_at = min(count, _NAMES_LOOKED_AT)
    names = [reader.name(i * (count - 1) // max(looked_at - 1, 1)) for i in range(looked_at)]
    grouped = "" if groups is None else f" in groups {_digest(list(groups))}"
    return f"{count} samples {_digest(names)}{grouped}"


def _digest(values: list[Any]) -> str:
    return hashlib.sha256(repr(values).encode("utf-8", "replace")).hexdigest()[:16]


def refuse_changes(saved: dict[str, Any], settings: EngineSettings, data: str) -> None:
    """SettingsError if the recipe was edited, or the data have changed, so that the run cannot go on exactly."""
    if saved["data"] != data:
        raise SettingsError(
            f"the training data have changed since the checkpoint: {saved['data']} then, {data} now; an exact resume "
            "is impossible. Put them back, or start a new run with the best checkpoint as --model.weights"
        )
    for key in FIXED:
        then, now = get_setting(saved["settings"], key), get_setting(settings, key)
        if then is not None and then != (list(now) if isinstance(now, tuple) else now):  # None: before the key was
            raise SettingsError(
                f"{key} was {then} at the checkpoint and is {now} in recipe.yaml now; an exact resume is impossible. "
                "Put it back, or start a new run with the best checkpoint as --model.weights"
            )
    had, has = get_setting(saved["settings"], "train.ema"), settings.train.ema
    if bool(had) != bool(has):
        raise SettingsError(f"train.ema was {had} at the checkpoint and is {has} in recipe.yaml now; put it back")


def refuse_another_network(said: Iterable[tuple[str, Any, Any]]) -> None:
    """SettingsError if the recipe of a run was edited to another network than its checkpoint holds.

    said  (key, value at the checkpoint, value in the recipe now)
    """
    for key, then, now in said:
        if (list(then) if isinstance(then, tuple) else then) != (list(now) if isinstance(now, tuple) else now):
            raise SettingsError(
                f"the network of recipe.yaml is not the one of the checkpoint: {key} was {then} and is {now} now. Put "
                "it back, or start a new run with --model.weights"
            )


def refuse_other_names(what: str, then: Sequence[str], now: Sequence[str]) -> None:
    """SettingsError if the data of a run have other names, or another order of them, than at its checkpoint.

    what  they name, such as "classes"
    """
    for place, (old, new) in enumerate(zip_longest(then, now)):
        if old != new:
            raise SettingsError(
                f"the {what} of the data changed since the checkpoint: number {place} of {len(then)} was "
                f"{old or 'none'!r}, it is {new or 'none'!r} of {len(now)} now. Put them back, or start a new run with "
                "the best checkpoint as --model.weights"
            )


def load_optimizer(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Take over moments and counters; betas and decays stay those of the recipe, which may have been edited."""
    own = [{k: v for k, v in group.items() if k not in ("params", "lr", "step")} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        group.update(settings)
    # Tensors get the strides of their parameters: equal bits need equal order of work.
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
