"""Sums that a loss is divided by, where several processes share a batch."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def mean_over_processes(total: Tensor | float, device: torch.device) -> Tensor:
    """The mean of a number over the processes of a run, float32 and without gradient: with it the mean gradient of
    processes is that of one process with all pictures."""
    value = torch.as_tensor(total, dtype=torch.float32, device=device).detach().clone()
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value
