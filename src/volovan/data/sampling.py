"""Which samples an epoch holds: each once, the classes in other proportions, or steps of one group. A function of
(seed, epoch).

Each way gives the same pair: (samples, how often each of them has been in this epoch before), flat, in their order.
"""

from collections.abc import Sequence

import numpy as np

Entries = tuple[np.ndarray, np.ndarray]
POWERS = {"uniform": 1.0, "sqrt": 0.5, "balanced": 0.0}
"""sampling -> p: a class of n samples is drawn in proportion to n^p"""


def shuffled(length: int, seed: int, epoch: int) -> Entries:
    """Each sample once."""
    return np.random.default_rng([seed, epoch]).permutation(length), np.broadcast_to(0, length)


class ClassProportions:
    """Epochs of as many samples as there are, of which a class of n holds a share of n^p / sum n^p.

    A class that is drawn more often than it has samples is gone through several times, evenly; one that is drawn less
    often shows other samples in each epoch. Counts are exact up to one sample, and exact on average over epochs.
    labels: class number of each sample.
    """

    def __init__(self, labels: Sequence[int] | np.ndarray, power: float) -> None:
        self.members = _members(labels)
        counts = np.array([len(members) for members in self.members])
        weights = np.where(counts > 0, counts.astype(float) ** power, 0)
        self.length = int(counts.sum())
        self.until = np.cumsum(weights) / weights.sum() * self.length

    def order(self, seed: int, epoch: int) -> Entries:
        """As many entries as there are samples."""
        draw = np.random.default_rng([seed, epoch])
        # One random number rounds all bounds between classes: no class is off by more than one, none is favoured.
        bounds = np.floor(self.until + draw.random()).astype(np.int64)
        counts = np.diff(np.minimum(bounds, self.length), prepend=0)
        counts[-1] += self.length - counts.sum()
        samples, before = [], []
        for members, count in zip(self.members, counts, strict=True):
            if count:
                samples.append(np.resize(draw.permutation(members), count))
                before.append(np.arange(count) // len(members))
        shuffled = draw.permutation(self.length)
        return np.concatenate(samples)[shuffled], np.concatenate(before)[shuffled]


class Groups:
    """Epochs of whole steps, each of samples of one group, such as pictures of one aspect ratio.

    A sample comes once an epoch at most: those of a group that fill no step are left out, other ones in each epoch.
    numbers: group of each sample, from 0 on. batch: samples of a step.
    """

    def __init__(self, numbers: Sequence[int] | np.ndarray, batch: int) -> None:
        self.members, self.batch = _members(numbers), batch
        self.steps = sum(len(members) // batch for members in self.members)
        self.never = sum(len(members) for members in self.members if len(members) < batch)
        """samples in groups that fill no step at all"""
        if not self.steps:
            raise ValueError(
                f"no group of the training data has the {batch} samples of a batch, the largest has "
                f"{max(map(len, self.members))}; set a smaller train.batch_size"
            )

    def order(self, seed: int, epoch: int) -> Entries:
        """The entries of all steps, which come in any order of the groups."""
        draw = np.random.default_rng([seed, epoch])
        steps = [draw.permutation(members)[: len(members) // self.batch * self.batch] for members in self.members]
        samples = draw.permutation(np.concatenate(steps).reshape(self.steps, self.batch)).ravel()
        return samples, np.broadcast_to(0, len(samples))


def _members(numbers: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """The samples of each class or group, in their order."""
    array = np.asarray(numbers, dtype=np.int64)
    return np.split(np.argsort(array, kind="stable"), np.cumsum(np.bincount(array))[:-1])


def fill(order: Entries, count: int, copies: int) -> Entries:
    """`count` entries: each of an order so many times, and all of them again where they do not suffice.

    Copies of a sample stand side by side, so that they meet in one batch.
    """
    samples, before = order
    most = copies + count // (len(samples) * copies)  # of one entry of the order
    if copies == 1 and count <= len(samples):  # the same as below, in a tenth of the time that 14 million samples take
        return samples[:count], before[:count] * most
    rounds, places = np.divmod(np.arange(count), len(samples) * copies)
    entries, copy = np.divmod(places, copies)
    return samples[entries], before[entries] * most + copy + rounds
