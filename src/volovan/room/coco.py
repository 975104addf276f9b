"""The library that scores as COCO does, hotcoco, and its threads, which no forked process has."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

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


def known(values: np.ndarray) -> np.ndarray:
    """What a scorer says, with nan for its -1, which means that nothing was there."""
    return np.where(values < 0, np.nan, values)


def mean(values: np.ndarray) -> float:
    """Of those that are known, nan where none is."""
    told = values[~np.isnan(values)]
    return float(np.mean(told)) if told.size else float("nan")
