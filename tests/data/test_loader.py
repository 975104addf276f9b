"""Order, position, randomness and errors of the batches, over any number of processes and workers."""

import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from volovan.data.errors import BadImage
from volovan.data.loader import Batch, TrainLoader, evaluation_loader
from volovan.data.randomness import seed_everything
from volovan.data.sampling import ClassProportions


class Reader:
    """Sample i is (i, a number from each generator), so that a batch shows what was read and drawn."""

    def __init__(self, count, bad=(), broken=()):
        self.count, self.bad, self.broken = count, bad, broken

    def __len__(self):
        return self.count

    def name(self, index):
        return f"{index}.png"

    def read(self, index):
        if index in self.bad:
            raise BadImage(self.name(index), "it is torn")
        if index in self.broken:
            raise ValueError(f"{self.name(index)} has no label")
        return index, random.random(), np.random.rand(), torch.rand(()).item()

    def collate(self, samples):
        return samples


def loader(count=40, reader=None, **settings):
    return TrainLoader(reader or Reader(count), **({"micro": 4, "seed": 3} | settings))


def read(train, epoch=0, start=0):
    """The steps of an epoch as lists of samples."""
    return [[sample for batch in step for sample in batch.data] for step in train.epoch(epoch, start)]


def indices(steps):
    return [[sample[0] for sample in step] for step in steps]


def test_an_epoch_is_a_permutation_without_the_last_part_batch():
    got = indices(read(loader(42)))
    flat = [i for step in got for i in step]
    assert len(got) == 10
    assert len(set(flat)) == 40
    assert set(flat) <= set(range(42))
    assert flat != sorted(flat)


def test_epochs_and_seeds_differ_and_each_repeats_itself():
    train = loader()
    first = read(train, 0)
    assert read(train, 0) == first
    assert indices(read(train, 1)) != indices(first)
    assert indices(read(loader(seed=4), 0)) != indices(first)


def test_a_sample_is_augmented_anew_in_each_epoch():
    train = loader()
    drawn = [{s[0]: s[1:] for step in read(train, epoch) for s in step} for epoch in (0, 1)]
    assert drawn[0].keys() == drawn[1].keys()
    assert all(a != b for i in drawn[0] for a, b in zip(drawn[0][i], drawn[1][i], strict=True))
    assert len({value for epoch in drawn for values in epoch.values() for value in values}) == 2 * 40 * 3


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_neither_order_nor_pixels(workers):
    assert read(loader(workers=workers)) == read(loader(workers=0))


def test_persistent_workers_see_the_next_epoch():
    train = loader(workers=2)
    plain = loader()
    assert [read(train, e) for e in (0, 1, 0)] == [read(plain, e) for e in (0, 1, 0)]


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (1, 2), (2, 2), (4, 1), (1, 4)])
def test_a_step_holds_the_same_samples_on_any_number_of_processes_and_micro_batches(world, accumulate):
    whole = read(loader(50, micro=8))
    micro = 8 // (world * accumulate)
    ranks = [
        list(loader(50, micro=micro, accumulate=accumulate, rank=rank, world=world).epoch(0)) for rank in range(world)
    ]
    for number, step in enumerate(whole):
        parts = [ranks[rank][number][part].data for part in range(accumulate) for rank in range(world)]
        assert [sample for part in parts for sample in part] == step
    assert all(len(rank) == len(whole) for rank in ranks)


@pytest.mark.parametrize("start", [1, 4, 9, 10])
@pytest.mark.parametrize("workers", [0, 2])
def test_starting_in_the_middle_equals_the_tail(start, workers):
    assert read(loader(workers=workers), 2, start) == read(loader(), 2)[start:]


def test_an_epoch_left_early_does_not_disturb_the_next():
    train = loader(workers=2)
    steps = train.epoch(0)
    next(steps)
    steps.close()
    assert read(train, 1) == read(loader(), 1)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_data_smaller_than_a_batch_fill_one_evenly(count):
    got = read(loader(count, micro=8))
    assert len(got) == 1
    counts = Counter(sample[0] for sample in got[0])
    assert set(counts) == set(range(count))
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len({sample[1] for sample in got[0]}) == 8  # each copy is augmented by itself


def test_repeats_meet_in_one_batch_and_differ_in_augmentation():
    got = read(loader(40, micro=8, repeats=2))
    assert len(got) == 5  # the epoch keeps its length, so half of the data is seen
    for step in got:
        assert set(Counter(sample[0] for sample in step).values()) == {2}
        assert len({sample[1:] for sample in step}) == 8
    assert len({sample[0] for step in got for sample in step}) == 20


