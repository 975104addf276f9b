"""How fast the networks of an ablation train, measured side by side, since runs hours apart met other loads."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from volovan.bench.ablation_runs import Job
from volovan.files.whole import write_text
from volovan.room.network import Example
from volovan.use.rooms import ROOMS

ROUNDS = 12
CLASSES = 10  # the head is a negligible part of every network here


def measure_speeds(jobs: Sequence[Job], batch: int, out: Path) -> Path:
    """Images per second of a forward and backward pass without data loading, in fp32, written to `out`/speed.json.

    The rows take turns, one pass each, so that whatever else the machine does falls on all of them; the median of
    the rounds counts, after two to warm up.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = {job.row.name: job for job in jobs}
    nets = {name: ROOMS[job.settings.task].rehearsal().example(job.settings, CLASSES) for name, job in rows.items()}
    for net in nets.values():
        net.model.train().to(device)
    seconds: dict[str, list[float]] = {name: [] for name in nets}
    for number in range(ROUNDS + 2):
        for name, net in nets.items():
            took = _time_pass(net, torch.randn(batch, 3, *net.size, device=device))
            if number >= 2:
                seconds[name].append(took)
    speeds = {name: batch / median(times) for name, times in seconds.items()}
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    measured = {"batch": batch, "rounds": ROUNDS, "device": where, "images_per_s": speeds}
    write_text(out / "speed.json", json.dumps(measured, indent=2))
    return out / "speed.json"


def _time_pass(net: Example, images: Tensor) -> float:
    """Seconds of one forward and backward pass."""
    _finish(images)
    begin = time.perf_counter()
    found = net.model(images, **net.forward)
    outputs = found if isinstance(found, list) else [found]
    sum((output.float().square().mean() for output in outputs), images.new_zeros(())).backward()
    _finish(images)
    took = time.perf_counter() - begin
    net.model.zero_grad(set_to_none=True)
    return took


def _finish(images: Tensor) -> None:
    if images.is_cuda:
        torch.cuda.synchronize()
