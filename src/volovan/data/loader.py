"""Batches for training and evaluation: keyed randomness, exact positions, bad samples carried out by name.

The order of an epoch is a function of (seed, epoch). Step s takes the entries s G .. (s + 1) G of it (G samples per
optimiser step over all processes); micro-batch a of rank r takes its piece of those. So the samples of a step do not
depend on the number of processes or loader workers, and starting at step s needs no replay. Where sizes are mixed, that
of a step is a function of (seed, epoch, step), and so the same in all processes. Where samples have groups, a step has
samples of one.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from types import FrameType
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data._utils.pin_memory import pin_memory

from volovan.data.errors import BadImage
from volovan.data.pictures.decoding import REMARKS
from volovan.data.randomness import seed_everything
from volovan.data.sampling import ClassProportions, Entries, Groups, fill, shuffled

logger = logging.getLogger("volovan")


class Key(NamedTuple):
    """What a loader process is asked for. repeat: numbers the copies of a sample in an epoch; size: None or pixels."""

    epoch: int
    sample: int
    repeat: int
    size: int | None = None


class SampleReader(Protocol):
    """Numbered samples. Reading may draw from Python's, NumPy's and torch's generators: they are keyed before it."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """File or member that a message about the sample names."""
        ...

    def read(self, index: int) -> Any:
        """The sample, ready to be collated; BadImage if it cannot be read.

        Where a loader mixes sizes, it calls read(index, size).
        """
        ...

    def collate(self, samples: list[Any]) -> Any:
        """Samples as `read` gives them -> a batch: nested tuples, lists and dicts of tensors."""
        ...


@dataclass(frozen=True)
class Batch:
    """A collated batch (None if every sample was bad), its size, the bad samples in it, and what else went wrong.

    remarks: on pictures of it, see volovan.data.pictures.decoding
    """

    data: Any
    size: int
    bad: tuple[BadImage, ...]
    failed: Exception | None = None
    remarks: tuple[str, ...] = ()

    def pin_memory(self, device: Any = None) -> Batch:
        """Called by the loader, which looks into tuples and dicts, but not into dataclasses."""
        return replace(self, data=pin_memory(self.data, device))


class _Samples(Dataset[Any]):
    """Samples by key, each read under random numbers of its own."""

    def __init__(self, reader: SampleReader, seed: int) -> None:
        self.reader, self.seed = reader, seed

    def __getitem__(self, key: Key) -> Any:
        seed_everything(self.seed, key.epoch, key.sample, key.repeat)
        try:
            return self.reader.read(key.sample, *(() if key.size is None else (key.size,)))
        except (ValueError, OSError) as error:
            # Raised in the main process, where the user hears of it in one sentence instead of a worker's traceback.
            error.add_note(traceback.format_exc())
            return error


def _collated(collate: Callable[[list[Any]], Any], samples: list[Any]) -> Batch:
    bad = tuple(sample for sample in samples if isinstance(sample, BadImage))
    failed = next((s for s in samples if isinstance(s, Exception) and not isinstance(s, BadImage)), None)
    good = [sample for sample in samples if not isinstance(sample, Exception)]
    remarks = tuple(REMARKS)
    REMARKS.clear()
    return Batch(collate(good) if good else None, len(good), bad, failed, remarks)


def _quiet_worker(number: int) -> None:
    """Leave Ctrl-C and SIGTERM to the training process: they often go to the whole group, and the step must end.

    Who is asked to go twice goes, and so does who is still here a minute later: no worker can hold up the end.
    """

    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        signal.alarm(60)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, once)


@cache
def _release_workers_at_exit() -> None:
    """Let the interpreter end at once although a loader was left open, as after an error nobody caught.

    multiprocessing asks its daemons to go, once, and waits; our workers want to be asked twice, and a busy machine
    makes one of two signals that come too close together. So they are asked until they are gone. Other daemons are
    only asked a moment earlier than they would be anyway.
    """

    def release() -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end and (workers := [p for p in multiprocessing.active_children() if p.daemon]):
            for worker in workers:
                worker.terminate()
            time.sleep(0.1)

    atexit.register(release)


class _Loader(DataLoader[Batch]):
    """Batches; the first remark on a picture goes to the log, since those on others would say the same."""

    def check_worker_number_rationality(self) -> None:
        """Left out: it warns of any more workers than cores; `refuse_workers` refuses what cannot be meant."""

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            if batch.remarks and not _remarked:
                _remarked.append(batch.remarks[0])
                logger.info("%s", batch.remarks[0])
            yield batch


_remarked: list[str] = []