def test_repeats_of_data_smaller_than_a_batch():
    counts = Counter(sample[0] for sample in read(loader(3, micro=8, repeats=2))[0])
    assert sorted(counts.values()) == [2, 3, 3]


def test_an_epoch_over_many_samples_starts_at_once():
    train = loader(reader=Reader(14_000_000), micro=64)
    assert train.steps == 14_000_000 // 64
    step = next(train.epoch(0, train.steps - 1))
    assert len(step[0].data) == 64


def test_the_keys_of_an_epoch_are_those_of_the_first_runs(golden_path):
    """A digest of what every process is asked for, written down when runs of then could first be gone on with."""
    wanted, found = json.loads((golden_path / "loader_keys.json").read_text()), {}
    grid = itertools.product((1, 7, 23, 64), ((2, 2, 2), (1, 3, 4)), (1, 3), (None, 0.5), ((), (24, 32)))
    for count, (world, accumulate, micro), repeats, power, sizes in grid:
        if power is not None and count == 1:  # one class alone
            continue
        labels = np.random.default_rng(count).integers(0, 4, count)
        proportions = None if power is None else ClassProportions(labels, power)
        settings = {"accumulate": accumulate, "world": world, "repeats": repeats, "proportions": proportions}
        keys = []
        for rank in range(world):
            order = loader(count, micro=micro, rank=rank, sizes=sizes, **settings).order
            for order.epoch, order.start in ((0, 0), (1, 0), (1, 1), (5, 0)):
                keys.append([[list(key) for key in batch] for batch in order])
        split = f"{world}x{accumulate}x{micro}"
        name = f"{count} samples, {split}, repeats {repeats}, power {power}, sizes {sizes}, seed 3"
        found[name] = hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:12]
    assert found == wanted


# ---- groups ---------------------------------------------------------------------------------------------------------

GROUPS = np.random.default_rng(8).choice(4, 130, p=(0.55, 0.3, 0.1, 0.05)).tolist()


def grouped(**settings):
    return loader(len(GROUPS), micro=settings.pop("micro", 8), groups=GROUPS, **settings)


def test_a_step_has_samples_of_one_group_and_an_epoch_each_sample_at_most_once():
    got = indices(read(grouped()))
    assert [len(step) for step in got] == [8] * grouped().steps
    groups = [{GROUPS[index] for index in step} for step in got]
    assert all(len(group) == 1 for group in groups)
    assert Counter(next(iter(group)) for group in groups) == {
        group: count // 8 for group, count in Counter(GROUPS).items() if count >= 8
    }
    assert groups != sorted(groups, key=min)  # they are mixed in time
    flat = [index for step in got for index in step]
    assert len(flat) == len(set(flat))


def test_other_samples_of_a_group_are_left_out_in_each_epoch():
    epochs = [{index for step in indices(read(grouped(), epoch)) for index in step} for epoch in range(12)]
    assert epochs[0] != epochs[1]
    small = [index for index, group in enumerate(GROUPS) if GROUPS.count(group) < 8]
    assert set().union(*epochs) == set(range(len(GROUPS))) - set(small)
    assert grouped().order.groups.never == len(small) > 0
    assert indices(read(grouped(), 1)) == indices(read(grouped(), 1)) != indices(read(grouped(seed=4), 1))


