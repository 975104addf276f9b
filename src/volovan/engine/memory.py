"""Out of memory, said in words that help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from volovan.engine.settings import TrainSettings

_SIGNS = ("can't allocate memory", "not enough memory", "out of memory")


class MemoryExhaustedError(RuntimeError):
    """The device has no room for this batch; the message says what to change."""


@contextmanager
def explain_out_of_memory(train: TrainSettings, device: torch.device) -> Iterator[None]:
    """Turn torch's error into one sentence with the remedies that this run has not taken yet."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        named = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not named and not any(sign in str(error).lower() for sign in _SIGNS):
            raise
        remedies = [f"--train.accumulate {train.accumulate * 2} (same result, half the samples at once)"]
        if train.precision == "fp32" and device.type == "cuda":
            remedies.append("--train.precision bf16")
        if not train.grad_checkpointing:
            remedies.append("--train.grad_checkpointing true")
        remedies.append("a smaller --data.size or model")
        raise MemoryExhaustedError(
            f"{device} ran out of memory at {train.batch_size} samples per step in {train.accumulate} part(s): "
            f"try {', '.join(remedies)}"
        ) from error
