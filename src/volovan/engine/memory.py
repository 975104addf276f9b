"""A batch that is too large for the memory, or too small for BatchNorm, said in words that help."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from volovan.engine.distributed import Place
from volovan.engine.settings import SettingsError, TrainSettings, micro_batch_size

_SIGNS = ("can't allocate memory", "not enough memory", "out of memory")


class MemoryExhaustedError(RuntimeError):
    """The device has no room for this batch; the message says what to change."""


class LoaderKilledError(RuntimeError):
    """A loader process has died; the message says why that happens and what to change."""


@contextmanager
def explain_out_of_memory(train: TrainSettings, place: Place, smaller: str) -> Iterator[None]:
    """Turn torch's errors into one sentence with the remedies that this run has not taken yet.

    smaller: `Task.smaller`.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if "DataLoader worker (pid" in str(error):
            raise LoaderKilledError(
                f"a loader process has died ({' '.join(str(error).split()).rstrip('. ')}): mostly the system ends one "
                "because memory, or shared memory (/dev/shm), has run out; set train.workers below "
                f"{train.workers} in recipe.yaml, or free some, and go on with --resume"
            ) from error
        named = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not named and not any(sign in str(error).lower() for sign in _SIGNS):
            raise
        raise MemoryExhaustedError(
            f"{place.device} ran out of memory at {train.batch_size} samples per step in {train.accumulate} part(s): "
            f"try {', '.join(_remedies(train, place, smaller))}"
        ) from error


def _remedies(train: TrainSettings, place: Place, smaller: str) -> Iterator[str]:
    size = micro_batch_size(train, place.world)
    if size > 1:
        parts = next(parts for parts in range(2, size + 1) if size % parts == 0)
        yield f"--train.accumulate {train.accumulate * parts} (same result, 1/{parts} of the samples at once)"
    if train.precision == "fp32" and place.device.type == "cuda":
        yield "--train.precision bf16"
    if not train.grad_checkpointing:
        yield "--train.grad_checkpointing true"
    yield f"a smaller {smaller} or model"


@contextmanager
def explain_one_value(train: TrainSettings, place: Place, smaller: str) -> Iterator[None]:
    """Turn the errors of networks that find one value of a channel to normalise into a SettingsError with the keys.

    No step is done then, since all steps are of one size; smaller: `Task.smaller`.
    """
    try:
        yield
    except ValueError as error:
        why = str(error)
        if "value per channel" not in why and "BatchNorm" not in why:
            raise
        count = micro_batch_size(train, place.world)
        asked = 2 * train.accumulate * place.world
        others = [f"lower train.accumulate (now {train.accumulate})"] if train.accumulate > 1 else []
        if "value per channel" in why or "larger" in why:  # a map that is pooled to 1 x 1 stays so
            others.append(f"make the pictures larger with {smaller}")
        processes = f" on {place.world} processes" if place.world > 1 else ""
        raise SettingsError(
            f"the network sees {count} picture{'s' if count > 1 else ''} at once (train.batch_size {train.batch_size}"
            f"{processes}), which leaves BatchNorm one value of a channel; "
            + ", or ".join([f"raise train.batch_size to {asked} or more", *others])
        ) from error