@pytest.mark.parametrize("start", [1, 5, 13])
@pytest.mark.parametrize("workers", [0, 2])
def test_groups_from_the_middle_equal_the_tail(start, workers):
    assert read(grouped(workers=workers), 2, start) == read(grouped(), 2)[start:]


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (2, 2), (1, 4)])
def test_groups_do_not_depend_on_the_number_of_processes(world, accumulate):
    whole = read(grouped())
    split = {"micro": 8 // (world * accumulate), "accumulate": accumulate, "world": world}
    ranks = [list(grouped(rank=rank, **split).epoch(0)) for rank in range(world)]
    for number, step in enumerate(whole):
        parts = [ranks[rank][number][part].data for part in range(accumulate) for rank in range(world)]
        assert [sample for part in parts for sample in part] == step


def test_groups_go_with_mixed_sizes():
    sizes = [{key.size for key in batch} for batch in grouped(sizes=(24, 32)).order]
    assert {len(size) for size in sizes} == {1}
    assert set().union(*sizes) == {24, 32}


def test_what_groups_cannot_do_is_refused_in_one_sentence():
    for settings in ({"repeats": 2}, {"proportions": ClassProportions(GROUPS, 0.5)}):
        with pytest.raises(ValueError, match=r"leave train.repeated_augmentation at 1 and train.sampling at uniform"):
            grouped(**settings)
    with pytest.raises(ValueError, match=r"has the 100 samples of a batch, the largest has \d+; set a smaller train"):
        grouped(micro=100)


# ---- evaluation and errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize(("count", "limit"), [(23, None), (1, None), (24, None), (23, 10), (5, 50)])
def test_evaluation_reads_every_sample_once(world, count, limit):
    seen = []
    for rank in range(world):
        batches = evaluation_loader(Reader(count), batch_size=4, rank=rank, world=world, limit=limit)
        got = list(batches)
        assert len(got) == len(batches)
        seen += [sample[0] for batch in got for sample in batch.data]
    assert sorted(seen) == list(range(min(count, limit or count)))


def test_evaluation_draws_the_same_with_any_workers():
    alone = [batch.data for batch in evaluation_loader(Reader(10), batch_size=4)]
    assert [batch.data for batch in evaluation_loader(Reader(10), batch_size=3, workers=2)] != alone
    flat = [s for batch in evaluation_loader(Reader(10), batch_size=3, workers=2) for s in batch.data]
    assert flat == [s for batch in alone for s in batch]


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_samples_are_carried_by_name_and_the_rest_is_kept(workers):
    batches = list(evaluation_loader(Reader(8, bad=(1, 4, 5, 6, 7)), batch_size=4, workers=workers))
    assert [(batch.size, [error.name for error in batch.bad]) for batch in batches] == [
        (3, ["1.png"]),
        (0, ["4.png", "5.png", "6.png", "7.png"]),
    ]
    assert batches[1].data is None
    assert str(batches[0].bad[0]) == "1.png: it is torn"


@pytest.mark.parametrize("workers", [0, 2])
def test_other_errors_of_reading_come_as_one_sentence_and_keep_their_traceback(workers):
    first = next(iter(evaluation_loader(Reader(4, broken=(2,)), batch_size=4, workers=workers)))
    assert isinstance(first.failed, ValueError)
    assert str(first.failed) == "2.png has no label"
    assert "in read" in first.failed.__notes__[0]
    assert (first.size, first.bad) == (3, ())


def test_workers_leave_the_signals_of_the_group_to_the_training_process():
    class Signalled(Reader):
        def read(self, index):
            if index == 0 and torch.utils.data.get_worker_info():
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGTERM)
            return index

    got = list(evaluation_loader(Signalled(8), batch_size=2, workers=2))
    assert [batch.data for batch in got] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_a_killed_worker_is_an_error_and_not_a_hang():
    class Deadly(Reader):
        def read(self, index):
            if index == 5 and torch.utils.data.get_worker_info():
                os.kill(os.getpid(), signal.SIGKILL)
            return index

    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid"):
        list(evaluation_loader(Deadly(8), batch_size=2, workers=2))


def test_a_batch_pins_what_it_holds(monkeypatch):
    monkeypatch.setattr("volovan.data.loader.pin_memory", lambda data, device: ("pinned", data))
    error = BadImage("1.png")
    assert Batch([7], 1, (error,)).pin_memory() == Batch(("pinned", [7]), 1, (error,))


def test_seeds_are_keyed_by_every_part():
    seen = set()
    for key in [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]:
        seed_everything(*key)
        drawn = (random.random(), np.random.rand(), torch.rand(()).item())
        seed_everything(*key)
        assert drawn == (random.random(), np.random.rand(), torch.rand(()).item())
        seen |= set(drawn)
    assert len(seen) == 15


@pytest.mark.parametrize("busy", [False, True])  # busy: several requests to end arrive as one
@pytest.mark.parametrize("ending", ["raise RuntimeError('boom')", "pass"], ids=["error", "end"])
def test_an_open_loader_does_not_hold_up_the_end_of_the_process(tmp_path, ending, busy):
    script = tmp_path / "open_loader.py"
    script.write_text(
        "import signal, time\n"
        "from volovan.data.loader import TrainLoader\n"
        "class Numbers:\n"
        "    def __len__(self): return 64\n"
        "    def name(self, index): return str(index)\n"
        "    def collate(self, samples): return samples\n"
        "    def read(self, index):\n"
        "        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        f"        time.sleep({0.3 * busy})\n"
        "        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])\n"
        "        return index\n"
        "loader = TrainLoader(Numbers(), micro=4, workers=1)\n"
        "steps = loader.epoch(0)\n"
        "next(steps)\n"
        f"{ending}\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == (1 if "boom" in ending else 0), done.stderr
