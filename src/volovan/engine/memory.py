"""Out of memory, of the device or of the loader processes, said in words that help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from volovan.engine.distributed import Place
from volovan.engine.settings import TrainSettings, micro_batch_size

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
