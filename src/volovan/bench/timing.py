"""Timing side by side: cases take turns, and a difference inside the noise is not called one."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

SURE = 0.95
"""probability with which the interval of a ratio holds its median"""
ENOUGH = 6
"""rounds whose extremes are as sure: 1 - 2 / 2^6 = 97 %, of five 94 %"""


PAUSE = 0.3
"""seconds between networks of which not all are computed by torch"""


def interleave(cases: Mapping[str, Callable[[], int]], rounds: int, pause: float = 0.0) -> dict[str, list[float]]:
    """Images per second of each case in each round; a case returns how many images it handled.

    All cases run in turn within a round, so that whatever else the machine does falls on all of them, and a ratio is
    taken within its round. Every other round goes backwards. One round before the first is not counted.

    pause  seconds before each: threads of one runtime spin for a while behind a call, and halve the speed of another
    """
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(-1, rounds):
        for name in list(cases) if number % 2 else list(cases)[::-1]:
            time.sleep(pause)
            begin = time.perf_counter()
            images = cases[name]()
            if number >= 0:
                rates[name].append(images / (time.perf_counter() - begin))
    return rates


def settle(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over the rounds of ours / theirs; above 1 ours is faster."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as a peer, over the rounds: the median, and between which bounds it lies."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        """Of rates round by round.

        The bounds are order statistics: of n rounds the k-th from either end, k as large as the binomial distribution
        allows for 95 %. Fewer than six rounds cannot be so sure: they have their extremes, and no verdict.
        """
        ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
        n, below, k = len(ratios), 0.0, 0
        while k < n // 2 and 2 * (below := below + math.comb(n, k) / 2**n) <= 1 - SURE:
            k += 1
        k = max(k, 1)
        return cls(statistics.median(ratios), ratios[k - 1], ratios[n - k], n)

    @property
    def verdict(self) -> str:
        """In one word, or in four where it may be either."""
        if self.rounds < ENOUGH:
            return "too few rounds to tell"
        if self.low > 1:
            return "faster"
        return "slower" if self.high < 1 else "equal within the noise"


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
