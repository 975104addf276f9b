"""Which samples an epoch holds: each once, or the classes in other proportions. A function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

POWERS = {"uniform": 1.0, "sqrt": 0.5, "balanced": 0.0}
"""sampling -> p: a class of n samples is drawn in proportion to n^p"""


class ClassProportions:
    """Epochs of as many samples as there are, of which a class of n holds a share of n^p / sum n^p.

    A class that is drawn more often than it has samples is gone through several times, evenly; one that is drawn less
    often shows other samples in each epoch. Counts are exact up to one sample, and exact on average over epochs.
    labels: class number of each sample.
    """

    def __init__(self, labels: Sequence[int] | np.ndarray, power: float) -> None:
        numbers = np.asarray(labels, dtype=np.int64)
        counts = np.bincount(numbers)
        self.members = np.split(np.argsort(numbers, kind="stable"), np.cumsum(counts)[:-1])
        weights = np.where(counts > 0, counts.astype(float) ** power, 0)
        self.until = np.cumsum(weights) / weights.sum() * len(numbers)
        self.length = len(numbers)

    def order(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(samples, how often each of them has been in this epoch before), both (N,)."""
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


def shuffled(length: int, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Each sample once: the same pair as `ClassProportions.order`."""
    return np.random.default_rng([seed, epoch]).permutation(length), np.broadcast_to(0, length)
