"""Whole networks side by side: throughput of inference and of training, latency of one picture, memory, energy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from volovan.bench.contestants import Contestant, is_exported
from volovan.bench.machine import Energy
from volovan.bench.timing import PAUSE, Ratio, interleave, quantile, settle
from volovan.engine.evaluate import autocast

PARTS = ("inference", "train", "latency")
LARGEST = 512
"""pictures of the largest batch that a search tries"""
WORTH = 1.03
"""a larger batch must be so many times as fast to be taken"""
Row = dict[str, Any]


@dataclass(frozen=True)
class How:
    """How networks are measured.

    part       "inference", "train" (forward and backward, no optimiser), or "latency" (inference of one picture)
    batch      pictures at once; None: for each network the best that is found by doubling
    precision  "fp32", or "bf16" and "fp16" under autocast
    """

    device: torch.device
    part: str = "inference"
    batch: int | None = 8
    precision: str = "fp32"
    rounds: int = 9

    @property
    def train(self) -> bool:
        return self.part == "train"


class Entry:
    """A contestant that is built and has its pictures."""

    def __init__(self, contestant: Contestant, how: How) -> None:
        self.contestant, self.how = contestant, how
        self.model: nn.Module = contestant.build(how.device, how.train)
        self.batch = 1 if how.part == "latency" else how.batch or self.best_batch()
        if how.train:
            self.batch = max(self.batch, contestant.least)
        self.images = self.pictures(self.batch)

    def pictures(self, batch: int) -> Tensor:
        layout = self.contestant.memory_format(self.how.device)
        images = torch.randn(batch, 3, *self.contestant.size, generator=torch.Generator().manual_seed(0))
        return images.to(self.how.device).contiguous(memory_format=layout)

    def run(self, images: Tensor | None = None) -> int:
        """One pass; how many pictures it was of."""
        images = self.images if images is None else images
        device = self.how.device
        with torch.set_grad_enabled(self.how.train), autocast(self.how.precision, device):
            found = self.model(images, **self.contestant.forward)
        if self.how.train:
            pull_back(self.model, found)
        settle(device)
        return len(images)

    def best_batch(self) -> int:
        """The batch that is fastest, by doubling until it gains no more or does not fit."""
        best, rate, batch = 1, 0.0, max(1, self.contestant.least)
        while batch <= LARGEST:
            try:
                images = self.pictures(batch)
                self.run(images)
                begin = time.perf_counter()
                found = self.run(images) / (time.perf_counter() - begin)
            except torch.OutOfMemoryError:
                break
            if found < rate * WORTH:
                break
            best, rate, batch = batch, found, 2 * batch
        return best

    def memory(self) -> int | None:
        """Bytes that a pass needs at most, with the weights; None where the device does not tell."""
        if self.how.device.type != "cuda":
            return None
        torch.cuda.reset_peak_memory_stats(self.how.device)
        self.run()
        return torch.cuda.max_memory_allocated(self.how.device)

    def energy(self) -> float | None:
        """Joules of a picture; None where the device does not tell."""
        counter = Energy(self.how.device)
        if (before := counter.joules()) is None:
            return None
        begin, pictures = time.perf_counter(), 0
        while time.perf_counter() - begin < 1:  # counters move a few times a second
            pictures += self.run()
        after = counter.joules()
        return None if after is None or after < before else (after - before) / pictures


def outputs(found: Any) -> list[Tensor]:
    """The tensors that a network returns, however it returns them."""
    if isinstance(found, Tensor):
        return [found]
    values = (
        found.values() if isinstance(found, Mapping) else found if isinstance(found, Sequence) else vars(found).values()
    )
    return [tensor for value in values if value is not None for tensor in outputs(value)]


def pull_back(model: nn.Module, found: Any) -> None:
    """The backward pass of a training step, from the mean square of what the network returned; no gradient stays."""
    torch.stack([out.float().square().mean() for out in outputs(found)]).sum().backward()
    model.zero_grad(set_to_none=True)


def measure_networks(contestants: Sequence[Contestant], how: How, say: Callable[[str], None] = print) -> list[Row]:
    """A row for each contestant; the ratio is to the first one that is not of ours, else to the first."""
    entries: dict[str, Entry] = {}
    for contestant in contestants:
        say(f"{how.part}: {contestant.name} is built")
        entry = Entry(contestant, how)
        entry.run()  # and compiled
        entries[contestant.name] = entry
    pause = PAUSE if any(is_exported(contestant.word) for contestant in contestants) else 0.0
    rates = interleave({name: entry.run for name, entry in entries.items()}, how.rounds, pause)
    rows = []
    for name, entry in entries.items():
        row: Row = {
            "part": how.part,
            "network": name,
            "precision": how.precision,
            "size": "x".join(map(str, entry.contestant.size)),
            "batch": entry.batch,
            "images_per_s": round(statistics.median(rates[name]), 2),
            "slowest": round(min(rates[name]), 2),
            "fastest": round(max(rates[name]), 2),
        }
        if how.part == "latency":
            row["ms"] = round(1e3 / statistics.median(rates[name]), 3)
            row["ms_95"] = round(1e3 / quantile([-rate for rate in rates[name]], 0.95) * -1, 3)
        if (memory := entry.memory()) is not None:
            row["memory_mib"] = round(memory / 2**20)
        if (energy := entry.energy()) is not None:
            row["joules"] = round(energy, 4)
        if (accuracy := entry.contestant.accuracy) is not None:
            row["top1"] = accuracy
        rows.append(row | {"rates": rates[name]})
    return rows


def against(rows: Sequence[Row], peer: str) -> list[Row]:
    """The rows with their ratio to one of them, its bounds and what they say."""
    theirs = next(row["rates"] for row in rows if row["network"] == peer)
    found = []
    for row in rows:
        ratio = Ratio.of(row["rates"], theirs)
        said = {"of_" + peer: round(ratio.median, 3), "from": round(ratio.low, 3), "to": round(ratio.high, 3)}
        verdict = "" if row["network"] == peer else ratio.verdict
        found.append({key: value for key, value in row.items() if key != "rates"} | said | {"verdict": verdict})
    return found