def _loader(
    reader: SampleReader, seed: int, batches: Sampler[list[Key]], workers: int, pin_memory: bool, persistent: bool
) -> DataLoader[Batch]:
    _release_workers_at_exit()
    return _Loader(
        _Samples(reader, seed),
        batch_sampler=batches,
        collate_fn=partial(_collated, reader.collate),
        num_workers=workers,
        worker_init_fn=_quiet_worker,
        persistent_workers=persistent and workers > 0,
        pin_memory=pin_memory,
    )


_SIZES = 1  # keeps the draw of a step's size apart from others of the same seed


@dataclass(eq=False)
class _Order(Sampler[list[Key]]):
    """Micro-batches of one process, from a given step of a given epoch on. batch: samples of a step, in all."""

    length: int
    micro: int
    accumulate: int
    rank: int
    world: int
    seed: int
    repeats: int
    proportions: ClassProportions | None
    groups: Groups | None
    sizes: tuple[int, ...]
    batch: int
    epoch: int = 0
    start: int = 0

    @property
    def steps(self) -> int:
        """Full batches in an epoch; data smaller than one batch are drawn several times to fill one."""
        return self.groups.steps if self.groups else max(1, self.length // self.batch)

    def entries(self) -> Entries:
        """(samples, number of each among the copies of its sample) of all steps of the epoch, flat."""
        if self.groups:
            return self.groups.order(self.seed, self.epoch)
        if self.proportions:
            order = self.proportions.order(self.seed, self.epoch)
        else:
            order = shuffled(self.length, self.seed, self.epoch)
        count = self.steps * self.batch
        return fill(order, count, max(self.repeats, -(-count // self.length)) if self.repeats > 1 else 1)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        samples, repeats = self.entries()
        for step in range(self.start, self.steps):
            size = None
            if self.sizes:
                size = int(np.random.default_rng([self.seed, epoch, step, _SIZES]).choice(self.sizes))
            for part in range(self.accumulate):
                begin = step * self.batch + (part * self.world + self.rank) * self.micro
                chosen = slice(begin, begin + self.micro)
                pairs = zip(samples[chosen].tolist(), repeats[chosen].tolist(), strict=True)
                yield [Key(epoch, sample, repeat, size) for sample, repeat in pairs]

    def __len__(self) -> int:
        return (self.steps - self.start) * self.accumulate


class TrainLoader:
    """Steps of an epoch, each a list of micro-batches.

    reader: samples by number. micro: samples per process and micro-batch. proportions: of the classes; None: each
    sample once an epoch. groups: number of the group of each sample; each step has samples of one group, without
    `repeats` and `proportions`. sizes: each step draws one of them, and reader.read(index, size) gets it.
    """

    def __init__(
        self,
        reader: SampleReader,
        *,
        micro: int,
        accumulate: int = 1,
        rank: int = 0,
        world: int = 1,
        seed: int = 0,
        repeats: int = 1,
        proportions: ClassProportions | None = None,
        groups: Sequence[int] | None = None,
        sizes: Sequence[int] = (),
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        if groups is not None and (repeats > 1 or proportions):
            raise ValueError(
                "these data make each batch of samples of one group; leave train.repeated_augmentation at 1 and "
                "train.sampling at uniform"
            )
        batch = micro * accumulate * world
        grouped = None if groups is None else Groups(groups, batch)
        self.order = _Order(
            len(reader), micro, accumulate, rank, world, seed, repeats, proportions, grouped, tuple(sizes), batch
        )
        self.loader = _loader(reader, seed, self.order, workers, pin_memory, persistent=True)

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

    def close(self) -> None:
        """End the loader processes, which otherwise wait for the next epoch."""
        iterator, self.loader._iterator = self.loader._iterator, None
        if iterator is not None:
            iterator._shutdown_workers()  # type: ignore[attr-defined]


class _Every(Sampler[list[Key]]):
    """Each sample once, in order; rank r takes every world-th batch."""

    def __init__(self, length: int, size: int, rank: int, world: int) -> None:
        self.length, self.size = length, size
        self.begins = range(rank * size, length, size * world)

    def __iter__(self) -> Iterator[list[Key]]:
        for begin in self.begins:
            yield [Key(0, index, 0) for index in range(begin, min(begin + self.size, self.length))]

    def __len__(self) -> int:
        return len(self.begins)


def evaluation_loader(
    reader: SampleReader,
    *,
    batch_size: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    limit: int | None = None,
    pin_memory: bool = False,
) -> DataLoader[Batch]:
    """Every sample exactly once over all processes: no padding, so counts are exact."""
    length = len(reader) if limit is None else min(limit, len(reader))
    return _loader(reader, 0, _Every(length, batch_size, rank, world), workers, pin_memory, persistent=False)
