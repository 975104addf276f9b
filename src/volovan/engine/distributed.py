"""Where this process computes: device, rank, and the wrapping of the model for several processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from volovan.engine.launch import described
from volovan.engine.settings import SettingsError, TrainSettings

# How each process keeps buffers of its own between two averages; torch 2.15 warns of the older name in every process.
_NAMES = signature(DistributedDataParallel).parameters
_KEEP_BUFFERS: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _NAMES else "broadcast_buffers": False
}

_PLACE = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))


@dataclass(frozen=True)
class Place:
    """One process of the run."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU; any other name is obeyed or refused with the reason."""
    if name == "auto":
        if torch.cuda.is_available():
            return _local_cuda(local_rank)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"train.device {name!r} is no device; use auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f"train.device {name!r}: no CUDA device is visible; use train.device cpu or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(f"train.device {name!r}: only {torch.cuda.device_count()} CUDA device(s) are visible")
    return _local_cuda(local_rank) if name == "cuda" else device


def _local_cuda(local_rank: int) -> torch.device:
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise SettingsError(
            f"process {local_rank} of this machine has no CUDA device of its own, {count} are visible; "
            f"start at most {count} processes or set --train.device cpu"
        )
    return torch.device("cuda", local_rank)


@contextmanager
def distributed(device: str) -> Iterator[Place]:
    """Join the process group that torchrun or SLURM describes; alone without one."""
    found = described(os.environ)
    rank, world, local = (int(found.get(name, least)) for name, least in _PLACE)
    if "RANK" not in os.environ and torch.cuda.device_count() == 1:
        local = 0  # SLURM may show each task a device of its own alone
    place = Place(choose_device(device, local), rank, world)
    if place.device.type == "cuda":
        torch.cuda.set_device(place.device)
    if world == 1:
        yield place
        return
    os.environ.update(found)  # where torch looks
    dist.init_process_group("nccl" if place.device.type == "cuda" else "gloo")
    try:
        yield place
    finally:
        dist.destroy_process_group()


def parallelize(model: nn.Module, settings: TrainSettings, place: Place) -> nn.Module:
    """The one place that decides how a model is spread: SyncBN, DDP (FSDP2 will sit here), then compile."""
    if settings.sync_bn and place.world > 1:
        if place.device.type == "cpu":
            raise SettingsError("train.sync_bn needs CUDA devices; leave it out on the CPU")
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    wrapped: nn.Module = model
    if place.world > 1:
        # BatchNorm's statistics are averaged at each checkpoint instead of being broadcast at each step.
        ids = [place.device.index] if place.device.type == "cuda" else None
        wrapped = DistributedDataParallel(model, device_ids=ids, **_KEEP_BUFFERS)
    if settings.compile:
        wrapped = torch.compile(wrapped)  # type: ignore[assignment]
    return wrapped


@torch.no_grad()
def average_statistics(model: nn.Module, place: Place, frozen: bool = False) -> None:
    """Average BatchNorm's running statistics over the processes (van.md 4.1).

    Taking an average more often changes nothing, since the running update is linear; those of frozen layers are equal
    anyway, and left out unless `frozen`.
    """
    if place.world == 1:
        return
    for module in model.modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm) or not module.track_running_stats:
            continue
        if frozen or not module.affine or module.weight.requires_grad:
            for buffer in (module.running_mean, module.running_var):
                if buffer is not None:
                    dist.all_reduce(buffer)
                    buffer /= place.world


def sum_over_processes(values: Tensor, place: Place) -> Tensor:
    """Sum in place over all processes."""
    if place.world > 1:
        dist.all_reduce(values)
    return values


def anywhere(flag: bool, place: Place) -> bool:
    """Whether the flag is set in any process; every process must ask."""
    if place.world == 1:
        return flag
    return bool(sum_over_processes(torch.tensor(float(flag), device=place.device), place))


def gather(value: Any, place: Place) -> list[Any]:
    """What each process holds, in the order of their ranks."""
    if place.world == 1:
        return [value]
    values: list[Any] = [None] * place.world
    dist.all_gather_object(values, value)
    return values


def share(value: object, place: Place) -> object:
    """What rank 0 holds, on every process."""
    if place.world == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def wait_for_all(place: Place) -> None:
    """Return when every process has come here."""
    if place.world > 1:
        dist.barrier()
