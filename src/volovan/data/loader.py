"""Batches for training and evaluation: keyed randomness, exact positions, bad samples carried out by name.

The order of an epoch is a function of (seed, epoch). Step s takes the entries s G .. (s + 1) G of it (G samples per
optimiser step over all processes); micro-batch a of rank r takes its piece of those. So the samples of a step do not
depend on the number of processes or loader workers, and starting at step s needs no replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from volovan.data.errors import BadImage
from volovan.data.randomness import seed_everything

Key = tuple[int, int, int]  # epoch, index, repeat


class SampleReader(Protocol):
    """Numbered samples. Reading may draw from Python's, NumPy's and torch's generators: they are keyed before it."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """File or member that a message about the sample names."""
        ...

    def read(self, index: int) -> Any:
        """The sample, ready to be collated; BadImage if it cannot be read."""
        ...


@dataclass(frozen=True)
class Batch:
    """A collated batch (None if every sample was bad), its size, and the bad samples in it."""

    data: Any
    size: int
    bad: tuple[BadImage, ...]


class _Samples(Dataset[Any]):
    """Samples by key, each read under random numbers of its own."""

    def __init__(self, reader: SampleReader, seed: int) -> None:
        self.reader = reader
        self.seed = seed

    def __getitem__(self, key: Key) -> Any:
        epoch, index, repeat = key
        seed_everything(self.seed, epoch, index, repeat)
        try:
            return self.reader.read(index)
        except BadImage as error:
            return error  # raised in the main process, where the user hears of it in one sentence


class _Collate:
    def __init__(self, collate: Callable[[Sequence[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list[Any]) -> Batch:
        good = [sample for sample in samples if not isinstance(sample, BadImage)]
        bad = tuple(sample for sample in samples if isinstance(sample, BadImage))
        return Batch(self.collate(good) if good else None, len(good), bad)


class _Order(Sampler[list[Key]]):
    """Micro-batches of one process, from a given step of a given epoch on."""

    def __init__(self, length: int, micro: int, accumulate: int, rank: int, world: int, seed: int, repeats: int):
        self.length, self.micro, self.accumulate = length, micro, accumulate
        self.rank, self.world, self.seed, self.repeats = rank, world, seed, repeats
        self.epoch = self.start = 0

    @property
    def batch(self) -> int:
        return self.micro * self.accumulate * self.world

    @property
    def steps(self) -> int:
        """Full batches in an epoch; data smaller than one batch are drawn several times to fill one."""
        return max(1, self.length // self.batch)

    def keys(self) -> list[Key]:
        """The whole epoch in order: each sample `repeats` times in a row, so that copies meet in one batch."""
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        wanted = self.steps * self.batch
        rounds = max(self.repeats, -(-wanted // self.length))
        spread = np.repeat(order, rounds) if self.repeats > 1 else np.tile(order, rounds)
        copies = (
            np.tile(np.arange(rounds), self.length) if self.repeats > 1 else np.repeat(np.arange(rounds), self.length)
        )
        return [(self.epoch, int(i), int(c)) for i, c in zip(spread[:wanted], copies[:wanted], strict=True)]

    def __iter__(self) -> Iterator[list[Key]]:
        keys = self.keys()
        for step in range(self.start, self.steps):
            for part in range(self.accumulate):
                begin = step * self.batch + (part * self.world + self.rank) * self.micro
                yield keys[begin : begin + self.micro]

    def __len__(self) -> int:
        return (self.steps - self.start) * self.accumulate


class TrainLoader:
    """Steps of an epoch, each a list of micro-batches.

    reader: samples by number . micro: samples per process and micro-batch.
    """

    def __init__(
        self,
        reader: SampleReader,
        collate: Callable[[Sequence[Any]], Any],
        *,
        micro: int,
        accumulate: int = 1,
        rank: int = 0,
        world: int = 1,
        seed: int = 0,
        repeats: int = 1,
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.order = _Order(len(reader), micro, accumulate, rank, world, seed, repeats)
        self.loader = DataLoader(
            _Samples(reader, seed),
            batch_sampler=self.order,
            collate_fn=_Collate(collate),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
        )

    @property
    def steps(self) -> int:
        """Optimiser steps per epoch; a last batch that is not full is left out."""
        return self.order.steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[list[Batch]]:
        """The steps of an epoch, from step `start` on."""
        self.order.epoch, self.order.start = epoch, start
        batches = iter(self.loader)
        for _ in range(start, self.steps):
            yield [next(batches) for _ in range(self.order.accumulate)]


class _Every(Sampler[list[Key]]):
    """Each sample once, in order; rank r takes every world-th batch."""

    def __init__(self, length: int, size: int, rank: int, world: int, limit: int | None) -> None:
        self.length = length if limit is None else min(limit, length)
        self.size, self.rank, self.world = size, rank, world

    def __iter__(self) -> Iterator[list[Key]]:
        for begin in range(self.rank * self.size, self.length, self.size * self.world):
            yield [(0, index, 0) for index in range(begin, min(begin + self.size, self.length))]

    def __len__(self) -> int:
        return len(range(self.rank * self.size, self.length, self.size * self.world))


def evaluation_loader(
    reader: SampleReader,
    collate: Callable[[Sequence[Any]], Any],
    *,
    batch_size: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    limit: int | None = None,
    pin_memory: bool = False,
) -> DataLoader[Batch]:
    """Every sample exactly once over all processes: no padding, so counts are exact."""
    return DataLoader(
        _Samples(reader, 0),
        batch_sampler=_Every(len(reader), batch_size, rank, world, limit),
        collate_fn=_Collate(collate),
        num_workers=workers,
        pin_memory=pin_memory,
    )
