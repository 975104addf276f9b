"""How fast the networks of an ablation train, measured side by side, since runs hours apart met other loads."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from volovan.bench.ablation_runs import Job
from volovan.bench.networks import pull_back
from volovan.bench.timing import interleave, settle
from volovan.files.whole import write_text
from volovan.room.network import Example
from volovan.use.rooms import ROOMS

ROUNDS = 12
CLASSES = 10  # the head is a negligible part of every network here


def measure_speeds(jobs: Sequence[Job], batch: int, out: Path) -> Path:
    """Images per second of a forward and backward pass without data loading, in fp32, written to `out`/speed.json.

    The rows take turns, one pass each; the median of the rounds counts.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = {job.row.name: job for job in jobs}
    nets = {name: ROOMS[job.settings.task].rehearsal().example(job.settings, CLASSES) for name, job in rows.items()}
    for net in nets.values():
        net.model.train().to(device)
    cases = {name: partial(_pass, net, torch.randn(batch, 3, *net.size, device=device)) for name, net in nets.items()}
    speeds = {name: median(rates) for name, rates in interleave(cases, ROUNDS).items()}
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    measured = {"batch": batch, "rounds": ROUNDS, "device": where, "images_per_s": speeds}
    write_text(out / "speed.json", json.dumps(measured, indent=2))
    return out / "speed.json"


def _pass(net: Example, images: Tensor) -> int:
    """One forward and backward pass; of how many images."""
    pull_back(net.model, net.model(images, **net.forward))
    settle(images.device)
    return len(images)
