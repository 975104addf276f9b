"""The library that scores as COCO does, hotcoco, and its threads, which no forked process has."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Generic, TypeVar

import numpy as np

T = TypeVar("T")
_threads_of: int | None = None
"""the process that has hotcoco's threads; one that was forked from it has none, and would wait for them for ever"""


def with_threads(score: Callable[..., T], *given: Any) -> T:
    """score(*given), a function of a module, in a process where hotcoco's threads are alive: this one, if it can be."""
    global _threads_of
    if _threads_of not in (None, os.getpid()):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            return fresh.submit(score, *given).result()
    _threads_of = os.getpid()
    return score(*given)


class Once(Generic[T]):
    """A figure of the rows of a metric, computed anew when there are other rows, or more of them."""

    def __init__(self) -> None:
        self._kept: tuple[dict[int, Any], int, T] | None = None

    def of(self, rows: dict[int, Any], compute: Callable[[], T]) -> T:
        """compute(), unless it was called for the same rows."""
        if self._kept is None or self._kept[0] is not rows or self._kept[1] != len(rows):
            self._kept = (rows, len(rows), compute())
        return self._kept[2]


def known(values: np.ndarray) -> np.ndarray:
    """What a scorer says, with nan for its -1, which means that nothing was there."""
    return np.where(values < 0, np.nan, values)


def mean(values: np.ndarray) -> float:
    """Of those that are known, nan where none is."""
    told = values[~np.isnan(values)]
    return float(np.mean(told)) if told.size else float("nan")
